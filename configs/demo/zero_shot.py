# Bare CLIP with a hand-written prompt; nothing to train: test without checkpoint.
_base_ = './capnet.py'
model = dict(
    backbone=dict(adapter=None),
    head=dict(prompt=None, graph=None, gcn=None, temperature=0.01))
train_dataloader = train_cfg = optim_wrapper = param_scheduler = None
