"""From command line arguments to the config of a run.

The flags bear MMPretrain's names and meanings.
"""

import argparse
import os
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict, DictAction
from mmengine.device import get_device

from ..checkpoint import check_checkpoint
from .console import add_console_arguments

# Flags that set what the configs read as `{{$VARIABLE:default}}`.
_ENVIRONMENT = {
    "data_root": "CAPNET_DATA_ROOT",
    "train_list": "CAPNET_TRAIN_LIST",
    "val_list": "CAPNET_VAL_LIST",
    "clip": "CAPNET_CLIP",
    "pretrained": "CAPNET_CLIP_PRETRAINED",
}


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that training and testing share.

    Args:
        parser (ArgumentParser): Changed in place; the config, a positional
            argument, comes first.
    """
    parser.add_argument("config", help="config file")
    parser.add_argument("--work-dir", help="folder for logs, checkpoints and scores")
    add_console_arguments(parser)
    add_data_arguments(parser)
    parser.add_argument(
        "--cache-features",
        metavar="DIR",
        help="have each image go through the frozen CLIP once, keep its features in "
        "this folder, and train and test on them",
    )
    parser.add_argument(
        "--cache-views",
        nargs="+",
        type=int,
        metavar="EDGE",
        help="short edges at which a training image's views are cached: one view at "
        "224 pixels, five crops at more (default: as the config says, 224 248 320)",
    )
    parser.add_argument(
        "--no-pin-memory",
        action="store_true",
        help="never pin memory; the default is to pin it with CUDA only",
    )
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=DictAction,
        metavar="KEY=VALUE",
        help="override parts of the config, e.g. train_cfg.max_epochs=5 or "
        'key="[a,b]"; no white space inside a value',
    )
    parser.add_argument(
        "--launcher",
        choices=["none", "pytorch", "slurm", "mpi"],
        default="none",
        help="how several processes were started",
    )
    parser.add_argument(
        "--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS
    )


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say which data and which CLIP a config takes.

    Args:
        parser (ArgumentParser): Changed in place.
    """
    parser.add_argument(
        "--data-root",
        help="folder with the lists and images; sets CAPNET_DATA_ROOT",
    )
    parser.add_argument(
        "--train-list",
        metavar="FILE",
        help="training list in the data root, in configs for own data; sets "
        "CAPNET_TRAIN_LIST",
    )
    parser.add_argument(
        "--val-list",
        metavar="FILE",
        help="validation list in the data root, in configs for own data; sets "
        "CAPNET_VAL_LIST",
    )
    parser.add_argument(
        "--clip",
        metavar="MODEL",
        help="architecture of open_clip or local-dir:PATH; sets CAPNET_CLIP",
    )
    parser.add_argument(
        "--pretrained",
        metavar="TAG",
        help="tag or file of the CLIP's weights; sets CAPNET_CLIP_PRETRAINED",
    )


def data_arguments(args: argparse.Namespace) -> list[str]:
    """Collect the flags of :func:`add_data_arguments` that were given.

    Args:
        args (Namespace): Arguments of a parser with these flags.

    Returns:
        list[str]: Flags and values, as words of another tool's command line.
    """
    words = []
    for name in _ENVIRONMENT:
        value = getattr(args, name)
        if value is not None:
            words += [f"--{name.replace('_', '-')}", value]
    return words


def read_config(args: argparse.Namespace) -> Config:
    """Read the config with all that the shared flags say.

    ``--cfg-options`` come first, so that what follows works on the final values.

    Args:
        args (Namespace): Arguments of a parser with :func:`add_common_arguments`.

    Returns:
        Config: The config, with ``launcher`` and ``work_dir`` set.

    Raises:
        FileNotFoundError: There is no such config file.
    """
    if not os.path.isfile(args.config):
        raise FileNotFoundError(
            f"There is no config file {args.config} (looked for in {os.getcwd()})."
        )
    for name, variable in _ENVIRONMENT.items():
        value = getattr(args, name)
        if value is not None:
            os.environ[variable] = value
    cfg = Config.fromfile(args.config)
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)

    cfg.launcher = args.launcher
    if args.launcher != "none":
        os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get("work_dir") is None:
        cfg.work_dir = str(Path("work_dirs", Path(args.config).stem))
    return cfg


def complete_dataloaders(
    cfg: Config, no_pin_memory: bool = False, no_persistent_workers: bool = False
) -> None:
    """Complete the configs of the data loaders.

    Pinned memory is of use with CUDA only. Validation and test keep their workers;
    training starts new ones in each epoch (see :class:`EpochSeedHook`). Where there
    are no workers none persist, whatever the config says: PyTorch refuses it.

    Args:
        cfg (Config): Changed in place.
        no_pin_memory (bool): Never pin memory. Defaults to False.
        no_persistent_workers (bool): Never keep workers. Defaults to False.
    """
    for field in ("train_dataloader", "val_dataloader", "test_dataloader"):
        loader = cfg.get(field)
        if loader is None:
            continue
        loader.setdefault("pin_memory", torch.cuda.is_available())
        loader.setdefault("persistent_workers", field != "train_dataloader")
        loader.setdefault("collate_fn", dict(type="default_collate"))
        if no_pin_memory:
            loader.pin_memory = False
        if no_persistent_workers or not loader.get("num_workers", 0):
            loader.persistent_workers = False


