# AdamW for adapters, prompts and GCN; one epoch of warm-up, cosine to zero. The
# rates were chosen on a small set of photographs, see the README.
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
    paramwise_cfg=dict(
        custom_keys={
            'scale_shift': dict(lr_mult=20.),
            'head.gcn': dict(lr_mult=3.),
            'head.prompt': dict(lr_mult=0.3),
            'head.logit': dict(lr_mult=10.),  # temperature and bias
        }))
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=0.01,
        end=1,
        convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=10, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=32, enable=False)
