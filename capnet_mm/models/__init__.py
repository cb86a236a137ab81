"""The method: every box of the paper's figure is one file."""

from .backbones import CLIPBackbone
from .classifiers import CLIPClassifier
from .gcn import ResidualGCN
from .heads import CorrelationPromptHead, PartialLabelLinearHead
from .label_graph import LabelGraph
from .losses import DBFocalLoss
from .peft import AdaptFormer, BiasTuning, LoRA, ScaleShift
from .soft_prompt import SoftPrompt
from .text_encoder import CLIPTextEncoder
from .tta import TestTimeEnsemble

__all__ = [
    "AdaptFormer",
    "BiasTuning",
    "CLIPBackbone",
    "CLIPClassifier",
    "CLIPTextEncoder",
    "CorrelationPromptHead",
    "DBFocalLoss",
    "LabelGraph",
    "LoRA",
    "PartialLabelLinearHead",
    "ResidualGCN",
    "ScaleShift",
    "SoftPrompt",
    "TestTimeEnsemble",
]
