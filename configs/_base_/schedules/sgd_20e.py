# LIFT's recipe: SGD with momentum, cosine to zero, one epoch of warm-up.
optim_wrapper = dict(
    constructor='CheckedOptimWrapperConstructor',
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=5e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', convert_to_iter_based=True),
]
# A benchmark's test set is several times its training set: seldom, and at the end.
train_cfg = dict(type='ResumableTrainLoop', max_epochs=20, val_interval=5)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=64, enable=False)
