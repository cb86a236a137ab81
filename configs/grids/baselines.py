# All baselines and the fast recipe: python tools/grid.py configs/grids/baselines.py
configs = {
    'zero-shot': '../zero_shot_custom.py',
    'zero-shot, 8 templates': '../baselines/zero_shot_ensemble.py',
    'zero-shot, local': '../baselines/zero_shot_local.py',
    'linear probe': '../baselines/linear_probe.py',
    'linear probe + zero-shot': '../baselines/linear_probe_zero_shot.py',
    'CoOp-like': '../baselines/coop.py',
    'LMPT-like': '../prompt_tuning_custom.py',
    'CLIP-Adapter': '../baselines/clip_adapter.py',
    'TaskRes': '../baselines/task_residual.py',
    'CSRA': '../baselines/csra.py',
    'SCPNet-like': '../baselines/scpnet.py',
    'CAPNET, fast': '../capnet_fast_custom.py',
}
reference = 'linear probe'
