# Binary cross entropy.
_base_ = '../capnet.py'
model = dict(
    head=dict(
        loss=dict(_delete_=True, type='CrossEntropyLoss', use_sigmoid=True)))
