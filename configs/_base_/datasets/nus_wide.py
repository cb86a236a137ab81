# NUS-WIDE: 161,789 training and 107,859 test images, 81 concepts, in the lists that
# tools/prepare_data.py nus-wide writes. No validation set of its own: val is the test
# set, and no epoch is chosen on it.
_base_ = './common.py'
dataset = dict(type='NUSWIDE', data_root='{{$CAPNET_DATA_ROOT:data/nus_wide}}')
train_dataloader = dict(
    dataset=dict(dataset, pipeline=_base_.train_pipeline))
val_dataloader = dict(
    dataset=dict(dataset, test_mode=True, pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
