"""Hand-written prompts: no part of them is learned."""

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from .text_encoder import CLIPTextEncoder


@MODELS.register_module()
class TemplatePrompt(BaseModule):
    """Text features of prompts such as "a photo of a dog.".

    The features follow from the class names and CLIP, so they are not saved.

    Args:
        class_names (Sequence[str]): The C names as people write them.
        text_encoder (CLIPTextEncoder): Encodes the prompts once, when this is built.
        template (str | Sequence[str]): Prompts with ``{}`` for the name; of several the
            normalised features are averaged. Defaults to 'a photo of a {}.'.

    Raises:
        ValueError: A template has no ``{}``.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        text_encoder: CLIPTextEncoder,
        template: str | Sequence[str] = "a photo of a {}.",
    ) -> None:
        super().__init__()
        self.template = template
        templates = [template] if isinstance(template, str) else list(template)
        for text in templates:
            if "{}" not in text:
                raise ValueError(
                    f"The template {text!r} has no {{}} for the class name; "
                    "expected something like 'a photo of a {}.'."
                )
        features = [
            F.normalize(
                text_encoder.encode_text([text.format(name) for name in class_names]),
                dim=-1,
            )
            for text in templates
        ]
        self.register_buffer("features", torch.stack(features).mean(0), False)

    def forward(self, text_encoder: CLIPTextEncoder) -> Tensor:
        """Return the features, (C, d); the encoder has nothing to do any more."""
        return self.features

    def extended(
        self, class_names: Sequence[str], text_encoder: CLIPTextEncoder
    ) -> "TemplatePrompt":
        """Make prompts of other classes, with the same templates.

        Args:
            class_names: Names of the new classes as people write them.
            text_encoder: The frozen text tower.

        Returns:
            Prompts of the new classes alone.
        """
        return TemplatePrompt(class_names, text_encoder, self.template)
