# CoOp: one context of soft prompts for all classes, with binary cross entropy.
_base_ = '../prompt_tuning_custom.py'
model = dict(
    head=dict(
        prompt=dict(class_specific=False),
        loss=dict(_delete_=True, type='CrossEntropyLoss', use_sigmoid=True)))
