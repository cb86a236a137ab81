"""A classifier both of whose branches come from one CLIP."""

from mmpretrain.models.classifiers import ImageClassifier
from mmpretrain.models.utils import ClsDataPreprocessor
from mmpretrain.registry import MODELS

from ..backbones.clip_backbone import CLIPBackbone
from ..heads.correlation_prompt_head import CorrelationPromptHead


@MODELS.register_module()
class CLIPClassifier(ImageClassifier):
    """:class:`ImageClassifier` that names its CLIP once.

    The CLIP goes to the backbone and to the head's text encoder, its mean and
    std to the data preprocessor, and the head's number of classes and whether it
    reads features at every place to the backbone. What a part's own config says comes
    first.

    Args:
        clip (dict): ``model``, ``pretrained`` and so on, see
            :func:`capnet_mm.models.towers.loading.load_clip`.
        backbone (dict): A ``CLIPBackbone`` (the default type), or any backbone of
            MMPretrain's, which is built as it says itself.
        head (dict): A ``CorrelationPromptHead`` (the default type), or any head
            of MMPretrain's, e.g. ``MultiLabelLinearClsHead``.
        data_preprocessor (dict, optional): Defaults to ``ClsDataPreprocessor``
            with the CLIP's mean and std on BGR images in 0…255.
        **kwargs: Other arguments of :class:`ImageClassifier`.

    Examples:
        >>> model = MODELS.build(dict(
        ...     type='CLIPClassifier',
        ...     clip=dict(model='ViT-B-16', pretrained='openai'),
        ...     backbone=dict(adapter=dict(type='AdaptFormer')),
        ...     head=dict(classes=dict(type='VOCLT'))))
    """

    def __init__(
        self,
        clip: dict,
        backbone: dict,
        head: dict,
        data_preprocessor: dict | None = None,
        **kwargs,
    ) -> None:
        head = {"type": CorrelationPromptHead, **head}
        if _is_a(CorrelationPromptHead, head["type"]):
            head["text_encoder"] = {**clip, **head.get("text_encoder", {})}
        head = MODELS.build(head)

        backbone = {"type": CLIPBackbone, **backbone}
        if _is_a(CLIPBackbone, backbone["type"]):
            needs_features = getattr(head, "needs_features", False)
            told = dict(
                num_classes=getattr(head, "num_classes", None),
                out_type="features" if needs_features else "pooled",
            )
            backbone = {**told, **clip, **backbone}
        backbone = MODELS.build(backbone)

        data_preprocessor = {"type": ClsDataPreprocessor, **(data_preprocessor or {})}
        if isinstance(backbone, CLIPBackbone):
            data_preprocessor.setdefault("mean", [255 * m for m in backbone.image_mean])
            data_preprocessor.setdefault("std", [255 * s for s in backbone.image_std])
            data_preprocessor.setdefault("to_rgb", True)
        super().__init__(
            backbone=backbone, head=head, data_preprocessor=data_preprocessor, **kwargs
        )
        self._told_meta: dict = {}

    @property
    def _dataset_meta(self) -> dict:
        """What MMPretrain's inferencers name predictions by: the head's own names.

        ``get_model`` sets it to what a checkpoint or the test set states, which may
        have other classes, or the same in another order, and then is left out.
        """
        classes = getattr(self.head, "classes", None)
        told = tuple(self._told_meta.get("classes") or ())
        is_its_own = classes is None or told == tuple(classes)
        return self._told_meta if is_its_own else dict(classes=classes)

    @_dataset_meta.setter
    def _dataset_meta(self, meta: dict) -> None:
        self._told_meta = meta

    @property
    def _metainfo(self) -> None:
        """What ``mmpretrain.apis.inference_model`` chooses its inferencer by.

        None of its eight is for several labels, and it would say no more than that.
        """
        raise NotImplementedError(
            "MMPretrain's inference_model has nothing for several labels: use "
            "capnet_mm.apis.inference_model, with the same arguments."
        )

    @_metainfo.setter
    def _metainfo(self, metainfo: object) -> None:
        """``get_model`` tells it; nothing here has use for it."""


def _is_a(base: type, type_: str | type) -> bool:
    """Whether what a config names is the class or a subclass of it."""
    cls = MODELS.get(type_) if isinstance(type_, str) else type_
    return isinstance(cls, type) and issubclass(cls, base)
