# The fast recipe less, or with another of, each of its parts; and with the paper's.
configs = {'': '../capnet_fast_custom.py'}
axes = [{
    'fast': {},
    'pooled feature': {'model.head.pooling': None},
    'no visual branch': {'model.head.visual': None},
    'no prior': {'model.head.prior': None},
    'no residual': {'model.head.gcn': None},
    'GCN over the label graph': {
        'model.head.graph': dict(_delete_=True, type='LabelGraph'),
        'model.head.gcn': dict(_delete_=True, type='ResidualGCN'),
    },
    'soft prompts': {
        'model.head.prompt': dict(
            _delete_=True, type='SoftPrompt', init_words='a photo of a'),
    },
    'one bias': {'model.head.class_bias': False},
    'unknown labels left out': {'model.head.unknown_target': None},
    'focal': {
        'model.head.loss': dict(
            _delete_=True,
            type='DBFocalLoss',
            rebalance=False,
            regularize_logits=False),
        'model.head.unknown_target': None,
    },
    'DB-focal': {
        'model.head.loss': dict(_delete_=True, type='DBFocalLoss'),
        'model.head.unknown_target': None,
    },
    'ASL': {
        'model.head.loss': dict(_delete_=True, type='AsymmetricLoss'),
        'model.head.unknown_target': None,
    },
}]
reference = 'fast'
