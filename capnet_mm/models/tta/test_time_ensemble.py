"""Test-time ensembling of several views."""

import torch
from mmengine.model import BaseTTAModel
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample


@MODELS.register_module()
class TestTimeEnsemble(BaseTTAModel):
    """Average the predictions of an image's views.

    The views come from MMCV's ``TestTimeAug`` in ``tta_pipeline``: five crops in
    ``configs/_base_/tta/five_crop.py``, or flips and scales of one's choosing.

    Source: CAPNET aggregates predictions of perturbed copies; five crops and
    the mean of logits follow LIFT (Shi et al., ICML 2024).

    Args:
        module (dict): The model.
        average (str): ``'logits'`` or ``'probabilities'`` (as MMPretrain's
            ``AverageClsScoreTTA``). Defaults to ``'logits'``.
        batch_views (bool): Run all views that have the same size at once; False:
            one after the other, with as much less memory. Defaults to True.
        **kwargs: Other arguments of :class:`BaseTTAModel`.

    Raises:
        ValueError: For another ``average``, or when the head gives no
            ``pred_logits`` to average.
    """

    __test__ = False  # not a test, whatever pytest thinks of the name

    def __init__(
        self,
        module: dict,
        average: str = "logits",
        batch_views: bool = True,
        **kwargs,
    ) -> None:
        if average not in ("logits", "probabilities"):
            raise ValueError(
                f"average must be 'logits' or 'probabilities', got {average!r}."
            )
        super().__init__(module, **kwargs)
        self.average = average
        self.batch_views = batch_views

    def test_step(self, data: dict) -> list[DataSample]:
        """Predict every view and merge.

        Args:
            data: ``inputs`` and ``data_samples``, each a list of views, each view
                the batch's images or data samples.

        Returns:
            One data sample an image, see :meth:`merge_preds`.
        """
        if not (self.batch_views and isinstance(data, dict)):
            return super().test_step(data)
        views = data["inputs"]
        # The preprocessor pads a batch to its largest image: views that are run
        # together must pad each other's images to the size they had alone.
        groups: dict[tuple, list[int]] = {}
        for index, images in enumerate(views):
            shapes = tuple(tuple(image.shape) for image in images)
            groups.setdefault(shapes, []).append(index)
        predictions: list = [None] * len(views)
        for shapes, members in groups.items():
            results = self.module.test_step(
                {
                    key: [item for index in members for item in value[index]]
                    for key, value in data.items()
                }
            )
            size = len(shapes)
            for place, index in enumerate(members):
                predictions[index] = results[place * size : (place + 1) * size]
        return self.merge_preds(list(zip(*predictions, strict=True)))

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
        return [self._merge(views) for views in data_samples_list]

    def _merge(self, views: list[DataSample]) -> DataSample:
        if self.average == "probabilities":
            score = torch.stack([view.pred_score for view in views]).mean(0)
            logits = torch.logit(score)
        elif "pred_logits" in views[0]:
            logits = torch.stack([view.pred_logits for view in views]).mean(0)
        else:
            raise ValueError(
                "The head gives no pred_logits, so TestTimeEnsemble cannot average "
                "them. Set average='probabilities', or use CorrelationPromptHead."
            )
        merged = views[0].new()
        return self.module.head._get_predictions(logits[None], [merged])[0]
