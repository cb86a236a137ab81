# ShapesLT, synthetic and drawn at first use; 96 px, as the CLIP in configs/demo/clip.
_base_ = './common.py'
dataset = dict(
    type='ShapesLT', data_root='{{$CAPNET_DATA_ROOT:data/shapes_lt}}')
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='FastRandomResizedCrop', scale=96, crop_ratio_range=(0.6, 1.0)),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
# The drawn images have 96 px and stay as they are; others are brought to it.
test_pipeline = [
    dict(type='LoadImage'),
    dict(type='FastResizeEdge', scale=96),
    dict(type='CenterCrop', crop_size=96),
    dict(type='PackInputs'),
]
tta_pipeline = [
    dict(type='LoadImage'),
    dict(type='FastResizeEdge', scale=106),
    dict(
        type='TestTimeAug',
        transforms=[
            [
                dict(type='FixedCrop', crop_size=96, position=position)
                for position in ('center', 'top_left', 'top_right',
                                 'bottom_left', 'bottom_right')
            ],
            [dict(type='PackInputs')],
        ]),
]
train_dataloader = dict(
    batch_size=32,
    num_workers=2,
    dataset=dict(dataset, pipeline=train_pipeline))
val_dataloader = dict(
    num_workers=2,
    dataset=dict(dataset, test_mode=True, pipeline=test_pipeline))
test_dataloader = val_dataloader
