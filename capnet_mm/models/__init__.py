"""The method: every box of the paper's figure is one file."""

from .backbones import CLIPBackbone
from .class_pooling import ClassPooling, GlobalPooling
from .classifiers import CLIPClassifier
from .count_aware_prior import CountAwarePrior
from .feature_adapter import FeatureAdapter
from .gcn import ResidualGCN, ZeroResidual
from .heads import CorrelationPromptHead, PartialLabelCSRAHead, PartialLabelLinearHead
from .image_features import ImageFeatures
from .label_graph import IdentityGraph, LabelGraph
from .losses import DBFocalLoss
from .peft import Adapter, AdaptFormer, BiasTuning, LoRA, ScaleShift
from .score_fusion import OneEvidence, ScoreFusion, TextAlone
from .soft_prompt import SoftPrompt
from .task_residual import TaskResidual
from .template_prompt import TemplatePrompt
from .text_encoder import CLIPTextEncoder
from .tta import TestTimeEnsemble
from .visual_branch import VisualBranch

__all__ = [
    "AdaptFormer",
    "Adapter",
    "BiasTuning",
    "CLIPBackbone",
    "CLIPClassifier",
    "CLIPTextEncoder",
    "ClassPooling",
    "CorrelationPromptHead",
    "CountAwarePrior",
    "DBFocalLoss",
    "FeatureAdapter",
    "GlobalPooling",
    "IdentityGraph",
    "ImageFeatures",
    "LabelGraph",
    "LoRA",
    "OneEvidence",
    "PartialLabelCSRAHead",
    "PartialLabelLinearHead",
    "ResidualGCN",
    "ScaleShift",
    "ScoreFusion",
    "SoftPrompt",
    "TaskResidual",
    "TemplatePrompt",
    "TestTimeEnsemble",
    "TextAlone",
    "VisualBranch",
    "ZeroResidual",
]
