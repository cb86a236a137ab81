# COCO-LT: 1,909 training and 5,000 test images, 80 classes. The benchmark has no
# validation set of its own: val is the test set, and no epoch is chosen on it.
_base_ = './common.py'
dataset = dict(type='COCOLT', data_root='{{$CAPNET_DATA_ROOT:data/coco_lt}}')
train_dataloader = dict(
    dataset=dict(dataset, pipeline=_base_.train_pipeline))
val_dataloader = dict(
    dataset=dict(dataset, test_mode=True, pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
