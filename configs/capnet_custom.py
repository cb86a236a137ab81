# One's own images:
#   python tools/train.py configs/capnet_custom.py --data-root DIR --clip MODEL
_base_ = [
    '_base_/models/capnet.py', '_base_/datasets/image_list.py',
    '_base_/schedules/adamw_10e.py', '_base_/default_runtime.py'
]
train_dataloader = dict(batch_size=32, num_workers=2)
# Chosen on a small set of photographs: a context that starts from words keeps
# what CLIP knows of rare classes, and λ = 1 leaves negatives their full slope.
model = dict(
    head=dict(
        classes=_base_.dataset,
        prompt=dict(init_words='a photo of a'),
        temperature=0.05,
        bias=-2.,
        loss=dict(mu=0.2, neg_scale=1)))
# Here val is not the test set, so it may choose the epoch.
default_hooks = dict(checkpoint=dict(save_best='multi-label/mAP'))
