# VOC-LT: 1,142 training and 4,952 test images, 20 classes. The benchmark has no
# validation set of its own: val is the test set, and no epoch is chosen on it.
_base_ = './common.py'
dataset = dict(type='VOCLT', data_root='{{$CAPNET_DATA_ROOT:data/voc_lt}}')
train_dataloader = dict(
    dataset=dict(dataset, pipeline=_base_.train_pipeline))
val_dataloader = dict(
    dataset=dict(dataset, test_mode=True, pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
