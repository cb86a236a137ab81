# Weights, gradients and optimizer states in shards, a part in each process (FSDP). To be
# put behind a leaf: _base_ = ['./capnet_coco_lt.py', '_base_/fsdp.py'].
runner_type = 'FlexibleRunner'
strategy = dict(
    type='FSDPStrategy',
    model_wrapper=dict(
        type='MMFullyShardedDataParallel',
        use_orig_params=True),  # frozen and trained weights in one unit
    # Checkpoints hold whole weights, as those of other runs.
    state_dict_cfg=dict(
        state_dict_type='FULL_STATE_DICT',
        state_dict_config=dict(
            type='FullStateDictConfig', offload_to_cpu=False, rank0_only=False),
        optim_state_dict_config=dict(
            type='FullOptimStateDictConfig', offload_to_cpu=False, rank0_only=False)))
