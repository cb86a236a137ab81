"""Test-time ensembling of several views."""

import torch
from mmengine.model import BaseTTAModel
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample


@MODELS.register_module()
class TestTimeEnsemble(BaseTTAModel):
    """Average the predictions of an image's views.

    The views come from MMCV's ``TestTimeAug`` in ``tta_pipeline``: five crops in
    ``configs/_base_/datasets/common.py``, or flips and scales of one's choosing.

    Source: CAPNET aggregates predictions of perturbed copies; five crops and
    the mean of logits follow LIFT (Shi et al., ICML 2024).

    Args:
        module (dict): The model.
        average (str): ``'logits'`` or ``'probabilities'`` (as MMPretrain's
            ``AverageClsScoreTTA``). Defaults to ``'logits'``.
        max_batch_size (int): Views of the same size are run together as long as they
            are at most so many images; the images of one view always are. 1: one
            view after the other. Defaults to 256.
        **kwargs: Other arguments of :class:`BaseTTAModel`.

    Raises:
        ValueError: For another ``average``, a ``max_batch_size`` below 1, or when the
            head gives no ``pred_logits`` to average.
    """

    __test__ = False  # not a test, whatever pytest thinks of the name

    def __init__(
        self,
        module: dict,
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
        predictions: list = [None] * len(data["inputs"])
        for together in self._batches(data["inputs"]):
            results = self.module.test_step(
                {
                    key: [item for index in together for item in views[index]]
                    for key, views in data.items()
                }
            )
            size = len(results) // len(together)
            for place, index in enumerate(together):
                predictions[index] = results[place * size : (place + 1) * size]
        return self.merge_preds(list(zip(*predictions, strict=True)))

    def _batches(self, views: list) -> list[list[int]]:
        """Indices of the views that are run together."""
        # The preprocessor pads a batch to its largest image: views that are run
        # together must pad each other's images to the size they had alone.
        groups: dict[tuple, list[int]] = {}
        for index, images in enumerate(views):
            shapes = tuple(tuple(image.shape) for image in images)
            groups.setdefault(shapes, []).append(index)
        batches = []
        for shapes, members in groups.items():
            number = max(1, self.max_batch_size // len(shapes))
            starts = range(0, len(members), number)
            batches += [members[start : start + number] for start in starts]
        return batches

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
            logits = torch.logit(_mean(data_samples_list, "pred_score"))
        elif "pred_logits" in merged[0]:
            logits = _mean(data_samples_list, "pred_logits")
        else:
            raise ValueError(
                "The head gives no pred_logits, so TestTimeEnsemble cannot average "
                "them. Set average='probabilities', or use CorrelationPromptHead."
            )
        return self.module.head._get_predictions(logits, merged)


def _mean(data_samples_list: list[list[DataSample]], name: str) -> torch.Tensor:
    """Average a field over the views of each image, (B, C)."""
    values = [[view.get(name) for view in views] for views in data_samples_list]
    return torch.stack([torch.stack(views) for views in values]).mean(1)
