"""Trains and tests on features that are computed once."""

from collections.abc import Sequence

from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS
from torch.utils.data import DataLoader

from capnet_mm.datasets.fixed_views import views_for_testing, views_for_training
from capnet_mm.datasets.wrappers import unwrap_datasets

from ..feature_cache import FeatureCache
from ..unwrap import unwrap_model
from .console_hook import ConsoleHook


@HOOKS.register_module()
class FeatureCacheHook(Hook):
    """Has images go through a frozen CLIP once; training reads their features.

    Ahead of training and testing the images of each data set that have no features on
    disk go through the tower, in some fixed views. Then the data set's pipeline reads
    features in place of pixels, and the data loader has no workers any more, since
    nothing is left for them to do. A training set draws one of ``views`` for each image
    and step; a test set takes the views that its pipeline takes, those of a
    ``TestTimeAug`` included.

    Model and checkpoint stay as they are: a checkpoint is tested on the images
    themselves without the hook, and gives the same scores up to the precision of the
    cache (see :class:`~capnet_mm.models.feature_records.FeatureLayout`).

    Features are found by CLIP, views, preprocessing and the contents of the image file:
    of changed images they are computed anew, and one folder serves any number of data
    sets and CLIPs. Each image is looked up at the start only.

    Args:
        cache_dir (str, optional): Folder of the cache. Defaults to None: the images
            themselves are trained on.
        views (Sequence[int | list[dict]]): The training set's views, see
            :func:`~capnet_mm.datasets.fixed_views.views_for_training`. Defaults to
            (224, 248, 320): 1 + 5 + 5 crops.
        crop_size (int): Height and width of these views. Defaults to 224.

    Raises:
        ValueError: When a run starts: something in the tower is trained (an adapter
            other than ``ScaleShift(space='joint')``), the backbone is no
            ``CLIPBackbone``, or a pipeline has no images to cache.

    Examples:
        >>> custom_hooks = [dict(type='FeatureCacheHook', cache_dir='features')]
    """

    def __init__(
        self,
        cache_dir: str | None = None,
        views: Sequence[int | list[dict]] = (224, 248, 320),
        crop_size: int = 224,
    ) -> None:
        self.cache_dir = cache_dir
        self.views = views
        self.crop_size = crop_size
        self._ready: list[DataLoader] = []

    def before_train(self, runner) -> None:
        """Cache the training set, and the set that validates."""
        self._prepare(runner, runner.train_dataloader)
        if runner.val_loop is not None:
            self._prepare(runner, runner.val_dataloader)

    def before_val(self, runner) -> None:
        """Cache the set that validates, outside of training."""
        self._prepare(runner, runner.val_dataloader)

    def before_test(self, runner) -> None:
        """Cache the test set."""
        self._prepare(runner, runner.test_dataloader)

    def _prepare(self, runner, loader: DataLoader) -> None:
        if not self.cache_dir or any(loader is ready for ready in self._ready):
            return
        self._ready.append(loader)
        cache = FeatureCache(
            unwrap_model(runner.model), self.cache_dir, lambda text: _say(runner, text)
        )
        for dataset in unwrap_datasets(loader.dataset):
            dataset.full_init()
            test_mode = dataset.test_mode
            if test_mode:
                views = views_for_testing(dataset.pipeline)
            else:
                views = views_for_training(dataset.pipeline, self.views, self.crop_size)
            skips = getattr(dataset, "corrupt_images", None) == "skip"
            infos = map(dataset.get_data_info, range(len(dataset)))
            store = cache.fill(
                views,
                [info["img_path"] for info in infos],
                loader.num_workers,
                skip_corrupt=skips and not test_mode,
            )
            dataset.pipeline = views.cached(str(store.folder))
        loader.num_workers = 0


def _say(runner, text: str) -> None:
    runner.logger.info(text)
    if any(isinstance(hook, ConsoleHook) for hook in runner.hooks):
        print(text, flush=True)
