"""Class activation maps of a model in a runner."""

import numpy as np
import torch
from torch import Tensor, nn

from capnet_mm.models import CorrelationPromptHead
from capnet_mm.models.tensor_cache import is_sharded

from .unwrap import unwrap_model


@torch.no_grad()
def class_maps(
    model: nn.Module, image: Tensor, classes: np.ndarray
) -> dict[int, np.ndarray]:
    """Show where in an image a model sees classes.

    Args:
        model: ``runner.model``, in evaluation mode.
        image: What the pipeline gives the model, (3, H, W).
        classes: Indices of the classes.

    Returns:
        By class, how much each place counts, (h, w). Nothing of a model that does not
        pool locally, and of one whose weights several processes share: to run it is
        to talk to all of them.
    """
    model = unwrap_model(model)
    head = getattr(model, "head", None)
    if not isinstance(head, CorrelationPromptHead) or not head.pooling.needs_map:
        return {}
    if any(map(is_sharded, model.parameters())):
        return {}
    inputs = model.data_preprocessor(dict(inputs=[image]), False)["inputs"]
    _, shares = head.class_activation_maps(model.extract_feat(inputs))
    return {int(index): shares[0, index].cpu().numpy() for index in classes}
