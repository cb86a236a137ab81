custom_imports = dict(imports='capnet_mm')
default_scope = 'mmpretrain'
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=10),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='SafeCheckpointHook', interval=1, max_keep_ckpts=2),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='VisualizationHook', enable=False))
custom_hooks = [
    dict(type='ClassCountsHook'),  # the loss learns n_c and N from the data set
    dict(type='EpochSeedHook'),  # resumed training equals uninterrupted training
    dict(type='FiniteLossHook'),  # stops at a NaN before anything is saved
    dict(type='TrainableCheckpointHook'),  # checkpoints without the frozen CLIP
    dict(type='UntrainedParametersHook'),  # warns of parts without gradient
    dict(type='SkippedImagesHook'),
    dict(type='CalibrationHook'),  # tests judge the thresholds of tools/calibrate.py
    dict(type='CAPNETStatisticsHook', interval=10),
    dict(type='ProgressBarHook'),
    dict(type='ReportHook'),
]
env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'))
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='UniversalVisualizer', vis_backends=vis_backends)
log_level = 'INFO'
load_from = None
resume = False
randomness = dict(seed=0, deterministic=False)
