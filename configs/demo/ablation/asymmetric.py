# Asymmetric loss (Ridnik et al., ICCV 2021), MMPretrain's.
_base_ = '../capnet.py'
model = dict(head=dict(loss=dict(_delete_=True, type='AsymmetricLoss')))
