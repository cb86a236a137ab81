# One's own images, on a machine without a GPU: each goes through the frozen CLIP once,
# and what is trained reads its features.
#   python tools/train.py configs/capnet_fast_custom.py --data-root DIR --clip MODEL \
#       --cache-features FOLDER
_base_ = './capnet_custom.py'
# Nothing inside the tower is trained.
model = dict(
    backbone=dict(adapter=dict(_delete_=True, type='ScaleShift', space='joint')),
    head=dict(
        prompt=None,
        graph=None,
        gcn=None,
        pooling=dict(type='ClassPooling', weight=1., temperature=0.05)))
train_dataloader = dict(batch_size=64)
custom_hooks = [
    *_base_.custom_hooks,
    # On with --cache-features, or a cache_dir here.
    dict(type='FeatureCacheHook', cache_dir=None, views=(224, 248, 320)),
]
