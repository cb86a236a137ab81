_base_ = [
    '_base_/models/capnet.py', '_base_/datasets/nus_wide.py',
    '_base_/schedules/sgd_20e.py', '_base_/default_runtime.py'
]
model = dict(
    head=dict(
        classes=_base_.dataset,
        graph=dict(topk=50),  # SCPNet
        loss=dict(mu=0.2, neg_scale=2)))  # as for COCO-LT: Wu et al. have no NUS-WIDE
