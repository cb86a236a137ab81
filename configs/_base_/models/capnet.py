# CAPNET. The CLIP is named once and serves both branches; what is not said here
# is the default of the registered class, with its source in its docstring.
model = dict(
    type='CLIPClassifier',
    clip=dict(
        model='{{$CAPNET_CLIP:ViT-B-16}}',
        pretrained='{{$CAPNET_CLIP_PRETRAINED:openai}}'),
    backbone=dict(type='CLIPBackbone', adapter='auto', channels_last=True),
    head=dict(
        type='CorrelationPromptHead',
        prompt=dict(type='SoftPrompt', num_context=16),
        graph=dict(type='LabelGraph', topk=20, neighbor_weight=0.2),
        gcn=dict(type='ResidualGCN'),
        loss=dict(type='DBFocalLoss')))
