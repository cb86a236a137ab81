# Weights in shards: bash tools/dist_train.sh configs/capnet_coco_lt_fsdp.py PROCESSES
_base_ = ['./capnet_coco_lt.py', '_base_/fsdp.py']
