# CAPNET on drawn images, with a small CLIP that comes along:
#   python tools/train.py configs/demo/capnet.py
_base_ = [
    '../_base_/models/capnet.py', '../_base_/datasets/shapes_lt.py',
    '../_base_/schedules/adamw_10e.py', '../_base_/default_runtime.py'
]
model = dict(
    clip=dict(model='local-dir:{{ fileDirname }}/clip', pretrained=None),
    backbone=dict(adapter=dict(_delete_=True, type='AdaptFormer', bottleneck_dim=32)),
    head=dict(
        classes=_base_.dataset,
        prompt=dict(num_context=4, init_words='a photo of a'),
        graph=dict(topk=6),
        temperature=0.05,
        bias=-2.,
        loss=dict(mu=0.2, neg_scale=1)))
# A small CLIP and few images: larger steps, more epochs.
optim_wrapper = dict(optimizer=dict(lr=3e-3))
train_cfg = dict(max_epochs=15, val_interval=5)
