"""Soft prompts: learnable context tokens in front of the class names."""

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from .text_encoder import CLIPTextEncoder


@MODELS.register_module()
class SoftPrompt(BaseModule):
    """``[SOS] v_c1 … v_cM <class name> . [EOS]`` with learnable v.

    Source: CAPNET (arXiv 2511.20641) uses class-specific soft prompts; M = 16,
    v ~ N(0, 0.02) and starting from words follow CoOp and LMPT.

    Args:
        class_names (Sequence[str]): The C names as people write them.
        text_encoder (CLIPTextEncoder): Gives the fixed tokens' embeddings; it is
            not kept.
        num_context (int): M, the number of context tokens. Defaults to 16.
        init_words (str, optional): Words whose embeddings the context starts
            from, e.g. ``'a photo of a'``; their number of tokens is then M.
            Defaults to None: random.
        class_specific (bool): One context for each class, (C, M, width), or one
            that all share, (M, width). Defaults to True.
        init_std (float): Standard deviation of a random start. Defaults to 0.02.

    Attributes:
        num_context (int): M, the number of context tokens.
        num_shared (int): How many tokens all prompts start with: [SOS], and a
            context that they share.

    Raises:
        ValueError: If a prompt is longer than CLIP's context length, or a
            checkpoint's context is for another number of classes or tokens.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        text_encoder: CLIPTextEncoder,
        num_context: int = 16,
        init_words: str | None = None,
        class_specific: bool = True,
        init_std: float = 0.02,
    ) -> None:
        super().__init__()
        width = text_encoder.width
        ids, eos_index = text_encoder.tokenize([f"{name}." for name in class_names])
        ids = ids.to(text_encoder.token_embedding.weight.device)
        fixed = text_encoder.token_embedding(ids).detach()  # (C, L, width)
        if init_words:
            word_ids, word_eos = text_encoder.tokenize([init_words])
            word_ids = word_ids.to(ids.device)
            context = text_encoder.token_embedding(word_ids[0, 1 : word_eos[0]])
            context = context.detach().clone()  # (M, width)
            if class_specific:
                context = context.repeat(len(class_names), 1, 1)
        elif num_context > 0:
            shape = (len(class_names),) if class_specific else ()
            context = torch.randn(*shape, num_context, width) * init_std
        else:
            raise ValueError(
                f"num_context must be at least 1, got {num_context}. For prompts "
                "without context tokens set prompt=None in the head."
            )
        self.context = nn.Parameter(context)
        self.class_specific = class_specific
        # Numbers of their own: FSDP takes the weights apart between calls.
        self.num_context = context.shape[-2]
        self.num_shared = 1 if class_specific else 1 + self.num_context  # 1: [SOS]
        # The fixed tokens' embeddings follow from the names and CLIP: not saved.
        self.register_buffer("start", fixed[:, :1].clone(), persistent=False)
        self.register_buffer("name", fixed[:, 1:].clone(), persistent=False)
        self.register_buffer("eos_index", eos_index + self.num_context, False)
        longest = int(self.eos_index.max()) + 1
        if longest > text_encoder.context_length:
            name = class_names[int(self.eos_index.argmax())]
            raise ValueError(
                f"The prompt of {name!r} has {longest} tokens with its "
                f"{self.num_context} context tokens; this CLIP takes "
                f"{text_encoder.context_length}. Lower num_context."
            )

    def forward(self, text_encoder: CLIPTextEncoder) -> Tensor:
        """Encode the prompts.

        Args:
            text_encoder: The frozen text tower.

        Returns:
            Text features, (C, d), not normalised.
        """
        return text_encoder(*self.assemble(), self.num_shared)

    def assemble(self) -> tuple[Tensor, Tensor]:
        """Put the context in front of the names.

        Returns:
            Token embeddings, (C, L, width), L the longest prompt's length; and
            the index of [EOS], (C,).
        """
        context = self.context.expand(len(self.name), -1, -1)
        return torch.cat([self.start, context, self.name], dim=1), self.eos_index

    def extended(
        self, class_names: Sequence[str], text_encoder: CLIPTextEncoder
    ) -> "SoftPrompt":
        """Make prompts of other classes, with the mean of the contexts.

        Args:
            class_names: Names of the new classes as people write them.
            text_encoder: The frozen text tower.

        Returns:
            Prompts of the new classes alone.
        """
        prompt = SoftPrompt(
            class_names, text_encoder, self.num_context, class_specific=False
        ).to(self.context)
        context = self.context.mean(0) if self.class_specific else self.context
        prompt.context.data.copy_(context)
        return prompt

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        saved = state_dict.get(prefix + "context")
        if saved is not None and saved.shape != self.context.shape:
            raise ValueError(
                f"The checkpoint's prompt context has shape {tuple(saved.shape)}, "
                f"this model's {tuple(self.context.shape)} (classes, context tokens, "
                "width; a shared context has no classes). A checkpoint fits the "
                "classes, prompt and CLIP that it was trained with: use that config, "
                "or train anew."
            )
        super()._load_from_state_dict(state_dict, prefix, *args)
