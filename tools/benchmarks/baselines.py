"""What a user would run instead: CoOp's and LMPT's way, for the benchmarks alone."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor, nn

from capnet_mm.models import CLIPTextEncoder
from capnet_mm.models.towers.causal_block import CausalBlock, CausalSelfAttention
from capnet_mm.models.towers.class_token import ClassTokenBlock, PackedSelfAttention


class FullLengthTextEncoder(CLIPTextEncoder):
    """The text tower on all 77 tokens of every prompt, padding included.

    Every token goes through every block and the last norm; then [EOS] is taken.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        restore_layers(self)

    def forward(
        self, embeddings: Tensor, eos_index: Tensor, num_shared: int = 0
    ) -> Tensor:
        """Encode prompts as :meth:`CLIPTextEncoder.forward` does, padding included."""
        num_classes, length, width = embeddings.shape
        padding = self.token_embedding.weight[0].detach()  # token 0 fills up
        padding = padding.expand(num_classes, self.context_length - length, width)
        x = torch.cat([embeddings, padding], dim=1) + self.positional_embedding
        x = self.ln_final(self.transformer(x, attn_mask=self.attn_mask))
        rows = torch.arange(num_classes, device=x.device)
        return x[rows, eos_index] @ self.text_projection


def restore_layers(module: nn.Module) -> None:
    """Have towers run open_clip's and PyTorch's own layers."""
    usual = {
        ClassTokenBlock: ResidualAttentionBlock,
        PackedSelfAttention: nn.MultiheadAttention,
        CausalBlock: ResidualAttentionBlock,
        CausalSelfAttention: nn.MultiheadAttention,
    }
    for layer in module.modules():
        layer.__class__ = usual.get(type(layer), type(layer))


@contextmanager
def everything_in_autograd(module: nn.Module) -> Iterator[None]:
    """Have gradients of all weights computed, as where nothing is frozen.

    The gradients of frozen weights are thrown away; the optimiser never sees them.
    """
    frozen = [p for p in module.parameters() if not p.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)
            parameter.grad = None
