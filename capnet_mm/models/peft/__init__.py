"""Parameter-efficient fine-tuning of image towers."""

from .adapt_former import AdaptFormer
from .base import Adapter
from .bias_tuning import BiasTuning
from .lora import LoRA
from .scale_shift import ScaleShift

__all__ = ["AdaptFormer", "Adapter", "BiasTuning", "LoRA", "ScaleShift"]
