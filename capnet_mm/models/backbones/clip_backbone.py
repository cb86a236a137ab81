"""The image tower of a CLIP, frozen, with adapters."""

import torch
from mmpretrain.models.backbones.base_backbone import BaseBackbone
from mmpretrain.registry import MODELS
from open_clip.utils import to_2tuple
from torch import Tensor, nn

from ..identity import LoadsFrozenWeights, checksum
from ..image_features import ImageFeatures, as_image_features
from ..peft import AdaptFormer, BiasTuning, ScaleShift
from ..peft.base import tower_name, transformer_blocks
from ..towers.class_token import spare_training_work
from ..towers.feature_map import give_features
from ..towers.loading import clip_name, load_clip

# What is done to the tower, so that it computes what it is to give and no more.
_OUT_TYPES = dict(pooled=spare_training_work, features=give_features)


@MODELS.register_module()
class CLIPBackbone(LoadsFrozenWeights, BaseBackbone):
    """Image tower of any open_clip model, frozen except for its adapters.

    At start the features equal those of the bare open_clip model: exactly without
    gradient, up to rounding with it, where a ViT computes no more than its class token
    needs.

    Args:
        model (str): See :func:`capnet_mm.models.towers.loading.load_clip`.
        pretrained (str, optional): Tag or file of its weights, see ``load_clip``.
        adapter (dict | list[dict] | str, optional): One or several registered
            adapters, or ``'auto'``: AdaptFormer for a ViT, scale-and-shift and
            bias tuning for a CNN (LIFT's choice). Defaults to None: all frozen.
        num_classes (int, optional): C, for adapters whose size depends on it.
            Defaults to None; :class:`CLIPClassifier` gives its head's.
        out_type (str): ``'pooled'``: features in the joint space, (B, d);
            ``'features'``: :class:`ImageFeatures`, a feature at every place as well,
            all of them equal to open_clip's up to rounding. Defaults to ``'pooled'``;
            :class:`CLIPClassifier` sets what its head needs.
        channels_last (bool): Give the tower its input in channels-last memory
            format, which is faster for a CNN (1.7 to 2.5 times for a MobileNetV2 on
            two CPU cores); the features then equal open_clip's up to rounding. The
            weights stay contiguous, as FSDP needs them. Defaults to False.
        compile (bool | dict): Compile the tower with its adapters at first use:
            faster from then on where there is a compiler, equal up to rounding. A
            dict holds arguments of :func:`torch.compile`. Defaults to False.
        quick_gelu (bool, optional): See ``load_clip``.
        cache_dir (str, optional): Where open_clip keeps downloads.
        init_cfg (dict, optional): MMEngine's initialisation config.

    Raises:
        ValueError: ``adapter`` or ``out_type`` is another string; the tower cannot
            give features at every place; or, when called, the images have another
            size than a ViT or an attention-pooled ResNet is made for.

    Examples:
        >>> backbone = CLIPBackbone('ViT-B-32', adapter=dict(
        ...     type='AdaptFormer', bottleneck_dim=4))
        >>> backbone(torch.rand(2, 3, 224, 224))[0].shape
        torch.Size([2, 512])
    """

    def __init__(
        self,
        model: str,
        pretrained: str | None = None,
        adapter: dict | list[dict] | str | None = None,
        num_classes: int | None = None,
        out_type: str = "pooled",
        channels_last: bool = False,
        compile: bool | dict = False,
        quick_gelu: bool | None = None,
        cache_dir: str | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if out_type not in _OUT_TYPES:
            raise ValueError(
                f"out_type must be 'pooled' or 'features', got {out_type!r}."
            )
        self.out_type = out_type
        clip = load_clip(model, pretrained, quick_gelu, cache_dir)
        self.visual = clip.visual.requires_grad_(False)
        # What the tower was trained on, RGB in 0…1.
        self.image_mean = tuple(self.visual.image_mean)
        self.image_std = tuple(self.visual.image_std)
        if adapter == "auto":
            adapter = self._auto_adapter()
        elif isinstance(adapter, str):
            raise ValueError(
                f"adapter must be 'auto', a config dict or a list, got {adapter!r}."
            )
        self._fixed_size = _fixed_image_size(self.visual)
        configs = [adapter] if isinstance(adapter, dict) else adapter or []
        self._adapters = [MODELS.build(config) for config in configs]
        self._inserted, self._behind = [], []
        for each in self._adapters:
            modules = each.attach(self.visual, num_classes)
            self._inserted += modules
            self._behind += modules if each.behind_projection else []
        self.remember_frozen_weights(
            f"the image tower of {clip_name(model, pretrained)}"
        )
        self._layers = self._describe_layers()
        _OUT_TYPES[out_type](self.visual)
        self.memory_format = (
            torch.channels_last if channels_last else torch.contiguous_format
        )
        if compile is not False:
            # In place: the tower's class and the names of its weights stay.
            self.visual.compile(**({} if compile is True else compile))
        self.train(self.training)

    def _auto_adapter(self) -> list[dict]:
        if transformer_blocks(self.visual) is not None:
            return [dict(type=AdaptFormer)]
        return [dict(type=ScaleShift), dict(type=BiasTuning)]

    def train(self, mode: bool = True) -> "CLIPBackbone":
        """Set the adapters' mode; the frozen tower stays in eval mode."""
        super().train(mode)
        self.visual.eval()
        for module in self._inserted:
            module.train(mode)
        return self

    def merge_adapters(self) -> None:
        """Work the adapters into the tower's own weights, as far as they can be.

        LoRA and ScaleShift can, BiasTuning has nothing to merge, AdaptFormer stays. The
        features are the same up to rounding. Meant for export: the names of weights
        are open_clip's again, so that a training checkpoint no longer fits.
        """
        for adapter in self._adapters:
            adapter.merge(self.visual)
        self._adapters = []

    def forward(self, x: Tensor | ImageFeatures) -> tuple[Tensor | ImageFeatures]:
        """Encode images.

        Args:
            x: Normalised RGB images, (B, 3, H, W); or what :meth:`frozen_features` gave
                for them.

        Returns:
            One stage: features in the joint space, (B, d), not normalised; or
            :class:`ImageFeatures` with ``out_type='features'``.

        Raises:
            ValueError: The tower is made for another image size.
        """
        features = x if isinstance(x, ImageFeatures) else self._encode(x)
        if self.out_type == "pooled":
            features = features._replace(map=None)
        for layer in self._behind:
            features = features.project(layer)
        return (features.pooled if self.out_type == "pooled" else features,)

    def _encode(self, images: Tensor) -> ImageFeatures:
        """Run the tower, up to what stands behind its projection."""
        self._check_size(images)
        features = self.visual(images.contiguous(memory_format=self.memory_format))
        if self.out_type == "features":
            return features
        if isinstance(features, tuple):
            features = features[0]  # towers of CoCa models return their tokens as well
        return as_image_features(features, has_map=False)

    @torch.no_grad()
    def frozen_features(self, images: Tensor) -> ImageFeatures:
        """Encode images up to the first trained part, for a cache.

        Args:
            images: Normalised RGB images, (B, 3, H, W).

        Returns:
            What :meth:`forward` takes in place of the images. With
            ``out_type='pooled'`` there are pooled features in the joint space alone.

        Raises:
            ValueError: Something inside the tower is trained.
        """
        behind = {id(p) for layer in self._behind for p in layer.parameters()}
        trained = [
            name
            for name, parameter in self.named_parameters()
            if parameter.requires_grad and id(parameter) not in behind
        ]
        if trained:
            raise ValueError(
                f"{len(trained)} weights inside the image tower are trained "
                f"({trained[0]}, …), so that its features cannot be computed once for "
                "all: set the backbone's adapter=dict(type='ScaleShift', "
                "space='joint') or adapter=None, or train without a feature cache."
            )
        return self._encode(images)

    def frozen_identity(self) -> dict:
        """What :meth:`frozen_features` depend on beside the images, for JSON.

        The same for both kinds of ``out_type``.
        """
        behind = {id(p) for layer in self._behind for p in layer.parameters()}
        weights = {
            name: checksum(weight)
            for name, weight in self.visual.state_dict(keep_vars=True).items()
            if id(weight) not in behind
        }
        return dict(layers=self._layers, weights=weights)

    def _describe_layers(self) -> list[tuple[str, str, str]]:
        behind = {id(part) for layer in self._behind for part in layer.modules()}
        return [
            (name, type(part).__name__, part.extra_repr())
            for name, part in self.visual.named_modules()
            if id(part) not in behind
        ]

    def _check_size(self, images: Tensor) -> None:
        size, expected = tuple(images.shape[-2:]), self._fixed_size
        if expected is None or size == expected:
            return
        raise ValueError(
            f"The image tower {tower_name(self.visual)} takes images of "
            f"{expected[0]} x {expected[1]} pixels (height x width), got {size[0]} x "
            f"{size[1]}: add a crop of that size (CenterCrop or FixedCrop with "
            f"crop_size={expected}) to the pipeline ahead of PackInputs, or use a CLIP "
            "whose tower is a CNN of timm's."
        )


def _fixed_image_size(visual: nn.Module) -> tuple[int, int] | None:
    """Height and width that position embeddings bind a tower to; None if none do."""
    trunk = getattr(visual, "trunk", None)
    if trunk is None:  # open_clip's own ViT and ResNet
        return to_2tuple(visual.image_size)
    # timm's towers for images of any size have no such embedding, or adapt it.
    patches = getattr(trunk, "patch_embed", None)
    if getattr(patches, "strict_img_size", False):
        return to_2tuple(patches.img_size)
    return None
