_base_ = './capnet_coco_lt.py'
model = dict(clip=dict(model='ViT-L-14'))
