# The image tower stays as it is.
_base_ = '../capnet.py'
model = dict(backbone=dict(adapter=None))
