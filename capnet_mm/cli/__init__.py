"""What the command line tools share."""

from ..checkpoint import add_to_meta, check_checkpoint
from .config import (
    add_common_arguments,
    add_data_arguments,
    apply_amp,
    apply_feature_cache,
    apply_resume,
    apply_tta,
    apply_visualization,
    complete_dataloaders,
    data_arguments,
    read_config,
)
from .console import prepare_console, stop
from .cpu import init_cpu_distributed, keep_freed_memory, leave_cpu_distributed
from .model import add_model_arguments, build_inferencer
from .runner import build_runner

__all__ = [
    "add_common_arguments",
    "add_data_arguments",
    "add_model_arguments",
    "add_to_meta",
    "apply_amp",
    "apply_feature_cache",
    "apply_resume",
    "apply_tta",
    "apply_visualization",
    "build_inferencer",
    "build_runner",
    "check_checkpoint",
    "complete_dataloaders",
    "data_arguments",
    "init_cpu_distributed",
    "keep_freed_memory",
    "leave_cpu_distributed",
    "prepare_console",
    "read_config",
    "stop",
]
