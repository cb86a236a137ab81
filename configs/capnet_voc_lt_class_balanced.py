# MMEngine's own way: images with a class that less than a tenth of all images show
# (VOC-LT: medium, tail and pottedplant) come sqrt(0.1 / share) times, rounded up,
# in an epoch, which has 1,701 samples.
_base_ = './capnet_voc_lt.py'
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='ClassBalancedDataset',
        oversample_thr=0.1,
        dataset=_base_.train_dataloader.dataset))
