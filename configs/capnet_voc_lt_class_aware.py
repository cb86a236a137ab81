# Every class has the same number of turns (Wu et al.); an epoch is
# 20 classes x 775 images of person / 4 = 3,875 samples.
_base_ = './capnet_voc_lt.py'
train_dataloader = dict(
    sampler=dict(_delete_=True, type='ClassAwareSampler'))
