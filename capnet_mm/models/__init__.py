"""The method: every box of the paper's figure is one file."""

from .backbones import CLIPBackbone
from .class_pooling import ClassPooling, GlobalPooling
from .classifiers import CLIPClassifier
from .gcn import ResidualGCN, ZeroResidual
from .heads import CorrelationPromptHead, PartialLabelLinearHead
from .image_features import ImageFeatures
from .label_graph import IdentityGraph, LabelGraph
from .losses import DBFocalLoss
from .peft import Adapter, AdaptFormer, BiasTuning, LoRA, ScaleShift
from .soft_prompt import SoftPrompt
from .template_prompt import TemplatePrompt
from .text_encoder import CLIPTextEncoder
from .tta import TestTimeEnsemble

__all__ = [
    "AdaptFormer",
    "Adapter",
    "BiasTuning",
    "CLIPBackbone",
    "CLIPClassifier",
    "CLIPTextEncoder",
    "ClassPooling",
    "CorrelationPromptHead",
    "DBFocalLoss",
    "GlobalPooling",
    "IdentityGraph",
    "ImageFeatures",
    "LabelGraph",
    "LoRA",
    "PartialLabelLinearHead",
    "ResidualGCN",
    "ScaleShift",
    "SoftPrompt",
    "TemplatePrompt",
    "TestTimeEnsemble",
    "ZeroResidual",
]
