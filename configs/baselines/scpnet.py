# In the manner of SCPNet: prompts refined over a graph of the words, asymmetric loss,
# a frozen tower. Without its consistency between two views.
_base_ = '../capnet_custom.py'
model = dict(
    backbone=dict(adapter=None),
    head=dict(
        prompt=dict(class_specific=False),
        loss=dict(_delete_=True, type='AsymmetricLoss')))
