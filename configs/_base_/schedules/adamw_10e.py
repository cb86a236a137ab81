# AdamW for adapters, prompts and GCN; one epoch of warm-up, cosine to zero.
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
    paramwise_cfg=dict(
        # A scale and a shift a channel move little at the others' rate.
        custom_keys=dict(scale_shift=dict(lr_mult=10.))))
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
auto_scale_lr = dict(base_batch_size=64, enable=False)
