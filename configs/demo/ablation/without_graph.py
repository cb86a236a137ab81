# The GCN treats each class alone.
_base_ = '../capnet.py'
model = dict(head=dict(graph=None))
