"""Distribution-balanced focal loss."""

from collections.abc import Sequence

import torch
from mmengine.dist import all_reduce, get_world_size
from mmpretrain.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

# The smallest normal number of float32.
_TINY = torch.finfo(torch.float32).tiny


def rebalancing_weight(
    target: Tensor, class_counts: Tensor, alpha: float, beta: float, mu: float
) -> Tensor:
    r"""Re-balancing weights :math:`w = \alpha + \sigma(\beta (r - \mu))`.

    .. math::
        r_i^c = \frac{1 / n_c}{\sum_{c': y_i^{c'} = 1} 1 / n_{c'}}

    for positive and negative c alike. An image without labels has an empty sum:
    r is infinite and w its limit α + 1. A class without training images counts
    as half an image.

    Args:
        target: Labels, (B, C); 1 is positive, all else is not.
        class_counts: n_c, (C,).
        alpha: Lifts the weights.
        beta: Steepness of the smoothing.
        mu: Its centre.

    Returns:
        Weights, (B, C).
    """
    inverse = 1 / class_counts.clamp(min=0.5)
    label_mass = (target == 1).to(inverse.dtype) @ inverse  # (B,)
    ratio = inverse / label_mass[:, None]
    return alpha + torch.sigmoid(beta * (ratio - mu))


def logit_offset(
    class_counts: Tensor, num_images: Tensor, kappa: float, neg_scale: float
) -> Tensor:
    r"""Class offsets :math:`\nu_c = -(\kappa / \lambda) \log(N / n_c - 1)`.

    n_c is kept half an image away from 0 and from N, where the offset would be
    infinite; every n_c from 1 to N - 1 is untouched.

    Args:
        class_counts: n_c, (C,).
        num_images: N, scalar.
        kappa: κ, size of the class prior.
        neg_scale: λ.

    Returns:
        ν, (C,).
    """
    counts = class_counts.clamp(min=0.5).minimum(num_images - 0.5)
    return -kappa / neg_scale * torch.log(num_images / counts - 1)


