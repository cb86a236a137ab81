# One's own images, in about a minute on a machine without a GPU:
#   python tools/train.py configs/capnet_fast_custom.py --data-root DIR --clip MODEL \
#       --cache-features work_dirs/features
# The frozen tower sees each image once. What is trained on its features: residuals of
# the class embeddings, looked for at every place of the image, and a linear layer on
# the tower's own features. CLIP's own word is a third kind of evidence; images left out
# of training say what each kind is worth for a class.
_base_ = './capnet_custom.py'
model = dict(
    backbone=dict(adapter=None),
    head=dict(
        prompt=None,
        graph=None,
        gcn=dict(type='TaskResidual'),
        pooling=dict(type='ClassPooling', weight=1., temperature=0.05),
        visual=dict(type='VisualBranch'),
        prior=dict(type='CountAwarePrior'),
        bias=-4.,
        class_bias=True,
        unknown_target=0.5,
        loss=dict(_delete_=True, type='CrossEntropyLoss', use_sigmoid=True)))
optim_wrapper = dict(
    optimizer=dict(lr=1e-3, weight_decay=0.1),
    paramwise_cfg=dict(
        custom_keys=dict(
            _delete_=True,
            # The longest key that fits counts; each part may be switched off.
            **{
                'head.other_evidence.visual.fc.weight':
                dict(lr_mult=0.3, decay_mult=30., optional=True),
                'head.other_evidence.visual.fc.bias':
                dict(lr_mult=10., decay_mult=0., optional=True),
                'head.logit_scale':
                dict(lr_mult=10., decay_mult=0., optional=True),
                'head.logit_bias':
                dict(lr_mult=10., decay_mult=0., optional=True),
            })))
# Ten of the views that training sees (--tta).
tta_pipeline = [
    _base_.load,
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='FastResizeEdge', scale=scale) for scale in (248, 320)],
            _base_.tta_pipeline[-1]['transforms'][0],
            [dict(type='PackInputs')],
        ]),
]
train_dataloader = dict(batch_size=64, num_workers=0)
train_cfg = dict(max_epochs=20, val_interval=20)
custom_hooks = [
    *_base_.custom_hooks,
    # On with --cache-features, or a cache_dir here.
    dict(type='FeatureCacheHook', cache_dir=None, views=(224, 248, 320)),
    dict(type='CrossFitHook'),
]
