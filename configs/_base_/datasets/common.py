# Views, loaders and scores that all data sets share. 224 px, as CLIP. Large JPEGs are
# decoded at a half or less; the smallest crop still has more than 224 px then.
load = dict(type='LoadImage', min_edge=448)
train_pipeline = [
    load,
    dict(type='FastRandomResizedCrop', scale=224, crop_ratio_range=(0.5, 1.0)),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    load,
    dict(type='FastResizeEdge', scale=224),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]

# Test-time ensembling: five crops of 224 from a short side of 224 + 24 (LIFT).
tta_model = dict(type='TestTimeEnsemble', average='logits')
tta_pipeline = [
    load,
    dict(type='FastResizeEdge', scale=248),
    dict(
        type='TestTimeAug',
        transforms=[
            [
                dict(type='FixedCrop', crop_size=224, position=position)
                for position in ('center', 'top_left', 'top_right',
                                 'bottom_left', 'bottom_right')
            ],
            [dict(type='PackInputs')],
        ]),
]

# EpochSeedHook gives each batch random numbers of its own; with another loop than
# ResumableTrainLoop that needs fresh workers in each epoch, with this worker_init_fn.
train_dataloader = dict(
    batch_size=64,
    num_workers=4,
    persistent_workers=False,
    worker_init_fn=dict(type='epoch_worker_init_fn'),
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=True))
val_dataloader = dict(
    batch_size=64,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False))
test_dataloader = val_dataloader
val_evaluator = dict(type='LongTailMAP')
test_evaluator = val_evaluator
