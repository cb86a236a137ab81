"""Training multi-label heads where some labels are unknown."""

import torch
from mmpretrain.models.heads import MultiLabelLinearClsHead
from mmpretrain.models.losses import AsymmetricLoss, FocalLoss
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor
from torch.nn import functional as F

# A logit at which the loss of a negative is 0 in every precision.
_CERTAINLY_NEGATIVE = -1e4
# Losses of MMPretrain's that take targets in one column, (B, 1), for numbers of
# classes: of a single class, its negatives for positives. A second class that nothing
# shows has no loss.
_READ_AS_NUMBERS = (AsymmetricLoss, FocalLoss)


class PartialLabelMixin:
    """Has a multi-label head of MMPretrain's train on the known labels only.

    Put before the head among the base classes. An entry of unknown label (target
    -1) has no gradient, whatever the loss: the loss sees a certain negative in its
    place. A loss with ``takes_unknown = True`` gets the -1 itself, so that it can
    leave the entry out of its average. A loss that smooths labels makes a positive
    share of the certain negative: the gradients are right, the value logged is not.

    The loss is computed in float32 at least: the sums and the smallest numbers of some
    losses leave the range of half precision.
    """

    takes_unknown = True
    # What an unknown label counts as; None: it has no gradient.
    unknown_target: float | None = None

    def _get_loss(
        self, cls_score: Tensor, data_samples: list[DataSample], **kwargs
    ) -> dict[str, Tensor]:
        """Compute the loss on logits, (B, C)."""
        cls_score = cls_score.to(torch.promote_types(cls_score.dtype, torch.float32))
        target = multi_label_targets(data_samples, cls_score.shape[1])
        if self.unknown_target is not None:
            target = target.masked_fill(target < 0, self.unknown_target)
        if not getattr(self.loss_module, "takes_unknown", False):
            cls_score = cls_score.masked_fill(target < 0, _CERTAINLY_NEGATIVE)
            target = target.clamp(min=0)
        if cls_score.shape[1] == 1 and isinstance(self.loss_module, _READ_AS_NUMBERS):
            cls_score = F.pad(cls_score, (0, 1), value=_CERTAINLY_NEGATIVE)
            target = F.pad(target, (0, 1))
        loss = self.loss_module(cls_score, target, avg_factor=len(target), **kwargs)
        return dict(loss=loss)


def multi_label_targets(data_samples: list[DataSample], num_classes: int) -> Tensor:
    """Collect the targets of a batch, in a fixed number of operators.

    Args:
        data_samples: Each with ``gt_score``, (C,), 1 positive, 0 negative, -1
            unknown; or else ``gt_label``, the positives. A batch may have both kinds.
        num_classes: C.

    Returns:
        Targets, (B, C), float32.
    """
    scored = torch.tensor(["gt_score" in data_sample for data_sample in data_samples])
    scores = [sample.gt_score for sample in data_samples if "gt_score" in sample]
    if scored.all():
        return torch.stack(scores).float()
    labels = [sample.gt_label for sample in data_samples if "gt_score" not in sample]
    multi_hot = _multi_hot(labels, num_classes)
    if not scores:
        return multi_hot
    target = multi_hot.new_empty(len(data_samples), num_classes)
    target[scored] = torch.stack(scores).to(target)
    target[~scored] = multi_hot
    return target


def _multi_hot(labels: list[Tensor], num_classes: int) -> Tensor:
    """Turn the labels of each image into targets 0 and 1, (B, C)."""
    numbers = torch.tensor([len(label) for label in labels])
    images = torch.arange(len(labels)).repeat_interleave(numbers)
    one_hot = F.one_hot(torch.cat(labels), num_classes).float()
    target = one_hot.new_zeros(len(labels), num_classes)
    # A label may be given twice.
    return target.index_add_(0, images.to(target.device), one_hot).clamp_(max=1)


@MODELS.register_module()
class PartialLabelLinearHead(PartialLabelMixin, MultiLabelLinearClsHead):
    """:class:`MultiLabelLinearClsHead` for training sets with unknown labels.

    MMPretrain's own head takes the target -1 for a label like any other, and its
    losses then push the logit far below that of a negative.

    Args:
        **kwargs: Those of :class:`mmpretrain.models.heads.MultiLabelLinearClsHead`.

    Examples:
        >>> head = PartialLabelLinearHead(
        ...     num_classes=73,
        ...     in_channels=512,
        ...     loss=dict(type='CrossEntropyLoss', use_sigmoid=True))
    """
