# Soft prompts alone, in the manner of CoOp.
_base_ = './capnet_custom.py'
model = dict(backbone=dict(adapter=None), head=dict(graph=None, gcn=None))
