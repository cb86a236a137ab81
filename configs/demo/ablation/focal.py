# Focal loss without re-balanced weights and without regularised logits.
_base_ = '../capnet.py'
model = dict(
    head=dict(loss=dict(rebalance=False, regularize_logits=False)))
