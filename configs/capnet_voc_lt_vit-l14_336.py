# ViT-L/14 at 336 px: the views of _base_/datasets/common.py, 1.5 times as large.
_base_ = './capnet_voc_lt.py'
model = dict(clip=dict(model='ViT-L-14-336'))
load = dict(type='LoadImage', min_edge=672)
train_pipeline = [
    load,
    dict(type='FastRandomResizedCrop', scale=336, crop_ratio_range=(0.5, 1.0)),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    load,
    dict(type='FastResizeEdge', scale=336),
    dict(type='CenterCrop', crop_size=336),
    dict(type='PackInputs'),
]
tta_pipeline = [
    load,
    dict(type='FastResizeEdge', scale=372),
    dict(
        type='TestTimeAug',
        transforms=[
            [
                dict(type='FixedCrop', crop_size=336, position=position)
                for position in ('center', 'top_left', 'top_right',
                                 'bottom_left', 'bottom_right')
            ],
            [dict(type='PackInputs')],
        ]),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
