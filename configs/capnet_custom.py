# One's own pictures:
#   python tools/train.py configs/capnet_custom.py --data-root DIR --clip MODEL
_base_ = [
    '_base_/models/capnet.py', '_base_/datasets/image_list.py',
    '_base_/schedules/sgd_20e.py', '_base_/default_runtime.py'
]
model = dict(head=dict(classes=_base_.dataset))
# Here val is not the test set, so it may choose the epoch.
default_hooks = dict(checkpoint=dict(save_best='multi-label/mAP'))
