# Hand-written prompts in place of soft ones.
_base_ = '../capnet.py'
model = dict(head=dict(prompt=None))
