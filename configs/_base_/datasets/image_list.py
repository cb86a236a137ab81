# One's own data: classes.txt, train.txt and val.txt in one folder, or two JSON lists
# as tools/prepare_data.py writes them; see docs/own_data.md.
_base_ = './common.py'
dataset = dict(
    type='ImageListDataset',
    data_root='{{$CAPNET_DATA_ROOT:data/custom}}',
    ann_file='{{$CAPNET_TRAIN_LIST:train.txt}}')
train_dataloader = dict(
    dataset=dict(dataset, pipeline=_base_.train_pipeline))
val_dataloader = dict(
    dataset=dict(
        dataset,
        ann_file='{{$CAPNET_VAL_LIST:val.txt}}',
        train_ann_file=dataset['ann_file'],  # head / medium / tail go by its counts
        test_mode=True,
        pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
