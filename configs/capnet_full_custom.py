# What the fast recipe has learned, and adapters in the tower, trained last:
#   python tools/train.py configs/capnet_full_custom.py --data-root DIR --clip MODEL \
#       --cfg-options load_from=work_dirs/capnet_fast_custom/epoch_20.pth
# The images themselves are trained on, since the tower changes. The fusion stays as the
# fast recipe has fitted it; without load_from five folds are trained for it, slowly.
_base_ = './capnet_fast_custom.py'
model = dict(backbone=dict(adapter='auto'))
optim_wrapper = dict(
    optimizer=dict(lr=5e-4),
    paramwise_cfg=dict(
        custom_keys=dict(
            scale_shift=dict(lr_mult=10., decay_mult=0., optional=True))))
train_dataloader = dict(batch_size=32, num_workers=2)
train_cfg = dict(max_epochs=6, val_interval=6)
