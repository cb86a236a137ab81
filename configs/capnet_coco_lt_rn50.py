_base_ = './capnet_coco_lt.py'
model = dict(clip=dict(model='RN50'))
