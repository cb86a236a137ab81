"""Asking a trained model about pictures."""

from .inferencer import MultiLabelInferencer, inference_model

__all__ = ["MultiLabelInferencer", "inference_model"]
