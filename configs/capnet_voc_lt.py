_base_ = [
    '_base_/models/capnet.py', '_base_/datasets/voc_lt.py',
    '_base_/schedules/sgd_20e.py', '_base_/default_runtime.py'
]
model = dict(head=dict(classes=_base_.dataset))
