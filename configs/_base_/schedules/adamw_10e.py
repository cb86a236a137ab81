# AdamW for adapters, prompts and GCN; one epoch of warm-up, cosine to zero. The
# rates were chosen on a small set of photographs, see the README.
_base_ = './sgd_20e.py'  # its warm-up and cosine
optim_wrapper = dict(
    optimizer=dict(
        _delete_=True, type='AdamW', lr=1e-3, weight_decay=0.05),
    paramwise_cfg=dict(
        custom_keys={
            'scale_shift': dict(lr_mult=20.),
            'head.gcn': dict(lr_mult=3.),
            'head.prompt': dict(lr_mult=0.3),
            'head.logit': dict(lr_mult=10.),  # temperature and bias
        }))
train_cfg = dict(max_epochs=10, val_interval=1)
auto_scale_lr = dict(base_batch_size=32)
