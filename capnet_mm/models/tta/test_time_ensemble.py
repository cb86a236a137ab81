"""Test-time ensembling of several views."""

from collections.abc import Callable, Iterator

import torch
from mmengine.model import BaseTTAModel
from mmpretrain.models.heads import ClsHead, MultiLabelClsHead
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn


@MODELS.register_module()
class TestTimeEnsemble(BaseTTAModel):
    """Average the predictions of an image's views.

    The views come from MMCV's ``TestTimeAug`` in ``tta_pipeline``: five crops in
    ``configs/_base_/datasets/common.py``, or flips and scales of one's choosing.
    Images of equal shape are run together and none is padded to another, so that
    views may keep the aspect ratio and an image's scores do not depend, beyond
    rounding, on the rest of its batch. State dicts are those of the model, with or
    without ``module.`` ahead of the keys.

    Source: CAPNET aggregates predictions of perturbed copies; five crops and
    the mean of logits follow LIFT (Shi et al., ICML 2024).

    Args:
        module (dict | nn.Module): The model.
        average (str): ``'logits'`` or ``'probabilities'`` (as MMPretrain's
            ``AverageClsScoreTTA``). Defaults to ``'logits'``.
        max_batch_size (int): At most so many images, of all views, are run together.
            Defaults to 256.
        **kwargs: Other arguments of :class:`BaseTTAModel`.

    Raises:
        ValueError: For another ``average``, a ``max_batch_size`` below 1, a head that
            gives no ``pred_logits`` to average, or ``average='probabilities'`` with a
            head that is neither a ``ClsHead`` nor a ``MultiLabelClsHead``.
    """

    __test__ = False  # not a test, whatever pytest thinks of the name

    def __init__(
        self,
        module: dict | nn.Module,
        average: str = "logits",
        max_batch_size: int = 256,
        **kwargs,
    ) -> None:
        if average not in ("logits", "probabilities"):
            raise ValueError(
                f"average must be 'logits' or 'probabilities', got {average!r}."
            )
        if max_batch_size < 1:
            raise ValueError(
                f"max_batch_size must be at least 1, got {max_batch_size}."
            )
        super().__init__(module, **kwargs)
        self.average = average
        self.max_batch_size = max_batch_size
        if average == "probabilities":
            self._logits_of = _inverse(getattr(self.module, "head", None))

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        # MMEngine loads the model's own keys through the ensemble, but MMPretrain's
        # EMAHook loads its copy with PyTorch, which would leave every weight as it was
        # without a word.
        inner = prefix + "module."
        for key in list(state_dict):
            if key.startswith(prefix) and not key.startswith(inner):
                state_dict[inner + key[len(prefix) :]] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def test_step(self, data: dict) -> list[DataSample]:
        """Predict every view and merge.

        Args:
            data: ``inputs`` and ``data_samples``, each a list of views, each view
                the batch's images or data samples.

        Returns:
            One data sample an image, see :meth:`merge_preds`.
        """
        if not isinstance(data, dict):
            return super().test_step(data)
        views = data["inputs"]
        predictions: list[list] = [[None] * len(views) for _ in views[0]]
        for together in self._batches(views):
            results = self.module.test_step(
                {
                    key: [items[view][image] for view, image in together]
                    for key, items in data.items()
                }
            )
            for (view, image), result in zip(together, results, strict=True):
                predictions[image][view] = result
        return self.merge_preds(predictions)

    def _batches(self, views: list) -> Iterator[list[tuple[int, int]]]:
        """Indices (view, image) of what is run together."""
        # The preprocessor would pad images to the largest of their batch.
        shapes: dict[tuple[int, ...], list[tuple[int, int]]] = {}
        for view, images in enumerate(views):
            for index, image in enumerate(images):
                shapes.setdefault(tuple(image.shape), []).append((view, index))
        for members in shapes.values():
            for start in range(0, len(members), self.max_batch_size):
                yield members[start : start + self.max_batch_size]

    def merge_preds(
        self, data_samples_list: list[list[DataSample]]
    ) -> list[DataSample]:
        """Merge the views of each image.

        Args:
            data_samples_list: For each image its views' predictions.

        Returns:
            One data sample an image: ``pred_score`` (C,), ``pred_logits`` (C,)
            and ``pred_label`` as the head would give them.
        """
        merged = [views[0].new() for views in data_samples_list]
        if self.average == "probabilities":
            logits = self._logits_of(_mean(data_samples_list, "pred_score"))
        elif "pred_logits" in merged[0]:
            logits = _mean(data_samples_list, "pred_logits")
        else:
            raise ValueError(
                "The head gives no pred_logits, so TestTimeEnsemble cannot average "
                "them. Set average='probabilities', or use CorrelationPromptHead."
            )
        return self.module.head._get_predictions(logits, merged)


def _mean(data_samples_list: list[list[DataSample]], name: str) -> Tensor:
    """Average a field over the views of each image, (B, C)."""
    values = [[view.get(name) for view in views] for views in data_samples_list]
    return torch.stack([torch.stack(views) for views in values]).mean(1)


def _inverse(head: nn.Module | None) -> Callable[[Tensor], Tensor]:
    """What turns a head's scores into logits that it gives the same scores for."""
    if isinstance(head, MultiLabelClsHead):
        return torch.logit
    if isinstance(head, ClsHead):  # softmax of the logarithms of what sums up to 1
        return torch.log
    raise ValueError(
        "average='probabilities' needs a head whose scores are a sigmoid "
        "(MultiLabelClsHead) or a softmax (ClsHead), or built on one of these, got "
        f"{type(head).__name__}: set average='logits' if the head gives pred_logits."
    )
