# CSRA: residual attention over the tower's own map, without words. in_channels is the
# width of the tower: 768 is ViT-B/16's.
_base_ = '../capnet_fast_custom.py'
model = dict(
    head=dict(
        _delete_=True,
        type='PartialLabelCSRAHead',
        classes=_base_.dataset,
        in_channels=768,
        loss=dict(type='CrossEntropyLoss', use_sigmoid=True)))
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(_delete_=True)))
tta_model = dict(average='probabilities')
