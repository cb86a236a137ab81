# A linear layer on the frozen image tower, with binary cross entropy.
_base_ = './capnet.py'
model = dict(
    backbone=dict(adapter=None),
    head=dict(
        _delete_=True,
        type='MultiLabelLinearClsHead',
        num_classes=24,
        in_channels=96,
        loss=dict(type='CrossEntropyLoss', use_sigmoid=True)))
# This head's trained layer has no multiplier of its own.
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'head.fc': dict(lr_mult=3.)}))
tta_model = dict(average='probabilities')
