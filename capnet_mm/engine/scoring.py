"""What a model's head says of images, outside of the loops of a run."""

from collections.abc import Callable, Iterator

import torch
from mmengine.model import BaseModel
from torch import Tensor
from torch.utils.data import DataLoader

from capnet_mm.models.heads.partial_labels import multi_label_targets


@torch.no_grad()
def scored_batches(
    model: BaseModel,
    loader: DataLoader,
    score: Callable[[tuple], Tensor],
    num_classes: int,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Score a loader's images.

    Args:
        model: A classifier, in the mode wanted; not wrapped.
        loader: Of images with labels.
        score: What is made of the backbone's features: scores, (…, B, C), or others.
        num_classes: C.

    Yields:
        Scores and targets, (B, C), of each batch, on the CPU; targets are 1 positive,
        0 negative, -1 unknown.
    """
    for batch in loader:
        data = model.data_preprocessor(batch, training=False)
        found = score(model.extract_feat(data["inputs"])).cpu()
        yield found, multi_label_targets(data["data_samples"], num_classes).cpu()
