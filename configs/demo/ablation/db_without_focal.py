# Distribution-balanced loss without its focal factor.
_base_ = '../capnet.py'
model = dict(head=dict(loss=dict(focal=False)))
