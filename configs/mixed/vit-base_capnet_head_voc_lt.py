_base_ = './capnet_head.py'
model = dict(
    backbone=dict(
        type='VisionTransformer',
        arch='b',
        img_size=224,
        patch_size=16,
        out_type='cls_token',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmclassification/v0/vit/'
            'vit-base-p16_pt-32xb128-mae_in1k_20220623-4c544545.pth',
            prefix='backbone')),
    neck=None,  # the class token is pooled already
    head=dict(in_channels=768))
