"""The head: prompts, label graph, GCN and cosine scores."""

import math
from collections.abc import Sequence

import torch
from mmengine.logging import print_log
from mmpretrain.models.heads import MultiLabelClsHead
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn
from torch.nn import functional as F

from ..class_pooling import ClassPooling, GlobalPooling
from ..count_aware_prior import CountAwarePrior
from ..gcn import ResidualGCN, ZeroResidual
from ..identity import StatesIdentity, refuse_other_classes
from ..image_features import ImageFeatures, as_image_features, last_stage
from ..label_graph import IdentityGraph, LabelGraph
from ..losses.db_focal_loss import DBFocalLoss
from ..scalars import scalars_to_vectors
from ..score_fusion import ScoreFusion, TextAlone
from ..soft_prompt import SoftPrompt
from ..template_prompt import TemplatePrompt
from ..tensor_cache import TensorCache
from ..text_encoder import CLIPTextEncoder
from ..towers.batching import alone
from ..visual_branch import VisualBranch
from .class_names import resolve_class_names
from .new_words import WordList, embed_words, score_words
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
    is shared by all classes, and ``pooling`` can have each class look at the places
    that speak for it, in place of cos(v, z_c).

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
        gcn (dict, optional): Config of a ``ResidualGCN`` (the default type) or of
            another residual, as ``TaskResidual``. None: ``ZeroResidual``. Defaults to
            dict().
        pooling (dict, optional): Config of a ``ClassPooling`` (the default type). Its
            backbone gives a map: ``CLIPBackbone(out_type='features')``, which
            ``CLIPClassifier`` sets, or one with ``in_channels`` and no neck.
            Defaults to None: ``GlobalPooling``, the backbone's pooled feature.
        visual (dict, optional): Config of a ``VisualBranch`` (the default type), which
            scores the classes in the image tower's own space, with a loss of its own.
            Defaults to None: none.
        prior (dict, optional): Config of a ``CountAwarePrior`` (the default type), the
            frozen zero-shot score. Defaults to None: none.
        fusion (dict): Config of the ``ScoreFusion`` (the default type) that weighs
            text, visual branch and prior, where there is more than text; fitted by
            :class:`~capnet_mm.engine.CrossFitHook`. Defaults to dict().
        unknown_target (float, optional): What an unknown label counts as in the loss,
            0 to 1; 0.5 where people disagreed on it. The loss must take such targets.
            Defaults to None: unknown labels have no gradient.
        template (str | Sequence[str]): Prompt of the label graph's features,
            and of the classes where there are no soft prompts; of several the
            normalised features are averaged. Defaults to 'a photo of a {}.'.
        in_channels (int, optional): Width of a backbone that is not CLIP's; its
            features are projected to the joint space by a learnable linear
            layer. Defaults to None: no projection.
        temperature (float): τ at start. Defaults to 0.1.
        learnable_temperature (bool): Train τ. Defaults to True.
        bias (float, optional): b at start, trained. Defaults to None: no bias.
        class_bias (bool): Train a bias for each class. Defaults to False.
        loss (dict): Loss config. Defaults to dict(type='DBFocalLoss').
        thr (float, optional): Probability from which a label is predicted. Defaults
            to None: 0.5, unless ``topk`` is given.
        topk (int, optional): Number of labels that are predicted for every image.
            Defaults to None: those over ``thr``.
        init_cfg (dict, optional): MMEngine's initialisation config.

    Raises:
        ValueError: For no classes, a repeated class, a template without ``{}``,
            features of another width than the joint space, features without a map
            where ``pooling`` needs one, or a checkpoint for other classes.

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
        pooling: dict | None = None,
        visual: dict | None = None,
        prior: dict | None = None,
        fusion: dict = dict(),  # noqa: B006
        unknown_target: float | None = None,
        template: str | Sequence[str] = "a photo of a {}.",
        in_channels: int | None = None,
        temperature: float = 0.1,
        learnable_temperature: bool = True,
        bias: float | None = None,
        class_bias: bool = False,
        loss: dict = dict(type=DBFocalLoss),  # noqa: B006
        thr: float | None = None,
        topk: int | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(loss=loss, thr=thr, topk=topk, init_cfg=init_cfg)
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, got {temperature}.")
        if unknown_target is not None and not 0 <= unknown_target <= 1:
            raise ValueError(
                f"unknown_target must be within 0 and 1, or None, got {unknown_target}."
            )
        self.unknown_target = unknown_target
        self._words: WordList | None = None
        self.trained_classes, self.prompt_names = resolve_class_names(classes)
        self.text_encoder = _build(text_encoder, CLIPTextEncoder)
        dim = self.text_encoder.out_dim
        text = dict(class_names=self.prompt_names, text_encoder=self.text_encoder)
        self.template = template
        by_hand = TemplatePrompt(**text, template=template)
        self._build_text_branch(prompt, graph, gcn, text, by_hand)
        self.pooling = (
            GlobalPooling() if pooling is None else _build(pooling, ClassPooling)
        )

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
            size = self.num_classes if class_bias else 1
            self.logit_bias = nn.Parameter(torch.full((size,), float(bias)))
        self._add_evidence(visual, prior, fusion, by_hand.features)
        self._cache = TensorCache()
        self.register_buffer("frozen_class_embeddings", None, persistent=False)

    def _build_text_branch(
        self,
        prompt: dict | None,
        graph: dict | None,
        gcn: dict | None,
        text: dict,
        by_hand: TemplatePrompt,
    ) -> None:
        """Build prompts, graph and GCN; those that are switched off are objects too."""
        if graph is None or gcn is None:
            graph = dict(type=IdentityGraph)
        if gcn is None:
            gcn = dict(type=ZeroResidual)
        self.prompt = by_hand if prompt is None else _build(prompt, SoftPrompt, **text)
        told = dict(dim=self.text_encoder.out_dim, num_classes=self.num_classes)
        self.gcn = _build(gcn, ResidualGCN, **told)
        self.graph = _build(graph, LabelGraph, features=by_hand.features)

    def _add_evidence(
        self, visual: dict | None, prior: dict | None, fusion: dict, features: Tensor
    ) -> None:
        """Build what is there beside the text branch, and what weighs it."""
        parts = []
        if visual is not None:
            width = self.in_channels or self.text_encoder.image_width
            told = dict(num_classes=self.num_classes, in_channels=width)
            parts.append(_build(visual, VisualBranch, **told))
        if prior is not None:
            parts.append(_build(prior, CountAwarePrior, features=features))
        self.other_evidence = nn.ModuleDict({part.name: part for part in parts})
        trained = [True, *(part.trained for part in parts)]
        told = dict(trained=trained, num_classes=self.num_classes)
        self.fusion = _build(fusion, ScoreFusion, **told) if parts else TextAlone()

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that are scored: of training, or :meth:`set_classes`."""
        return self.trained_classes if self._words is None else self._words.names

    @property
    def num_classes(self) -> int:
        """C, the number of classes that are scored."""
        return len(self.classes)

    @property
    def temperature(self) -> Tensor:
        """τ, a scalar without gradient."""
        return (-self.logit_scale.detach()).exp().squeeze()

    @property
    def needs_map(self) -> bool:
        """Whether something in the head reads features at every place."""
        parts = self.pooling, *self.other_evidence.values()
        return any(part.needs_map for part in parts)

    @property
    def needs_features(self) -> bool:
        """Whether the backbone is to give :class:`ImageFeatures`, map included."""
        return self.needs_map or len(self.other_evidence) > 0

    def forward(self, feats: tuple | Tensor) -> Tensor:
        """Score images.

        Args:
            feats: Stages' features, of which the last is used: (B, d), or a map or
                :class:`ImageFeatures` for a head that pools; or that alone.

        Returns:
            Logits, (B, C), float32.
        """
        if self._words is not None:
            return score_words(self, self.image_features(feats), self._words)
        return self.fusion(self.evidence(feats))

    def evidence(self, feats: tuple | Tensor) -> Tensor:
        """Kinds of evidence for the classes, text first.

        Args:
            feats: See :meth:`forward`.

        Returns:
            Logits of each kind, (K, B, C), float32.
        """
        features = self.image_features(feats)
        text = self.cosine_logits(features, self.class_embeddings())
        others = [part(features) for part in self.other_evidence.values()]
        return torch.stack([text, *others])

    def loss(
        self, feats: tuple | Tensor, data_samples: list[DataSample], **kwargs
    ) -> dict[str, Tensor]:
        """Losses of the kinds of evidence that are trained, each on its own.

        One loss on their sum would leave to each what the other has not explained, and
        neither could stand alone for the classes that it knows better.

        Args:
            feats: See :meth:`forward`.
            data_samples: With ``gt_label`` or ``gt_score``.
            **kwargs: For the loss module.

        Returns:
            ``loss`` of the text branch, ``loss_visual`` of the visual branch.
        """
        features = self.image_features(feats)
        text = self.cosine_logits(features, self.class_embeddings())
        losses = self._get_loss(text, data_samples, **kwargs)
        for part in self.other_evidence.values():
            if part.trained:
                found = self._get_loss(part(features), data_samples, **kwargs)
                losses[f"loss_{part.name}"] = found["loss"]
        return losses

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

    def cosine_logits(
        self,
        features: ImageFeatures,
        class_embeddings: Tensor,
        bias: Tensor | None = None,
    ) -> Tensor:
        """cos(v, z) / τ + b, (B, C), of features and embeddings (C, d).

        b is the head's own, or another, (1,) or (C,).
        """
        # In float32 whatever autocast says: AP depends on the order of the
        # scores, and half precision makes ties.
        with torch.autocast(features.pooled.device.type, enabled=False):
            features = features.project(_widen)
            scale = self.logit_scale.to(features.pooled.dtype).exp()
            class_embeddings = class_embeddings.to(features.pooled)
            bias = self.logit_bias if bias is None else bias
            return self.pooling(features, class_embeddings, scale) + bias

    def cosines(self, feats: tuple | Tensor) -> Tensor:
        """What the logits are made from: those of τ = 1 and b = 0.

        Args:
            feats: See :meth:`forward`.

        Returns:
            Pooled cosines of images and classes, (B, C), float32.
        """
        features, z = self.image_features(feats), self.class_embeddings()
        with torch.autocast(z.device.type, enabled=False):
            features = features.project(_widen)
            z = z.to(features.pooled)
            return self.pooling(features, z, torch.ones_like(z[0, :1]))

    def logits_of(self, cosines: Tensor) -> Tensor:
        """Turn cosines, (N, C) on any device, into logits without gradient."""
        scale, bias = self.logit_scale.detach().exp(), self.logit_bias.detach()
        return scale.to(cosines) * cosines + bias.to(cosines)

    @property
    def num_trained_biases(self) -> int:
        """How many values b has: 0 without one."""
        is_trained = isinstance(self.logit_bias, nn.Parameter)
        return self.logit_bias.numel() if is_trained else 0

    @torch.no_grad()
    def set_scale_and_bias(self, scale: float, bias: Tensor) -> None:
        """Set 1 / τ and b.

        Args:
            scale: 1 / τ.
            bias: b, (``num_trained_biases``,).
        """
        self.logit_scale.fill_(math.log(scale))
        if self.num_trained_biases:
            self.logit_bias.copy_(bias)

    def class_activation_maps(self, feats: tuple | Tensor) -> tuple[Tensor, Tensor]:
        """Show where in the images each class is seen.

        Args:
            feats: See :meth:`forward`.

        Returns:
            Cosines of the places with z, and how much each place counts for a class,
            1 in total; (B, C, H, W) each, float32.

        Raises:
            ValueError: The head has no local pooling.
        """
        features, z = self.image_features(feats), self.class_embeddings()
        with torch.autocast(z.device.type, enabled=False):
            features = features.project(_widen)
            return self.pooling.activation_maps(features, z.to(features.pooled))

    def image_features(self, feats: tuple | Tensor) -> ImageFeatures:
        """Take what the backbone gives to the joint space."""
        features = as_image_features(last_stage(feats), has_map=self.needs_features)
        shape = tuple(features.pooled.shape)
        expected = self.in_channels or self.text_encoder.out_dim
        if len(shape) != 2 or shape[1] != expected:
            raise ValueError(self._wrong_features(shape, expected))
        return features.project(self.projection)

    def pre_logits(self, feats: tuple | Tensor) -> Tensor:
        """Take the pooled feature to the joint space, (B, d)."""
        return self.image_features(feats).pooled

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
        self.eval()
        if self._words is None:
            with alone():  # an export is one process's work
                self.frozen_class_embeddings = self.compute_class_embeddings().clone()

    @torch.inference_mode(False)
    @torch.no_grad()
    def set_classes(
        self,
        classes: dict | Sequence[str],
        context: str = "mean",
        graph: bool = True,
    ) -> None:
        """Score other classes, among them ones that were never trained.

        Classes of training, found by their name or their words in prompts, keep their
        trained embeddings. New ones get prompts of a shared context, join the label
        graph by their text features and pass the trained GCN; τ and b are the same.
        The embeddings are fixed as by :meth:`freeze_classes`: training mode and
        loading weights into the head end this, and it scores the classes of training
        again. What a state dict holds stays that of training.

        Args:
            classes: Names, or a dict with ``classes`` and maybe ``prompt_names``. The
                classes of training in their order restore what it was.
            context: What stands before the new names: ``'mean'``, the mean of the
                trained contexts, or ``'words'``, the template. Defaults to 'mean'.
            graph: Whether new classes join the label graph; else they have no
                residual. Defaults to True (measured in docs/results.md).

        Raises:
            ValueError: For no names, a repeated one, another context, or a graph or
                prompt of one's own that cannot be extended.

        Examples:
            >>> model.eval().head.set_classes(['dog', 'red umbrella'])
        """
        names, prompt_names = resolve_class_names(classes)
        self.eval()
        self._words = self.frozen_class_embeddings = None
        if names != self.trained_classes:
            words = embed_words(self, names, prompt_names, context, graph)
            self._words, self.frozen_class_embeddings = words, words.embeddings

    def _end_words(self) -> None:
        """Score the classes of training, with embeddings that are not fixed."""
        if self._words is not None:
            print_log(
                f"The head scores its {len(self.trained_classes)} classes of training "
                f"again, not the {self.num_classes} of set_classes.",
                logger="current",
            )
        self._words = self.frozen_class_embeddings = None

    def train(self, mode: bool = True) -> "CorrelationPromptHead":
        """Set the mode; training ends :meth:`freeze_classes`, :meth:`set_classes`."""
        if mode:
            self._end_words()
        return super().train(mode)

    def identity(self) -> dict:
        """See :class:`StatesIdentity`."""
        return dict(classes=self.trained_classes)

    def check_identity(self, saved: dict, missing: set[str]) -> None:
        """See :class:`StatesIdentity`."""
        # Prompts that all classes share fit any classes.
        parts = self.prompt, self.gcn, *self.other_evidence.values()
        if any(getattr(part, "class_specific", False) for part in parts):
            refuse_other_classes(
                self.trained_classes, saved["classes"], "the model's head"
            )

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        self._end_words()
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
