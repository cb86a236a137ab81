# TaskRes: free residuals of the class embeddings, the pooled feature alone.
_base_ = '../capnet_fast_custom.py'
model = dict(
    head=dict(
        gcn=dict(alpha=0.5),
        pooling=None,
        visual=None,
        prior=None,
        class_bias=False,
        unknown_target=None))
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys=dict(
            _delete_=True,
            **{'head.logit': dict(lr_mult=10., decay_mult=0.)})))
