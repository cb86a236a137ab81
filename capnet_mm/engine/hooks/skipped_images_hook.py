"""Reports the images that training had to leave out."""

from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

from capnet_mm.datasets.wrappers import unwrap_datasets


@HOOKS.register_module()
class SkippedImagesHook(Hook):
    """Logs number and names of the corrupt images that were left out.

    The hook reads ``skipped_images`` of the training dataset (see
    ``corrupt_images='skip'`` of :class:`~capnet_mm.datasets.ImageListDataset`) after
    each epoch and at the end, together for all processes, and says something only when
    there is something new.

    Args:
        max_names (int): Number of names to write out. Defaults to 20.

    Examples:
        >>> custom_hooks = [dict(type='SkippedImagesHook')]
    """

    priority = "LOW"

    def __init__(self, max_names: int = 20) -> None:
        self.max_names = max_names
        self._reported: list[str] = []

    def after_train_epoch(self, runner) -> None:
        """Report what this epoch has left out."""
        self._report(runner)

    def after_train(self, runner) -> None:
        """Report what has not been reported."""
        self._report(runner)

    def _report(self, runner) -> None:
        mine = [
            str(path)
            for dataset in unwrap_datasets(runner.train_dataloader.dataset)
            for path in getattr(dataset, "skipped_images", ())
        ]
        skipped = sorted({path for part in all_gather_object(mine) for path in part})
        if not skipped or skipped == self._reported:
            return
        self._reported = skipped
        names = ", ".join(skipped[: self.max_names])
        more = len(skipped) - self.max_names
        runner.logger.warning(
            f"{len(skipped)} corrupt image(s) left out of training so far: {names}"
            f"{f' and {more} more' if more > 0 else ''}."
        )
