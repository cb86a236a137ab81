_base_ = './capnet_voc_lt.py'
model = dict(clip=dict(model='ViT-L-14'))
