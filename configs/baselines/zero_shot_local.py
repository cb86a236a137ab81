# Bare CLIP; each class looks at the places of the image that speak for it.
_base_ = '../zero_shot_custom.py'
model = dict(
    head=dict(
        pooling=dict(type='ClassPooling', weight=1., temperature=0.05)))
