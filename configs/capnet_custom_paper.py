# One's own images with the paper's form and the benchmarks' recipe: random soft
# prompts, λ = 5, SGD. On photographs capnet_custom.py and capnet_fast_custom.py are
# better; see docs/results.md.
_base_ = [
    '_base_/models/capnet.py', '_base_/datasets/image_list.py',
    '_base_/schedules/sgd_20e.py', '_base_/default_runtime.py'
]
model = dict(head=dict(classes=_base_.dataset))
default_hooks = dict(checkpoint=dict(save_best='multi-label/mAP'))
