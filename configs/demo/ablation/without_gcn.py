# No residuals, and so no graph.
_base_ = '../capnet.py'
model = dict(head=dict(graph=None, gcn=None))
