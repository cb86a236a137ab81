# CAPNET's head over another backbone: a learnable projection (in_channels) takes
# its features to the joint space of the CLIP whose text encoder is used.
_base_ = './_base_.py'
model = dict(
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='CorrelationPromptHead',
        classes=_base_.dataset,
        text_encoder=dict(
            model='{{$CAPNET_CLIP:ViT-B-16}}',
            pretrained='{{$CAPNET_CLIP_PRETRAINED:openai}}'),
        loss=dict(type='DBFocalLoss')))
