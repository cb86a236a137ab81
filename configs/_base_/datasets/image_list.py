# One's own data: classes.txt, train.txt and val.txt in one folder, see the README.
_base_ = './common.py'
dataset = dict(
    type='ImageListDataset',
    data_root='{{$CAPNET_DATA_ROOT:data/custom}}',
    ann_file='train.txt')
train_dataloader = dict(
    dataset=dict(dataset, pipeline=_base_.train_pipeline))
val_dataloader = dict(
    dataset=dict(
        dataset,
        ann_file='val.txt',
        train_ann_file='train.txt',  # head / medium / tail go by its counts
        test_mode=True,
        pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
