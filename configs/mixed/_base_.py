# MMPretrain's own backbones on VOC-LT, with ImageNet weights and statistics.
_base_ = [
    '../_base_/datasets/voc_lt.py', '../_base_/schedules/sgd_20e.py',
    '../_base_/default_runtime.py'
]
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375],
        to_rgb=True))
# BatchNorm's statistics differ between processes; one set is evaluated and saved.
default_hooks = dict(sync_buffers=dict(type='SyncBuffersHook'))