def apply_amp(cfg: Config) -> None:
    """Train with automatic mixed precision.

    Args:
        cfg (Config): Changed in place.

    Raises:
        ValueError: There is no accelerator, which MMEngine's AMP needs.
    """
    if get_device() == "cpu":
        raise ValueError(
            "--amp needs an accelerator (CUDA, NPU, …) and there is none: leave it out."
        )
    cfg.optim_wrapper.type = "AmpOptimWrapper"
    cfg.optim_wrapper.setdefault("loss_scale", "dynamic")


def apply_feature_cache(
    cfg: Config, cache_dir: str | None, views: list[int] | None
) -> None:
    """Train and test on cached features, see :class:`FeatureCacheHook`.

    Args:
        cfg (Config): Changed in place: its ``FeatureCacheHook``, or one that is added.
        cache_dir (str, optional): Folder of the cache; None for what the config says.
        views (list[int], optional): Short edges of the training set's views; None for
            what the config says.

    Raises:
        ValueError: There are views, but no folder.
    """
    hooks = cfg.get("custom_hooks") or []
    ours = [hook for hook in hooks if hook.get("type") == "FeatureCacheHook"]
    if cache_dir is not None:
        if not ours:
            ours = [ConfigDict(type="FeatureCacheHook")]
            cfg.custom_hooks = [*hooks, *ours]
        ours[0].cache_dir = cache_dir
    if views is not None:
        if not ours or not ours[0].get("cache_dir"):
            raise ValueError(
                "--cache-views needs --cache-features DIR, the folder of the cache."
            )
        ours[0].views = views


def apply_resume(cfg: Config, resume: str | None) -> None:
    """Resume training, and check whatever checkpoint the run will start from.

    Args:
        cfg (Config): Changed in place.
        resume (str, optional): A checkpoint; ``'auto'`` for the latest one in the
            work dir, if any; None for what the config says.

    Raises:
        FileNotFoundError: The checkpoint is missing.
        ValueError: The checkpoint is damaged or refused.
    """
    if resume is not None:
        cfg.resume = True
        cfg.load_from = None if resume == "auto" else resume
    if cfg.get("load_from"):
        cfg.load_from = check_checkpoint(cfg.load_from)
    elif cfg.get("resume"):
        latest = Path(cfg.work_dir, "last_checkpoint")  # as MMEngine leaves it
        if latest.is_file():
            check_checkpoint(latest.read_text().strip())


def apply_tta(cfg: Config) -> None:
    """Test with the test-time ensemble that the config describes.

    Views may keep the aspect ratio: unless the config names a ``collate_fn``, the
    images of a batch are listed, not stacked.

    Args:
        cfg (Config): Changed in place.

    Raises:
        ValueError: The config describes no ensemble.
    """
    missing = [key for key in ("tta_model", "tta_pipeline") if key not in cfg]
    if missing:
        raise ValueError(
            f"--tta needs {' and '.join(missing)} in the config {cfg.filename}: state "
            "how views are made (a pipeline with TestTimeAug) and how they are merged "
            "(dict(type='TestTimeEnsemble')), as configs/_base_/datasets/common.py."
        )
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    dataset = cfg.test_dataloader.dataset
    while "dataset" in dataset:  # RepeatDataset and the like
        dataset = dataset.dataset
    dataset.pipeline = cfg.tta_pipeline
    cfg.test_dataloader.setdefault("collate_fn", dict(type="pseudo_collate"))


def apply_visualization(
    cfg: Config, show: bool, show_dir: str | None, interval: int, wait_time: float
) -> None:
    """Draw predictions, if asked to.

    Args:
        cfg (Config): Changed in place.
        show (bool): Whether to show them in a window.
        show_dir (str, optional): Folder to write them to; None for none.
        interval (int): Number of images from one drawn to the next.
        wait_time (float): Seconds that a window stays.

    Raises:
        ValueError: The config has no visualisation hook.
    """
    if not show and show_dir is None:
        return
    hook = cfg.get("default_hooks", {}).get("visualization")
    if hook is None:
        raise ValueError(
            "--show and --show-dir need default_hooks=dict(visualization=dict("
            f"type='VisualizationHook')) in the config {cfg.filename}."
        )
    hook.update(
        enable=True, show=show, out_dir=show_dir, interval=interval, wait_time=wait_time
    )
