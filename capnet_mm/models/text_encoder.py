"""The frozen text encoder of a CLIP, fed with token embeddings."""

from collections.abc import Sequence

import open_clip
import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from open_clip.transformer import TextTransformer
from torch import Tensor, nn

from .clip import load_clip


@MODELS.register_module()
class CLIPTextEncoder(BaseModule):
    """The text tower of an open_clip model, frozen.

    CLIP's text transformer is causal: no token sees what follows it. The output
    at [EOS] therefore does not depend on the padding behind it, and sequences
    may be cut to the longest prompt instead of the tower's context length.

    Args:
        model (str): See :func:`capnet_mm.models.clip.load_clip`.
        pretrained (str, optional): Likewise.
        quick_gelu (bool, optional): Likewise.
        cache_dir (str, optional): Likewise.

    Raises:
        ValueError: If the text tower is not a causal transformer read at [EOS]
            (SigLIP, CoCa and towers from transformers are not).

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
    ) -> None:
        super().__init__()
        clip = load_clip(model, pretrained, quick_gelu, cache_dir)
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
        self.tokenizer = open_clip.get_tokenizer(model)
        self.context_length = tower.context_length
        self.token_embedding = tower.token_embedding
        self.positional_embedding = tower.positional_embedding
        self.transformer = tower.transformer
        self.ln_final = tower.ln_final
        self.text_projection = tower.text_projection
        self.register_buffer("attn_mask", tower.attn_mask, persistent=False)
        self.requires_grad_(False)

    @property
    def width(self) -> int:
        """Dimension of the token embeddings."""
        return self.token_embedding.embedding_dim

    @property
    def out_dim(self) -> int:
        """Dimension d of the joint space."""
        if self.text_projection is None:
            return self.width
        if isinstance(self.text_projection, nn.Linear):
            return self.text_projection.out_features
        return self.text_projection.shape[1]

    def train(self, mode: bool = True) -> "CLIPTextEncoder":
        """Stay in eval mode: the encoder is frozen."""
        return super().train(False)

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

    def forward(self, embeddings: Tensor, eos_index: Tensor) -> Tensor:
        """Encode sequences of token embeddings.

        Args:
            embeddings: Token embeddings from [SOS] on, (C, L, width), L at most
                the context length.
            eos_index: Where [EOS] stands in each row, (C,).

        Returns:
            Projected features at [EOS], (C, d), not normalised.
        """
        length = embeddings.shape[1]
        x = embeddings + self.positional_embedding[:length]
        x = self.transformer(x, attn_mask=self.attn_mask[:length, :length])
        rows = torch.arange(len(x), device=x.device)
        x = self.ln_final(x[rows, eos_index])  # (C, L, width) -> (C, width)
        if self.text_projection is None:
            return x
        if isinstance(self.text_projection, nn.Linear):
            return self.text_projection(x)
        return x @ self.text_projection

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Encode plain texts.

        Returns:
            Features, (C, d), not normalised, without gradient.
        """
        ids, eos_index = self.tokenize(texts)
        device = self.positional_embedding.device
        return self(self.token_embedding(ids.to(device)), eos_index.to(device))
