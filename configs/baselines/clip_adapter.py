# CLIP-Adapter: a bottleneck behind the frozen tower. in_channels is the width of the
# CLIP's joint space, embed_dim in its config; 512 is ViT-B/16's.
_base_ = './task_residual.py'
model = dict(
    neck=dict(type='FeatureAdapter', in_channels=512), head=dict(gcn=None))
