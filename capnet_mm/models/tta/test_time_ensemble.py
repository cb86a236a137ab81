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
        **kwargs: Other arguments of :class:`BaseTTAModel`.

    Raises:
        ValueError: For another ``average``, or when the head gives no
            ``pred_logits`` to average.
    """

    __test__ = False  # not a test, whatever pytest thinks of the name

    def __init__(self, module: dict, average: str = "logits", **kwargs) -> None:
        if average not in ("logits", "probabilities"):
            raise ValueError(
                f"average must be 'logits' or 'probabilities', got {average!r}."
            )
        super().__init__(module, **kwargs)
        self.average = average

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
