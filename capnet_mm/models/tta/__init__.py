"""Test-time augmentation."""

from .test_time_ensemble import TestTimeEnsemble

__all__ = ["TestTimeEnsemble"]
