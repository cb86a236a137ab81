"""From a checkpoint, a config or a CLIP to a model that can be asked."""

import copy
import os
from collections.abc import Sequence

from mmengine.config import Config, ConfigDict
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmengine.utils import import_modules_from_strings
from mmpretrain.apis import ModelHub
from mmpretrain.registry import MODELS
from open_clip.utils import to_2tuple

from ..checkpoint import read_checkpoint
from ..models import TemplatePrompt
from ..models.heads.class_names import resolve_class_names
from ..models.towers.loading import clip_name
from .stored_config import check_imports, check_types, parse_config

_CONFIG_SUFFIXES = (".py", ".json", ".yml", ".yaml")


def build(
    model: str | os.PathLike | Config | None,
    pretrained: str | bool = True,
    classes: Sequence[str] | None = None,
    clip: str | dict | None = None,
    trust_config: bool = False,
) -> BaseModel:
    """Build what the first arguments of ``MultiLabelInferencer`` ask for.

    Args:
        model: See :class:`~capnet_mm.apis.MultiLabelInferencer`.
        pretrained: See there.
        classes: See there.
        clip: See there.
        trust_config: See there.

    Returns:
        See :func:`load_checkpoint_model`; ``_is_zero_shot`` says whether the CLIP is
        asked as it is.

    Raises:
        FileNotFoundError: Checkpoint, config or CLIP is not there.
        ValueError: They don't fit each other, or the checkpoint is refused.
    """
    model = os.fspath(model) if isinstance(model, os.PathLike) else model
    is_checkpoint = isinstance(model, str) and not is_config(model)
    if model is None or is_checkpoint:
        weights = pretrained if isinstance(pretrained, str) else None
        clip = _clip_config(clip, weights)
        if is_checkpoint:
            return load_checkpoint_model(model, clip, trust_config)
        return zero_shot_model(clip, classes)
    cfg = find_config(model)
    if pretrained is True:
        pretrained = cfg.get("load_from") or False
    checkpoint = read_checkpoint(pretrained) if pretrained else None
    built = build_model(cfg, checkpoint, _clip_config(clip))
    built._is_zero_shot = checkpoint is None and _is_by_hand(built.head)
    return built


def load_checkpoint_model(
    path: str, clip: dict | None = None, trust_config: bool = False
) -> BaseModel:
    """Build the model that a checkpoint was written of, from the checkpoint alone.

    The config comes from ``meta['cfg']``, class names, prompt names, counts and groups
    from ``meta['dataset_meta']``; no data set need be there.

    Args:
        path (str): File or web address.
        clip (dict, optional): ``model`` and ``pretrained`` of the CLIP on this
            machine. Defaults to None: as in training.
        trust_config (bool): Let the config import modules and name objects outside
            MMPretrain and this package. Defaults to False.

    Returns:
        BaseModel: In eval mode, on the CPU, with ``_config``, ``_dataset_meta`` and
        ``_calibration`` (what ``tools/calibrate.py`` found, or None).

    Raises:
        FileNotFoundError: The checkpoint or its CLIP is not there.
        ValueError: The file is no checkpoint of MMEngine's, is refused, or belongs to
            another CLIP.
    """
    checkpoint = read_checkpoint(path)
    text = _meta(checkpoint).get("cfg")
    if not isinstance(text, str):
        raise ValueError(
            f"{path} carries no config (meta['cfg']), which MMEngine's runner writes: "
            "give the config file before the checkpoint."
        )
    cfg = parse_config(text)
    return build_model(cfg, checkpoint, clip, is_trusted=trust_config)


def is_config(name: str) -> bool:
    """Whether a name is that of a config: a file, or a name of MMPretrain's hub.

    Args:
        name (str): Path or name.

    Returns:
        bool: False for all else, which is a checkpoint.
    """
    return name.lower().endswith(_CONFIG_SUFFIXES) or ModelHub.has(name.lower())


