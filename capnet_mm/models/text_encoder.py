"""The frozen text encoder of a CLIP, fed with token embeddings."""

from collections.abc import Callable, Sequence
from functools import partial

import open_clip
import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from open_clip.transformer import TextTransformer
from torch import Tensor, nn

from .identity import LoadsFrozenWeights
from .towers.batching import LengthBatching, alone
from .towers.causal_block import KeysAndValues, make_causal
from .towers.feature_map import tower_width
from .towers.loading import clip_name, load_clip


@MODELS.register_module()
class CLIPTextEncoder(LoadsFrozenWeights, BaseModule):
    """The text tower of an open_clip model, frozen.

    CLIP's text transformer is causal: no token sees what follows it. The output
    at [EOS] therefore does not depend on the padding behind it, and sequences
    may be cut to the longest prompt instead of the tower's context length; they
    are sorted into buckets by length where that saves more than it costs. In the
    last block only the [EOS] token is computed, and tokens that all sequences start
    with are encoded once. Towers of other blocks than
    open_clip's standard ones are run by open_clip's own code. The result is
    open_clip's up to rounding, and so is the gradient.

    Attributes:
        width (int): Dimension of the token embeddings.
        out_dim (int): Dimension d of the joint space.
        image_width (int | None): Width of what the same CLIP's image tower pools,
            ahead of its projection; None where that is not known.

    Args:
        model (str): See :func:`capnet_mm.models.towers.loading.load_clip`.
        pretrained (str, optional): Tag or file of its weights, see ``load_clip``.
        quick_gelu (bool, optional): Whether the activation is QuickGELU, see
            ``load_clip``.
        cache_dir (str, optional): Where open_clip keeps downloads.
        chunk_size (int, optional): More sequences than this are encoded in parts
            of at most so many, and each part again in the backward pass: half as
            much time more, memory as for one part however many classes there
            are. None: all at once. Defaults to 512 (2.6 GB for the text tower of
            ViT-B/16 in float32, 20 tokens a prompt).
        share (bool): Whether the processes of a distributed run share the sequences
            out, so that each encodes its part of the classes, and gather the features
            with gradients. All processes must then call the encoder together, and
            average their gradients, as DistributedDataParallel and FSDP do. False:
            each process encodes all classes. Defaults to True.

    Raises:
        ValueError: For a chunk_size below 1, or if the text tower is not a causal
            transformer read at [EOS] (SigLIP, CoCa and towers from transformers
            are not).

    Examples:
        >>> encoder = CLIPTextEncoder(model='ViT-B-32')
        >>> encoder.encode_text(['a photo of a dog.', 'a photo of a cat.']).shape
        torch.Size([2, 512])
    """

    def __init__(
        self,
        model: str,
        pretrained: str | None = None,
        quick_gelu: bool | None = None,
        cache_dir: str | None = None,
        chunk_size: int | None = 512,
        share: bool = True,
    ) -> None:
        super().__init__()
        self.batching = LengthBatching(chunk_size, share)
        clip = load_clip(model, pretrained, quick_gelu, cache_dir)
        tower = _causal_tower(clip, model)
        self.tokenizer = open_clip.get_tokenizer(model)
        self.context_length = tower.context_length
        self.token_embedding = tower.token_embedding
        self.positional_embedding = tower.positional_embedding
        self.transformer = tower.transformer
        self.ln_final = tower.ln_final
        self.text_projection = tower.text_projection
        # Numbers of their own: FSDP takes the weights apart between calls.
        self.width = self.token_embedding.embedding_dim
        self.out_dim = _projected_width(self.text_projection, self.width)
        self.register_buffer("attn_mask", tower.attn_mask, persistent=False)
        # What a visual branch beside the text branch reads.
        self.image_width = tower_width(clip.visual)
        self.requires_grad_(False)
        self.clip = clip_name(model, pretrained)
        self.remember_frozen_weights(f"the text tower of {self.clip}")
        self._project = _projection_of(self.text_projection)
        self._choose_run()

    def _choose_run(self) -> None:
        """Take our blocks where they compute what the tower's do, else open_clip's."""
        is_causal = make_causal(self.transformer)
        self._run = _run_causal if is_causal else _run_open_clip
        self._most_shared = self.context_length if is_causal else 0

    def train(self, mode: bool = True) -> "CLIPTextEncoder":
        """Stay in eval mode: the encoder is frozen."""
        return super().train(False)

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        # Prompts and label graph were made of these weights when the model was built.
        for key, weight in self.named_parameters():
            saved = state_dict.get(prefix + key)
            # Shards of FSDP have other shapes.
            if saved is None or saved.shape != weight.shape:
                continue
            if not torch.equal(weight.to(saved.dtype), saved.to(weight.device)):
                raise ValueError(
                    "The state dict brings another text tower than that of "
                    f"{self.clip} ({key} differs), of which this model's prompts and "
                    "label graph were made. Name the CLIP of the state dict in the "
                    "config."
                )
        super()._load_from_state_dict(state_dict, prefix, *args)

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Turn texts into token ids.

        Returns:
            Ids, (C, L) with L the longest text's length, zero behind [EOS]; and
            the index of [EOS] in each row, (C,).

        Raises:
            ValueError: For a text longer than the context length.
        """
        rows = [self.tokenizer.encode(text) for text in texts]
        longest = self.context_length - 2  # [SOS] and [EOS]
        for text, row in zip(texts, rows, strict=True):
            if len(row) > longest:
                raise ValueError(
                    f"{text!r} has {len(row)} tokens; this CLIP takes {longest}. "
                    "Shorten the class name or the template."
                )
        eos_index = torch.tensor([len(row) + 1 for row in rows])
        ids = self.tokenizer(list(texts), context_length=self.context_length)
        return ids[:, : int(eos_index.max()) + 1], eos_index

    def forward(
        self, embeddings: Tensor, eos_index: Tensor, num_shared: int = 0
    ) -> Tensor:
        """Encode sequences of token embeddings.

        Args:
            embeddings: Token embeddings from [SOS] on, (C, L, width), L at most
                the context length.
            eos_index: Where [EOS] stands in each row, (C,).
            num_shared: How many tokens at the start are the same in all rows; they
                are encoded once. Defaults to 0: it is not known.

        Returns:
            Projected features at [EOS], (C, d), not normalised.
        """
        num_shared = min(num_shared, self._most_shared)
        shared = self._encode_shared(embeddings[:1, :num_shared])
        return self.batching.encode(
            partial(self._encode, shared=shared),
            embeddings[:, num_shared:],
            eos_index,
            num_shared,
        )

    def _encode_shared(self, x: Tensor) -> list[KeysAndValues | None]:
        """What every block's later tokens see of the tokens all rows start with."""
        if x.shape[1] == 0:
            return [None] * len(self.transformer.resblocks)
        x = x + self.positional_embedding[: x.shape[1]]
        seen = []
        for block in self.transformer.resblocks:
            x, keys_values = block(x)
            seen.append(keys_values)
        return seen

    def _encode(
        self,
        embeddings: Tensor,
        eos_index: Tensor,
        shared: list[KeysAndValues | None],
    ) -> Tensor:
        """Encode at once sequences that follow the shared tokens, to (B, d)."""
        x = self._run(self, embeddings, eos_index, shared)  # (B, width)
        return self._project(self.ln_final(x), self.text_projection)

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Encode plain texts, in this process alone.

        Returns:
            Features, (C, d), not normalised, without gradient.
        """
        ids, eos_index = self.tokenize(texts)
        device = self.positional_embedding.device
        with alone():
            return self(self.token_embedding(ids.to(device)), eos_index.to(device))


def _causal_tower(clip: nn.Module, model: str) -> nn.Module:
    """The text tower, if soft prompts can be put into it."""
    tower = getattr(clip, "text", clip)
    pool_type = getattr(tower, "text_pool_type", getattr(tower, "pool_type", None))
    if (
        not isinstance(tower, TextTransformer | open_clip.CLIP)
        or tower.attn_mask is None
        or getattr(tower, "cls_emb", None) is not None
        or pool_type not in ("argmax", "eos")
    ):
        raise ValueError(
            f"The text tower of {model} is not a causal transformer read at "
            "[EOS], which soft prompts need. Use a CLIP-like model (OpenAI, "
            "OpenCLIP, DFN, MetaCLIP, EVA, MobileCLIP…)."
        )
    return tower


def _run_causal(
    encoder: CLIPTextEncoder,
    embeddings: Tensor,
    eos_index: Tensor,
    shared: list[KeysAndValues | None],
) -> Tensor:
    """The blocks' output at [EOS], (B, width), behind the shared tokens."""
    start = 0 if shared[0] is None else shared[0][0].shape[2]
    end = start + embeddings.shape[1]
    x = embeddings + encoder.positional_embedding[start:end]
    *blocks, last = encoder.transformer.resblocks
    for block, past_key_values in zip(blocks, shared, strict=False):
        x, _ = block(x, past_key_values)
    x, _ = last(x, shared[-1], eos_index)  # (B, 1, width)
    return x[:, 0]


def _run_open_clip(
    encoder: CLIPTextEncoder, embeddings: Tensor, eos_index: Tensor, shared: list
) -> Tensor:
    """The same by open_clip's own code, for blocks of other kinds."""
    length = embeddings.shape[1]
    x = embeddings + encoder.positional_embedding[:length]
    x = encoder.transformer(x, attn_mask=encoder.attn_mask[:length, :length])
    return x[torch.arange(len(x), device=x.device), eos_index]


def _projection_of(projection: nn.Module | Tensor | None) -> Callable:
    if projection is None:
        return _unprojected
    return _by_module if isinstance(projection, nn.Module) else torch.matmul


def _projected_width(projection: nn.Module | Tensor | None, width: int) -> int:
    if projection is None:
        return width
    if isinstance(projection, nn.Linear):
        return projection.out_features
    return projection.shape[1]


def _unprojected(x: Tensor, projection: None) -> Tensor:
    return x


def _by_module(x: Tensor, projection: nn.Module) -> Tensor:
    return projection(x)
