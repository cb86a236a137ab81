# A linear layer on the frozen tower's standardised features; strong decay.
_base_ = '../capnet_fast_custom.py'
model = dict(
    head=dict(
        gcn=None,
        pooling=None,
        prior=None,
        bias=None,
        class_bias=False,
        learnable_temperature=False,
        unknown_target=None,
        fusion=dict(type='OneEvidence')))
optim_wrapper = dict(
    optimizer=dict(lr=3e-4, weight_decay=1.),
    paramwise_cfg=dict(
        custom_keys=dict(
            _delete_=True,
            **{'head.other_evidence.visual.fc.bias': dict(decay_mult=0.)})))
