# The linear probe beside CLIP's own word on every place of the image; how much each
# counts for a class is learned on images left out of training.
_base_ = './linear_probe.py'
model = dict(
    head=dict(
        pooling=dict(
            _delete_=True, type='ClassPooling', weight=1., temperature=0.05),
        fusion=dict(_delete_=True, type='ScoreFusion')))