@MODELS.register_module()
class DBFocalLoss(nn.Module):
    r"""Distribution-balanced focal loss for long-tailed multi-label data.

    .. math::
        u = x + \nu_c, \quad u' = \begin{cases}u\\ \lambda u\end{cases} \quad
        w' = \begin{cases}w & y = 1\\ w / \lambda & y = 0\end{cases} \quad
        L = b\,(1 - p_t)^\gamma\, w'\, \mathrm{BCE}(u', y)

    with :math:`p_t = \exp(-\mathrm{BCE}(u', y))`, averaged over B × C. Without
    the focal factor :math:`L = w' \mathrm{BCE}(u', y)`.

    Entries of unknown label (target -1) have no loss and are not counted in the
    average; they add nothing to the sum in r either. ν still goes by N, all
    training images, though a class may be known in fewer. Ours: the source knows
    none. Several processes that train together divide by the mean of their numbers of
    known entries, so that the mean of their losses (and, under
    DistributedDataParallel, of their gradients) is that of the whole batch; all of
    them must compute their loss together.

    Source: Wu et al., *Distribution-Balanced Loss for Multi-Label Classification
    in Long-Tailed Datasets*, ECCV 2020; the defaults are theirs for VOC-LT. For
    COCO-LT they use ``mu=0.2, neg_scale=2``.

    Class counts and N come from the training data set: put ``ClassCountsHook``
    in ``custom_hooks`` or call :meth:`set_class_counts`. They are buffers, so
    that a checkpoint carries them.

    Args:
        alpha (float): α, lifts the re-balancing weight. Defaults to 0.1.
        beta (float): β, its steepness. Defaults to 10.
        mu (float): μ, its centre. Defaults to 0.3.
        kappa (float): κ, size of the class prior in ν. Defaults to 0.05.
        neg_scale (float): λ, steepness for negatives. Defaults to 5.
        gamma (float): γ, focusing exponent, at least 0. Defaults to 2.
        balance (float): b, factor of the focal loss. Defaults to 2.
        focal (bool): Use the focal factor. Defaults to True.
        rebalance (bool): Use w; otherwise 1. Defaults to True.
        regularize_logits (bool): Use ν and λ (negative-tolerant
            regularisation); otherwise ν = 0 and λ = 1. Defaults to True.
        class_weight_exponent (float): τ' of additional class weights
            :math:`n_c^{-\tau'}`, normalised to mean 1 (re-weighting as in LMPT).
            Defaults to 0: none.
        average (str): ``'elements'`` divides by B × C, less the entries that are
            unknown, as the authors' code does, whatever ``avg_factor`` says;
            ``'images'`` divides by ``avg_factor`` (B from MMPretrain's heads), C
            times as much if all is known. Defaults to ``'elements'``.
        loss_weight (float): Factor of the loss. Defaults to 1.

    Raises:
        ValueError: For an unknown ``average``, γ < 0 or λ <= 0; in forward for a
            target between 0 and 1 or above, and when the class counts were not set
            or are for another number of classes.

    Examples:
        >>> loss = DBFocalLoss(mu=0.2, neg_scale=2)
        >>> loss.set_class_counts([30, 2, 5], num_images=40)
        >>> logits, target = torch.zeros(4, 3), torch.eye(4, 3)
        >>> loss(logits, target).shape
        torch.Size([])
    """

    # Heads hand targets of -1 on.
    takes_unknown = True

    def __init__(
        self,
        alpha: float = 0.1,
        beta: float = 10.0,
        mu: float = 0.3,
        kappa: float = 0.05,
        neg_scale: float = 5.0,
        gamma: float = 2.0,
        balance: float = 2.0,
        focal: bool = True,
        rebalance: bool = True,
        regularize_logits: bool = True,
        class_weight_exponent: float = 0.0,
        average: str = "elements",
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if average not in ("elements", "images"):
            raise ValueError(
                f"average must be 'elements' or 'images', got {average!r}."
            )
        if neg_scale <= 0:
            raise ValueError(f"neg_scale (λ) must be positive, got {neg_scale}.")
        if gamma < 0:
            raise ValueError(f"gamma (γ) must be at least 0, got {gamma}.")
        self.alpha, self.beta, self.mu = alpha, beta, mu
        self.kappa, self.neg_scale = kappa, neg_scale
        self.gamma, self.balance = gamma, balance
        self.focal, self.rebalance = focal, rebalance
        self.regularize_logits = regularize_logits
        self.class_weight_exponent = class_weight_exponent
        self.average = average
        self.loss_weight = loss_weight
        # Empty until the training data set is known.
        self.register_buffer("class_counts", torch.zeros(0))
        self.register_buffer("num_images", torch.tensor(0.0))

    def set_class_counts(self, class_counts: Sequence[int], num_images: int) -> None:
        """Take over what the training data set knows.

        Args:
            class_counts: n_c, training images with class c, C numbers.
            num_images: N, number of training images.

        Raises:
            ValueError: For counts below 0 or above N, or N < 1.
        """
        counts = torch.as_tensor(class_counts, dtype=torch.float32)
        if num_images < 1 or counts.min() < 0 or counts.max() > num_images:
            raise ValueError(
                f"Class counts must lie between 0 and the {num_images} training "
                f"images (at least 1), got {counts.min():g} to {counts.max():g}."
            )
        self.class_counts = counts.to(self.class_counts.device)
        self.num_images = self.num_images.new_tensor(float(num_images))

    def forward(
        self,
        cls_score: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """Compute the loss.

        Args:
            cls_score: Logits, (B, C).
            target: Labels, 1 positive, 0 negative, below 0 unknown, (B, C).
            weight: Factor of each image, (B,), or of each entry, (B, C).
            avg_factor: Divisor when ``average='images'``; None is B.
            reduction_override: ``'none'`` for the (B, C) values, ``'sum'``,
                ``'mean'``. None is ``'mean'``.

        Returns:
            Scalar, 0 if nothing is known; or (B, C) for ``'none'``.
        """
        self._check(cls_score)
        logits, target = cls_score.float(), target.float()
        neg_scale = self.neg_scale if self.regularize_logits else 1.0
        if self.regularize_logits:
            logits = logits + logit_offset(
                self.class_counts, self.num_images, self.kappa, neg_scale
            )
        known, positive = target >= 0, target == 1
        self._refuse_soft(target, known & ~positive)
        target = target.clamp(min=0)  # what is unknown is taken out below
        bce = F.binary_cross_entropy_with_logits(
            torch.where(positive, logits, neg_scale * logits), target, reduction="none"
        )
        loss = torch.where(positive, bce, bce / neg_scale)
        if self.focal:
            # 1 - p_t; not quite 0, where a γ below 1 would have an infinite slope.
            miss = (-torch.expm1(-bce)).clamp(min=_TINY)
            loss = self.balance * miss**self.gamma * loss
        if self.rebalance:
            loss = loss * rebalancing_weight(
                target, self.class_counts, self.alpha, self.beta, self.mu
            )
        if self.class_weight_exponent:
            class_weight = self.class_counts.clamp(min=0.5) ** (
                -self.class_weight_exponent
            )
            loss = loss * (class_weight / class_weight.mean())
        if weight is not None:
            weight = weight.float()
            loss = loss * (weight[:, None] if weight.ndim == 1 else weight)
        loss = torch.where(known, loss, 0.0)
        loss = self._reduce(loss, known, avg_factor, reduction_override)
        return self.loss_weight * loss

    def _reduce(
        self,
        loss: Tensor,
        known: Tensor,
        avg_factor: float | None,
        reduction: str | None,
    ) -> Tensor:
        if reduction == "none":
            return loss
        if reduction == "sum":
            return loss.sum()
        if reduction not in (None, "mean"):
            raise ValueError(
                "reduction_override must be 'none', 'sum' or 'mean', got "
                f"{reduction!r}."
            )
        if self.average == "images":
            return loss.sum() / (len(loss) if avg_factor is None else avg_factor)
        total, num_known = loss.sum(), known.sum().float()
        if total.requires_grad and get_world_size() > 1:
            all_reduce(num_known, op="mean")
        return total / num_known.clamp(min=1 / get_world_size())

    @staticmethod
    def _refuse_soft(target: Tensor, not_positive: Tensor) -> None:
        soft = target[not_positive & (target != 0)]
        if len(soft):
            raise ValueError(
                f"DBFocalLoss takes targets of 1 (positive), 0 (negative) or -1 "
                f"(unknown), got {soft[0]:g}. Soft targets of Mixup, CutMix or label "
                "smoothing need another loss, such as CrossEntropyLoss("
                "use_sigmoid=True): take the augmentation out of "
                "train_cfg.augments, or change the loss."
            )

    def _check(self, cls_score: Tensor) -> None:
        known, needed = len(self.class_counts), cls_score.shape[1]
        if known == 0:
            raise ValueError(
                "DBFocalLoss does not know the class counts. Add "
                "custom_hooks=[dict(type='ClassCountsHook')] to the config, with a "
                "training data set that has class_counts in its metainfo, or call "
                "set_class_counts."
            )
        if known != needed:
            raise ValueError(
                f"DBFocalLoss has the counts of {known} classes, the head gives "
                f"{needed} logits: training data set and head disagree."
            )

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        # The checkpoint decides how many classes there are.
        saved = state_dict.get(prefix + "class_counts")
        if saved is not None and len(self.class_counts) == 0:
            self.class_counts = torch.zeros_like(saved)
        super()._load_from_state_dict(state_dict, prefix, *args)
