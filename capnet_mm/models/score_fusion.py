"""How several kinds of evidence for a class add to one score."""

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F


class TextAlone(nn.Module):
    """The text branch's logits as they are: there is no other evidence."""

    def forward(self, evidence: Tensor, classes: Tensor | None = None) -> Tensor:
        """Take evidence (1, B, C) to logits, (B, C)."""
        return evidence[0]

    def of_new_classes(self, evidence: Tensor) -> Tensor:
        """The same for classes that were never trained."""
        return evidence[0]


@MODELS.register_module()
class ScoreFusion(BaseModule):
    r"""Weighs kinds of evidence for each class, as left-out images say.

    .. math::
        x_c = \sum_k w_{kc} \frac{x_{kc} - \mu_{kc}}{\sigma_{kc}} + b_c, \quad
        w_{kc} = (a_k + d_{kc}) \, \frac{n_c}{n_c + m}

    with the last factor for evidence that was trained only, so that for a class without
    a training image the frozen prior is alone. The shares a_k of all classes and the
    deviations d_kc, with a penalty :math:`\rho d_{kc}^2`, maximise the likelihood of
    the training labels given scores of models that were trained without the image
    (:class:`~capnet_mm.engine.CrossFitHook`): a class of few images has little to
    say against the penalty, and gets the shares of all; one for which CLIP's word is
    worth more, or less, than for others gets its own.

    Until it is fitted, what was trained is added up as it is and the prior does not
    count.

    Source: stacked generalisation (Wolpert, 1992); deviations shrunk towards what all
    classes share as in a hierarchical model (Gelman et al.). Ours: the factor of n_c.

    Args:
        trained (Sequence[bool]): Of each kind of evidence, text first, whether it was
            learned from the training images.
        num_classes (int): C.
        damping (float): m, images. Defaults to 2.
        ridge (float): ρ. Defaults to 3.
    """

    def __init__(
        self,
        trained: Sequence[bool],
        num_classes: int,
        damping: float = 2.0,
        ridge: float = 3.0,
    ) -> None:
        super().__init__()
        self.trained = tuple(trained)
        self.damping, self.ridge = damping, ridge
        shape = len(self.trained), num_classes
        counts = torch.tensor(self.trained, dtype=torch.float32)
        self.register_buffer("weight", counts[:, None].repeat(1, num_classes))
        self.register_buffer("center", torch.zeros(shape))
        self.register_buffer("spread", torch.ones(shape))
        self.register_buffer("bias", torch.zeros(num_classes))
        self.register_buffer("share", counts)
        self.register_buffer("fitted", torch.zeros(1, dtype=torch.bool))

    def forward(self, evidence: Tensor, classes: Tensor | None = None) -> Tensor:
        """Add evidence up.

        Args:
            evidence: (K, B, C), text first; or (K, B, C') of the classes given.
            classes: Their indices, (C',). Defaults to None: all classes.

        Returns:
            Logits, (B, C), or (B, C').
        """
        numbers = self.weight, self.center, self.spread, self.bias
        if classes is not None:
            numbers = [each[..., classes] for each in numbers]
        weight, center, spread, bias = numbers
        standard = (evidence - center[:, None]) / spread[:, None]
        return (weight[:, None] * standard).sum(0) + bias

    def of_new_classes(self, evidence: Tensor) -> Tensor:
        """Put text logits of classes that were never trained beside the others.

        Their words are all that is known of them, so they get the weight of all words,
        and the center, spread and bias of an average class.

        Args:
            evidence: (1, B, K), their text logits.

        Returns:
            Logits, (B, K).
        """
        if not self.fitted:
            return evidence[0]
        frozen = [not each for each in self.trained]
        weight = self.share[0] + self.share[frozen].sum()
        standard = (evidence[0] - self.center[0].mean()) / self.spread[0].mean()
        return weight * standard + self.bias.mean()

    @torch.no_grad()
    def fit(self, evidence: Tensor, targets: Tensor, class_counts: Sequence[int]):
        """Find the weights.

        Args:
            evidence: (K, N, C) of training images, each from a model that was trained
                without it.
            targets: (N, C), 1 positive, 0 negative, -1 unknown.
            class_counts: n_c, training images with class c, C numbers.

        Raises:
            ValueError: The evidence is not finite, or has another shape.
        """
        expected = (*self.weight.shape[:1], len(targets), *self.weight.shape[1:])
        if tuple(evidence.shape) != expected or not evidence.isfinite().all():
            raise ValueError(
                f"ScoreFusion expected finite evidence of shape {expected}, got "
                f"{tuple(evidence.shape)}"
                + ("." if evidence.isfinite().all() else " with NaN or infinity.")
            )
        evidence = evidence.double()
        center = evidence.mean(1)
        spread = evidence.std(1).clamp(min=1e-6)
        standard = (evidence - center[:, None]) / spread[:, None]
        counts = torch.as_tensor(class_counts).to(evidence)
        share, weight, bias = self._most_likely(standard, targets, counts)
        for name, value in dict(
            share=share, weight=weight, bias=bias, center=center, spread=spread
        ).items():
            getattr(self, name).copy_(value)
        self.fitted.fill_(True)

    @torch.enable_grad()
    def _most_likely(
        self, standard: Tensor, targets: Tensor, counts: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Shares a, (K,), weights w, (K, C), and biases b, (C,), by L-BFGS."""
        known, positive = targets >= 0, targets == 1
        share = torch.ones_like(standard[:, 0, 0]).div(len(standard)).requires_grad_()
        deviation = torch.zeros_like(standard[:, 0]).requires_grad_()
        odds = (positive.sum(0) + 0.5) / (known.sum(0) - positive.sum(0) + 0.5)
        bias = odds.to(standard).log().requires_grad_()
        trained = torch.tensor(self.trained, device=counts.device)[:, None]
        damping = torch.where(trained, counts / (counts + self.damping), 1.0)
        parameters = [share, deviation, bias]
        optimizer = torch.optim.LBFGS(
            parameters, max_iter=200, line_search_fn="strong_wolfe"
        )

        def weights() -> Tensor:
            return (share[:, None] + deviation) * damping

        def closure() -> Tensor:
            optimizer.zero_grad()
            logits = (weights()[:, None] * standard).sum(0) + bias
            loss = F.binary_cross_entropy_with_logits(
                logits, positive.to(logits), reduction="none"
            )
            loss = loss[known].sum() + self.ridge * deviation.square().sum()
            loss.backward()
            return loss

        optimizer.step(closure)
        return share.detach(), weights().detach(), bias.detach()


@MODELS.register_module()
class OneEvidence(BaseModule):
    """Scores by one kind of evidence alone, as baselines do.

    The others are trained beside it, if they have anything to train, and not heard.

    Args:
        trained (Sequence[bool]): As of :class:`ScoreFusion`; not used.
        num_classes (int): Not used.
        index (int): Which one; 0 is text. Defaults to -1, the last.
    """

    def __init__(
        self, trained: Sequence[bool], num_classes: int, index: int = -1
    ) -> None:
        super().__init__()
        self.index = index

    def forward(self, evidence: Tensor, classes: Tensor | None = None) -> Tensor:
        """Take evidence (K, B, C) to logits, (B, C)."""
        return evidence[self.index]

    def of_new_classes(self, evidence: Tensor) -> Tensor:
        """Only words can speak for classes that were never trained."""
        return evidence[0]
