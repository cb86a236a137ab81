# Bare CLIP, asked with several templates whose features are averaged.
_base_ = '../zero_shot_custom.py'
model = dict(
    head=dict(template=[
        'a photo of a {}.', 'a photo of the {}.', 'a cropped photo of a {}.',
        'a close-up photo of a {}.', 'a photo of a small {}.',
        'a photo of a large {}.', 'a blurry photo of a {}.', 'a picture of {}.'
    ]))