def find_config(model: str | Config) -> Config:
    """Read a config file, or the config that MMPretrain's model hub has for a name.

    Args:
        model (str | Config): Path, name, or the config itself.

    Returns:
        Config: A config of one's own.

    Raises:
        FileNotFoundError: There is no such config file.
    """
    if isinstance(model, Config):
        return copy.deepcopy(model)
    if ModelHub.has(model.lower()):
        found = ModelHub.get(model)
        return Config(dict(found.config, load_from=found.weights))
    if not os.path.isfile(model):
        raise FileNotFoundError(
            f"There is no config file {model} (looked for in {os.getcwd()})."
        )
    return Config.fromfile(model)


def build_model(
    cfg: Config,
    checkpoint: dict | None = None,
    clip: dict | None = None,
    is_trusted: bool = True,
) -> BaseModel:
    """Build the model of a config and load its weights.

    Args:
        cfg (Config): The run's config; changed in place.
        checkpoint (dict, optional): Content of a checkpoint. Defaults to None.
        clip (dict, optional): ``model`` and ``pretrained`` of another CLIP than the
            config's. Defaults to None.
        is_trusted (bool): Whether the config may name any class and import modules.
            Defaults to True.

    Returns:
        BaseModel: See :func:`load_checkpoint_model`.

    Raises:
        FileNotFoundError: The CLIP is not there.
        ValueError: Config and checkpoint don't fit, or the config is refused.
    """
    meta = _meta(checkpoint or {})
    dataset_meta = meta.get("dataset_meta") or {}
    cfg.model.setdefault("data_preprocessor", cfg.get("data_preprocessor"))
    if clip is not None:
        _name_clip(cfg.model, clip)
    _name_classes(cfg.model, dataset_meta)
    if is_trusted:
        _import_modules(cfg)
    else:
        check_imports(cfg)
        _check_parts(cfg)
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        try:
            model = MODELS.build(cfg.model)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{error} The model needs its CLIP, {_clip_of(cfg.model)}: say where "
                "it is with clip= (--clip), e.g. clip='local-dir:PATH'."
            ) from error
    if checkpoint is not None:
        _load_weights(model, checkpoint)
    model._config, model._dataset_meta, model._metainfo = cfg, dataset_meta, None
    model._calibration = meta.get("calibration")
    return model.eval()


def zero_shot_model(clip: dict | None, classes: Sequence[str] | None) -> BaseModel:
    """Build a CLIP that is asked without training.

    Prompts are hand-written, ``'a photo of a {}.'``, as in
    ``configs/zero_shot_custom.py``; pictures are resized to what the tower takes.

    Args:
        clip (dict, optional): ``model`` and ``pretrained``.
        classes (Sequence[str], optional): Names.

    Returns:
        BaseModel: See :func:`build`.

    Raises:
        FileNotFoundError: The CLIP is not there.
        ValueError: A name or the CLIP's weights are missing.
    """
    if clip is None or classes is None:
        raise ValueError(
            "Without a checkpoint both clip= and classes= are needed: which CLIP is "
            "asked, for what."
        )
    if clip.get("pretrained") is None and ":" not in clip["model"]:
        raise ValueError(
            f"clip={clip['model']!r} is an architecture: name its weights with "
            "pretrained=, a tag of open_clip's (e.g. 'openai') or a file."
        )
    head = dict(
        type="CorrelationPromptHead",
        classes=list(resolve_class_names(classes)[0]),
        prompt=None,
        graph=None,
        gcn=None,
        temperature=0.01,
    )
    backbone = dict(type="CLIPBackbone", channels_last=True)
    model = dict(type="CLIPClassifier", clip=clip, backbone=backbone, head=head)
    built = build_model(Config(dict(model=model)))
    size = to_2tuple(built.backbone.visual.image_size)[0]
    built._config.merge_from_dict(zero_shot_pipelines(size))
    built._is_zero_shot = True
    return built


def zero_shot_pipelines(size: int) -> dict:
    """Pipelines as in ``configs/_base_/datasets/common.py``, for another size.

    Args:
        size (int): Edge of the images that the tower takes, in pixels.

    Returns:
        dict: ``test_pipeline``, ``tta_pipeline`` and ``tta_model``.
    """
    load = dict(type="LoadImage", min_edge=2 * size)
    positions = ("center", "top_left", "top_right", "bottom_left", "bottom_right")
    crops = [dict(type="FixedCrop", crop_size=size, position=p) for p in positions]
    return dict(
        test_pipeline=[
            load,
            dict(type="FastResizeEdge", scale=size),
            dict(type="CenterCrop", crop_size=size),
            dict(type="PackInputs"),
        ],
        tta_pipeline=[
            load,
            dict(type="FastResizeEdge", scale=round(size * 248 / 224)),
            dict(type="TestTimeAug", transforms=[crops, [dict(type="PackInputs")]]),
        ],
        tta_model=dict(type="TestTimeEnsemble", average="logits"),
    )


