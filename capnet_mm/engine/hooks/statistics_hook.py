"""Logs what the parts of CAPNET do while they train."""

from collections.abc import Iterator

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmpretrain.registry import HOOKS
from torch import Tensor, nn
from torch.nn import functional as F

from ..unwrap import unwrap_model, unwrap_optimizers

# Prefixes of the names of parameters, and the parts of the method they belong to.
_PARTS = {"adapter": "backbone.", "prompt": "head.prompt.", "gcn": "head.gcn."}
# Classes that are compared pair by pair: 1,024 make a matrix of 4 MB.
_MOST_COMPARED = 1024


@HOOKS.register_module()
class CAPNETStatisticsHook(Hook):
    r"""Writes numbers about the method's parts to the message hub.

    From there MMEngine's logger and visualisation backends (TensorBoard, Weights &
    Biases, …) take them. Written as ``train/…``:

    ====================== ======================================================
    temperature            :math:`\tau`, as in the iteration's forward pass
    residual_ratio         mean over classes of
                           :math:`\|\gamma H^3_c\| / \|f_c\|`, what the GCN adds
                           against what the prompts give
    class_cosine_mean      mean cosine of two classes' embeddings
    class_cosine_max       cosine of the two classes that are most alike; beyond
                           1,024 classes, only 1,024 that are evenly spread over
                           the list are compared
    grad_norm_adapter      L2 norm of the gradient of the trained parameters of the
                           backbone
    grad_norm_prompt       L2 norm of the gradient of the soft prompts
    grad_norm_gcn          L2 norm of the gradient of the GCN
    ====================== ======================================================

    With thousands of classes time and memory grow as :math:`C d`, for embeddings of
    width d: no matrix of all pairs is made.

    Gradients are those that the optimizer uses: averaged over processes, summed over
    accumulated iterations, clipped if the config says so, without AMP's scale. Under
    FSDP only the first process's share of the weights is counted. Parts that are
    switched off or frozen are left out, and so are models without
    :class:`~capnet_mm.models.CorrelationPromptHead`.

    Args:
        interval (int): Number of iterations from one writing to the next. Defaults to
            10.

    Raises:
        ValueError: ``interval`` is not positive.

    Examples:
        >>> custom_hooks = [dict(type='CAPNETStatisticsHook', interval=10)]
    """

    # Ahead of LoggerHook (BELOW_NORMAL), which writes the numbers out.
    priority = "NORMAL"

    def __init__(self, interval: int = 10) -> None:
        if interval < 1:
            raise ValueError(f"interval={interval}: expected 1 or more iterations.")
        self.interval = interval
        self._head: nn.Module | None = None
        self._parameters: dict[str, list[nn.Parameter]] = {}
        self._gradients_due = False
        self._gradient_norms: dict[str, float] = {}
        # Of the last training forward.
        self._temperature: Tensor | None = None
        self._text_branch: tuple[Tensor, Tensor] | None = None

    def before_train(self, runner) -> None:
        """Find the head, and ask the optimizer to show its gradients."""
        model = unwrap_model(runner.model)
        self._head = _find_head(model)
        if self._head is None:
            print_log(
                "CAPNETStatisticsHook logs nothing: the model has no "
                "CorrelationPromptHead.",
                logger="current",
            )
            return
        self._head.register_forward_hook(self._keep_temperature)
        self._head.gcn.register_forward_hook(self._keep_text_branch)
        named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        self._parameters = {
            part: [parameter for name, parameter in named if name.startswith(prefix)]
            for part, prefix in _PARTS.items()
        }
        for optimizer in unwrap_optimizers(runner.optim_wrapper):
            # After an iteration gradients are gone, so they are read just before the
            # step. GradScaler has removed its scale by then.
            optimizer.register_step_pre_hook(self._read_gradients)

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Decide whether the gradients of this iteration are wanted."""
        # Stays until there is a step: with accumulation not every iteration has one.
        if self.every_n_train_iters(runner, self.interval):
            self._gradients_due = True

    def after_train_iter(
        self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None
    ) -> None:
        """Write the numbers."""
        if self._head is None:
            return
        scalars = {f"grad_norm_{part}": x for part, x in self._gradient_norms.items()}
        if scalars:
            self._gradients_due = False
            self._gradient_norms = {}
        if self.every_n_train_iters(runner, self.interval):
            scalars.update(self._statistics())
        for name, value in scalars.items():
            runner.message_hub.update_scalar(f"train/{name}", value)

    def _keep_temperature(self, head: nn.Module, inputs, logits) -> None:
        # FSDP takes weights apart after the forward pass.
        if head.training:
            self._temperature = head.temperature

    def _keep_text_branch(self, gcn: nn.Module, inputs, residual: Tensor) -> None:
        if gcn.training:
            self._text_branch = inputs[0].detach(), residual.detach()

    def _statistics(self) -> dict[str, float]:
        """Numbers about the last training forward."""
        scalars = {}
        if self._temperature is not None:
            scalars["temperature"] = float(self._temperature)
        if self._text_branch is not None:
            text_features, residual = self._text_branch
            if next(self._head.gcn.parameters(), None) is not None:
                ratio = residual.norm(dim=-1) / text_features.norm(dim=-1)
                scalars["residual_ratio"] = float(ratio.mean())
            embeddings = F.normalize(text_features + residual, dim=-1)
            if len(embeddings) > 1:
                scalars.update(_cosine_statistics(embeddings))
        return scalars

    def _read_gradients(self, optimizer: torch.optim.Optimizer, args, kwargs) -> None:
        if not self._gradients_due:
            return
        # Fused optimizers unscale gradients themselves, inside the step.
        scale = getattr(optimizer, "grad_scale", None)
        scale = 1.0 if scale is None else float(scale)
        mine = {id(p) for group in optimizer.param_groups for p in group["params"]}
        for part, parameters in self._parameters.items():
            gradients = [
                parameter.grad.detach()
                for parameter in parameters
                if parameter.grad is not None and id(parameter) in mine
            ]
            if gradients:
                norms = [gradient.float().norm() for gradient in gradients]
                self._gradient_norms[part] = float(torch.stack(norms).norm()) / scale


def _find_head(model: nn.Module) -> nn.Module | None:
    """The submodule with the parts of ``CorrelationPromptHead``."""
    for module in model.modules():
        if hasattr(module, "gcn") and hasattr(module, "temperature"):
            return module
    return None


def _cosine_statistics(embeddings: Tensor) -> Iterator[tuple[str, float]]:
    """Mean and maximum of the cosines of different rows; embeddings (C, d)."""
    num_classes = len(embeddings)
    # The squared norm of the sum holds every pair twice, and every row with itself.
    pairs = embeddings.sum(0).norm().square() - embeddings.norm().square()
    yield "class_cosine_mean", float(pairs) / (num_classes * (num_classes - 1))
    compared = embeddings[_evenly_spread(num_classes, _MOST_COMPARED)]
    cosines = (compared @ compared.T).fill_diagonal_(-torch.inf)
    yield "class_cosine_max", float(cosines.max())


def _evenly_spread(length: int, number: int) -> Tensor:
    """At most so many indices of a list, from the first to the last one."""
    if length <= number:
        return torch.arange(length)
    return torch.arange(number) * (length - 1) // (number - 1)
