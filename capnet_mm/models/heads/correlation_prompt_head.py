"""The head: prompts, label graph, GCN and cosine scores."""

import math
from collections.abc import Sequence

import torch
from mmpretrain.models.heads import MultiLabelClsHead
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn
from torch.nn import functional as F

from ..gcn import ResidualGCN, ZeroResidual
from ..identity import StatesIdentity, refuse_other_classes
from ..label_graph import IdentityGraph, LabelGraph
from ..losses.db_focal_loss import DBFocalLoss
from ..scalars import scalars_to_vectors
from ..soft_prompt import SoftPrompt
from ..template_prompt import TemplatePrompt
from ..tensor_cache import TensorCache
from ..text_encoder import CLIPTextEncoder
from ..towers.batching import alone
from .class_names import resolve_class_names
from .partial_labels import PartialLabelMixin


@MODELS.register_module()
class CorrelationPromptHead(PartialLabelMixin, StatesIdentity, MultiLabelClsHead):
    r"""Scores images against class embeddings made from prompts.

    .. math::
        f_c = \mathrm{TextEncoder}([v_{c1}] \dots [v_{cM}]\,\text{name}_c), \quad
        R = \gamma\,\mathrm{GCN}(A, F), \quad
        z_c = \frac{f_c + r_c}{\|f_c + r_c\|}, \quad
        x_c = \cos(v, z_c) / \tau + b

    Source: CAPNET (arXiv 2511.20641). Ours: f is scaled to unit length before
    the residual is added, τ starts at 0.1 and is trained as log 1/τ, the bias b
    is shared by all classes.

    In eval mode, without gradient, the class embeddings are computed once for each set
    of weights; :meth:`freeze_classes` fixes them for export.

    The class names are in the state dict. On loading they are compared where classes
    have prompts of their own: those of a checkpoint for other classes, or for the same
    in another order, would give wrong scores.

    Args:
        classes (dict | Sequence[str]): Where the class names come from: the config of
            a registered data set, whose images need not be there; the names; or the
            ``dataset_meta`` of a checkpoint. See
            :func:`~capnet_mm.models.heads.class_names.resolve_class_names`.
        text_encoder (dict): Config of a ``CLIPTextEncoder`` (the default type).
        prompt (dict, optional): Config of a ``SoftPrompt`` (the default type).
            None: hand-written prompts, ``TemplatePrompt``. Defaults to dict().
        graph (dict, optional): Config of a ``LabelGraph`` (the default type).
            None: ``IdentityGraph``, each class stands alone. Defaults to dict().
        gcn (dict, optional): Config of a ``ResidualGCN`` (the default type).
            None: ``ZeroResidual``. Defaults to dict().
        template (str | Sequence[str]): Prompt of the label graph's features,
            and of the classes where there are no soft prompts; of several the
            normalised features are averaged. Defaults to 'a photo of a {}.'.
        in_channels (int, optional): Width of a backbone that is not CLIP's; its
            features are projected to the joint space by a learnable linear
            layer. Defaults to None: no projection.
        temperature (float): τ at start. Defaults to 0.1.
        learnable_temperature (bool): Train τ. Defaults to True.
        bias (float, optional): b at start, trained. Defaults to None: no bias.
        loss (dict): Loss config. Defaults to dict(type='DBFocalLoss').
        thr (float, optional): Probability from which a label is predicted. Defaults
            to None: 0.5, unless ``topk`` is given.
        topk (int, optional): Number of labels that are predicted for every image.
            Defaults to None: those over ``thr``.
        init_cfg (dict, optional): MMEngine's initialisation config.

    Raises:
        ValueError: For no classes, a repeated class, a template without ``{}``,
            features of another width than the joint space, or a checkpoint for
            other classes.

    Examples:
        >>> head = CorrelationPromptHead(
        ...     classes=['dog', 'cat'], text_encoder=dict(model='ViT-B-32'))
        >>> head((torch.rand(4, 512),)).shape
        torch.Size([4, 2])
    """

    def __init__(
        self,
        classes: dict | Sequence[str],
        text_encoder: dict,
        prompt: dict | None = dict(),  # noqa: B006
        graph: dict | None = dict(),  # noqa: B006
        gcn: dict | None = dict(),  # noqa: B006
        template: str | Sequence[str] = "a photo of a {}.",
        in_channels: int | None = None,
        temperature: float = 0.1,
        learnable_temperature: bool = True,
        bias: float | None = None,
        loss: dict = dict(type=DBFocalLoss),  # noqa: B006
        thr: float | None = None,
        topk: int | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(loss=loss, thr=thr, topk=topk, init_cfg=init_cfg)
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, got {temperature}.")
        self.classes, prompt_names = resolve_class_names(classes)
        self.text_encoder = _build(text_encoder, CLIPTextEncoder)
        dim = self.text_encoder.out_dim
        text = dict(class_names=prompt_names, text_encoder=self.text_encoder)
        by_hand = TemplatePrompt(**text, template=template)

        # Parts that are switched off are objects too.
        if graph is None or gcn is None:
            graph = dict(type=IdentityGraph)
        if gcn is None:
            gcn = dict(type=ZeroResidual)
        self.prompt = by_hand if prompt is None else _build(prompt, SoftPrompt, **text)
        self.gcn = _build(gcn, ResidualGCN, dim=dim)
        self.graph = _build(graph, LabelGraph, features=by_hand.features)

        self.in_channels = in_channels
        self.projection = (
            nn.Identity() if in_channels is None else nn.Linear(in_channels, dim)
        )
        # (1,): FSDP cannot shard a scalar.
        self.logit_scale = nn.Parameter(
            torch.tensor([math.log(1 / temperature)]),
            requires_grad=learnable_temperature,
        )
        if bias is None:
            self.register_buffer("logit_bias", torch.zeros(1), persistent=False)
        else:
            self.logit_bias = nn.Parameter(torch.tensor([float(bias)]))
        self._cache = TensorCache()
        self.register_buffer("frozen_class_embeddings", None, persistent=False)

    @property
    def num_classes(self) -> int:
        """C, the number of classes."""
        return len(self.classes)

    @property
    def temperature(self) -> Tensor:
        """τ, a scalar without gradient."""
        return (-self.logit_scale.detach()).exp().squeeze()

    def forward(self, feats: tuple[Tensor] | Tensor) -> Tensor:
        """Score images.

        Args:
            feats: Stages' features, of which the last, (B, d), is used; or that alone.

        Returns:
            Logits, (B, C), float32.
        """
        return self.cosine_logits(self.pre_logits(feats), self.class_embeddings())

    def class_embeddings(self) -> Tensor:
        """z, (C, d), of unit length; kept in evaluation and when frozen."""
        if self.frozen_class_embeddings is not None:
            return self.frozen_class_embeddings
        if self.training or torch.is_grad_enabled():
            return self.compute_class_embeddings()
        return self._cache.get(self.compute_class_embeddings, self._text_weights())

    def compute_class_embeddings(self) -> Tensor:
        """The text branch, from prompts to z, (C, d)."""
        f = F.normalize(_widen(self.prompt(self.text_encoder)), dim=-1)  # (C, d)
        r = self.gcn(f, self.graph())  # (C, d)
        return F.normalize(f + r, dim=-1)

    def cosine_logits(self, image_features: Tensor, class_embeddings: Tensor) -> Tensor:
        """cos(v, z) / τ + b, (B, C), of features (B, d) and embeddings (C, d)."""
        # In float32 whatever autocast says: AP depends on the order of the
        # scores, and half precision makes ties.
        with torch.autocast(image_features.device.type, enabled=False):
            image_features = F.normalize(_widen(image_features), dim=-1)
            scale = self.logit_scale.to(image_features.dtype).exp()
            logits = scale * image_features @ class_embeddings.to(image_features).T
            return logits + self.logit_bias

    def pre_logits(self, feats: tuple[Tensor] | Tensor) -> Tensor:
        """Take the last stage's features to the joint space, (B, d)."""
        features = feats
        # A tuple of stages; in MMPretrain's older ViTs a stage may be one too; and a
        # backbone that is no MMPretrain's may return its one tensor as it is.
        while isinstance(features, list | tuple):
            features = features[-1]
        expected = self.in_channels or self.text_encoder.out_dim
        if features.ndim != 2 or features.shape[1] != expected:
            raise ValueError(self._wrong_features(tuple(features.shape), expected))
        return self.projection(features)

    def _wrong_features(self, shape: tuple[int, ...], expected: int) -> str:
        message = (
            f"The backbone's features have shape {shape}; CorrelationPromptHead "
            f"expected (B, {expected}), "
        )
        if len(shape) != 2:
            return message + (
                "one vector an image: put a pooling neck before the head, neck=dict("
                "type='GlobalAveragePooling'), or have the backbone give its pooled "
                "feature (out_type='cls_token' of a ViT), or a map that the neck can "
                "pool (features_only=True of TIMMBackbone for a ViT)."
            )
        if self.in_channels is not None:
            return message + f"as in_channels says: set in_channels={shape[1]}."
        return message + (
            f"the joint space of its CLIP: set in_channels={shape[1]} for a learnable "
            "projection, or use the backbone of the same CLIP."
        )

    @torch.inference_mode(False)  # its tensors could not be used with gradient later
    @torch.no_grad()
    def freeze_classes(self) -> None:
        """Fix the class embeddings as a buffer, for export.

        From then on forward computes nothing of the text branch, so that
        ``torch.export`` and ``torch.onnx`` see a matrix. Training mode and loading
        weights into the head end it, since the buffer would no longer be what the
        weights give; a weight changed otherwise, or loaded into a part of the head
        only, is not noticed.

        Examples:
            >>> model.eval().head.freeze_classes()
            >>> batch = torch.export.Dim('batch')
            >>> torch.export.export(model, (images,), dynamic_shapes=({0: batch},))
        """
        self.frozen_class_embeddings = None
        self.eval()
        with alone():  # an export is one process's work
            self.frozen_class_embeddings = self.compute_class_embeddings().clone()

    def train(self, mode: bool = True) -> "CorrelationPromptHead":
        """Set the mode; training ends :meth:`freeze_classes`."""
        if mode:
            self.frozen_class_embeddings = None
        return super().train(mode)

    def identity(self) -> dict:
        """See :class:`StatesIdentity`."""
        return dict(classes=self.classes)

    def check_identity(self, saved: dict, missing: set[str]) -> None:
        """See :class:`StatesIdentity`."""
        # Prompts that all classes share fit any classes.
        if getattr(self.prompt, "class_specific", False):
            refuse_other_classes(self.classes, saved["classes"], "the model's head")

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        self.frozen_class_embeddings = None
        scalars_to_vectors(state_dict, prefix, ("logit_scale", "logit_bias"))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _text_weights(self) -> list[Tensor]:
        """All that the class embeddings are computed from."""
        parts = (self.text_encoder, self.prompt, self.graph, self.gcn)
        return [t for part in parts for t in (*part.parameters(), *part.buffers())]

    def _get_predictions(
        self, cls_score: Tensor, data_samples: list[DataSample] | None
    ) -> list[DataSample]:
        """Also keep the logits: a saturated sigmoid makes ties; and the class names.

        All of it is on the CPU, so that a GPU is waited for once a batch.
        """
        cls_score = cls_score.cpu()
        data_samples = super()._get_predictions(cls_score, data_samples)
        for data_sample, logits in zip(data_samples, cls_score, strict=True):
            data_sample.set_field(logits, "pred_logits", dtype=Tensor)
            data_sample.set_metainfo(dict(pred_classes=self.classes))
        return data_samples


def _widen(features: Tensor) -> Tensor:
    """To float32, unless they are float64."""
    return features if features.dtype == torch.float64 else features.float()


def _build(config: dict, default_type: type, **default_args) -> nn.Module:
    # A class is found in every scope; a name only in that of the run.
    return MODELS.build({"type": default_type, **default_args, **config})
