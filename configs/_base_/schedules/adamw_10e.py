# AdamW for adapters, prompts and GCN; one epoch of warm-up, cosine to zero. The
# rates were chosen on a small set of photographs, see docs/results.md.
_base_ = './sgd_20e.py'  # its warm-up and cosine
optim_wrapper = dict(
    optimizer=dict(
        _delete_=True, type='AdamW', lr=1e-3, weight_decay=0.05),
    paramwise_cfg=dict(
        custom_keys={  # optional: a config may switch the part off
            'scale_shift': dict(lr_mult=20., optional=True),
            'head.gcn': dict(lr_mult=3., optional=True),
            'head.prompt': dict(lr_mult=0.3, optional=True),
            # temperature and bias
            'head.logit': dict(lr_mult=10., optional=True),
        }))
train_cfg = dict(max_epochs=10, val_interval=1)
auto_scale_lr = dict(base_batch_size=32)