def pipeline_of(cfg: Config) -> list[dict]:
    """The steps that a config tests with.

    Args:
        cfg (Config): A run's config.

    Returns:
        list[dict]: Those of the test data set, or else ``test_pipeline``.

    Raises:
        ValueError: The config has neither.
    """
    dataset = (cfg.get("test_dataloader") or {}).get("dataset") or {}
    while "dataset" in dataset:  # RepeatDataset and the like
        dataset = dataset["dataset"]
    steps = dataset.get("pipeline") or cfg.get("test_pipeline")
    if not steps:
        raise ValueError(
            "The config says not how pictures are prepared: it has neither "
            "test_dataloader.dataset.pipeline nor test_pipeline."
        )
    return steps


def _clip_config(clip: str | dict | None, pretrained: str | None = None) -> dict | None:
    if clip is None:
        if pretrained is None:
            return None
        raise ValueError(
            f"pretrained={pretrained!r} beside a checkpoint are the weights of a CLIP: "
            "name its architecture with clip=."
        )
    named = dict(model=clip) if isinstance(clip, str) else dict(clip)
    return named if pretrained is None else dict(named, pretrained=pretrained)


def _is_by_hand(head: object) -> bool:
    return isinstance(getattr(head, "prompt", None), TemplatePrompt)


def _meta(checkpoint: dict) -> dict:
    return checkpoint.get("meta") or {}


def _name_clip(model: ConfigDict, clip: dict) -> None:
    """Put another CLIP in the places that name one."""
    places = [model.get("clip"), model.get("head", {}).get("text_encoder")]
    places += [model.get("backbone")]
    places = [place for place in places if place and "model" in place]
    if not places:
        raise ValueError("clip= names a CLIP, but the config's model has none.")
    for place in places:
        # A name alone leaves what the config says of the same architecture's weights.
        if clip.get("pretrained") is None and place["model"] != clip["model"]:
            place.pop("pretrained", None)
        place.update({key: value for key, value in clip.items() if value is not None})


def _name_classes(model: ConfigDict, dataset_meta: dict) -> None:
    """Take the names that the checkpoint states in place of a data set's."""
    head = model.get("head", {})
    is_data_set = isinstance(head.get("classes"), dict) and "type" in head["classes"]
    if is_data_set and dataset_meta.get("classes"):
        keys = ("classes", "prompt_names")
        head["classes"] = {k: dataset_meta[k] for k in keys if k in dataset_meta}


def _clip_of(model: ConfigDict) -> str:
    clip = model.get("clip") or model.get("head", {}).get("text_encoder") or {}
    return clip_name(clip.get("model", "unknown"), clip.get("pretrained"))


def _import_modules(cfg: Config) -> None:
    if cfg.get("custom_imports"):
        import_modules_from_strings(**cfg.custom_imports)


def _check_parts(cfg: Config) -> None:
    check_types(cfg.model)
    for name in ("tta_model", "tta_pipeline"):
        check_types(cfg.get(name) or {})
    check_types(pipeline_of(cfg))


def _load_weights(model: BaseModel, checkpoint: dict) -> None:
    state = checkpoint.get("state_dict", checkpoint)
    found = model.load_state_dict(dict(state), strict=False)
    missing, unknown = found.missing_keys, found.unexpected_keys
    if missing or unknown:
        raise ValueError(
            f"The checkpoint is none of this model: {len(missing)} of the model's "
            f"weights are not in it ({', '.join(missing[:3]) or 'none'}) and "
            f"{len(unknown)} of its weights are not the model's "
            f"({', '.join(unknown[:3]) or 'none'}). Use the config that it was trained "
            "with."
        )
