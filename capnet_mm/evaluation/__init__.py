"""Scores of long-tailed multi-label recognition."""

from .average_precision import average_precision
from .bootstrap import resample, resampled_average_precision
from .calibration import (
    Calibration,
    ReliabilityBins,
    choose_calibration,
    fit_calibration,
    log_loss,
    reliability_bins,
    split_folds,
)
from .calibration_fit import CalibrationFit
from .f1_scores import class_f1, f1_scores
from .frequency_groups import by_train_count, frequency_groups, group_of
from .long_tail_map import LongTailMAP
from .score_file import ScoreFile, Scores, read_scores
from .stored_calibration import (
    META_KEY,
    StoredCalibration,
    calibration_meta,
    read_calibration,
)
from .thresholds import Thresholds, choose_strength, shrunk_thresholds

__all__ = [
    "META_KEY",
    "Calibration",
    "CalibrationFit",
    "LongTailMAP",
    "ReliabilityBins",
    "ScoreFile",
    "Scores",
    "StoredCalibration",
    "Thresholds",
    "average_precision",
    "by_train_count",
    "calibration_meta",
    "choose_calibration",
    "choose_strength",
    "class_f1",
    "f1_scores",
    "fit_calibration",
    "frequency_groups",
    "group_of",
    "log_loss",
    "read_calibration",
    "read_scores",
    "reliability_bins",
    "resample",
    "resampled_average_precision",
    "shrunk_thresholds",
    "split_folds",
]
