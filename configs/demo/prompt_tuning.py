# Soft prompts alone, in the manner of CoOp.
_base_ = './capnet.py'
model = dict(backbone=dict(adapter=None), head=dict(graph=None, gcn=None))
