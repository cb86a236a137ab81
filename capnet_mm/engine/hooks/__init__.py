"""Hooks, each of which does one thing."""

from .calibrated_start_hook import CalibratedStartHook
from .calibration_hook import CalibrationHook
from .class_counts_hook import ClassCountsHook
from .console_hook import ConsoleHook
from .cross_fit_hook import CrossFitHook
from .epoch_seed_hook import EpochSeedHook, epoch_worker_init_fn
from .feature_cache_hook import FeatureCacheHook
from .finite_loss_hook import FiniteLossHook
from .progress_bar_hook import ProgressBarHook
from .report_hook import ReportHook
from .safe_checkpoint_hook import SafeCheckpointHook, UnsavedCheckpointError
from .skipped_images_hook import SkippedImagesHook
from .statistics_hook import CAPNETStatisticsHook
from .trainable_checkpoint_hook import TrainableCheckpointHook
from .untrained_parameters_hook import UntrainedParametersHook

__all__ = [
    "CAPNETStatisticsHook",
    "CalibratedStartHook",
    "CalibrationHook",
    "ClassCountsHook",
    "ConsoleHook",
    "CrossFitHook",
    "EpochSeedHook",
    "FeatureCacheHook",
    "FiniteLossHook",
    "ProgressBarHook",
    "ReportHook",
    "SafeCheckpointHook",
    "SkippedImagesHook",
    "TrainableCheckpointHook",
    "UnsavedCheckpointError",
    "UntrainedParametersHook",
    "epoch_worker_init_fn",
]
