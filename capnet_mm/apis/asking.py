"""One model that several people ask at the same time, each for words of their own."""

import os
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from PIL import Image

from ..visualization.class_map_figure import with_heat
from .inferencer import MultiLabelInferencer

# Decoding more would take gigabytes: a small file can hold a huge picture.
MAX_PIXELS = 50_000_000
# Resized to the tower's edge, a strip of one pixel's height would be millions wide.
MAX_RATIO = 50
MAX_WORDS = 100
MAX_LETTERS = 100  # of a word; CLIP reads 75 tokens
# So many people's words stay embedded, which takes longer than to look at a picture.
_KEPT_WORDS = 32
_NO_PICTURE = (
    "This file is no picture that can be read: send JPEG, PNG, WebP or the like."
)
# What a result holds of a picture that failed, beside its error.
_NOTHING = dict(pred_label=[], pred_score=[], pred_class=[], pred_group=[])


@dataclass(frozen=True)
class Label:
    """What is said of a class.

    Attributes:
        name: Of the class.
        score: Probability.
        threshold: From which the class is predicted.
        group: head, medium or tail; None where not known, as for new words.
        is_new: Whether the model was not trained for it.
    """

    name: str
    score: float
    threshold: float
    group: str | None
    is_new: bool

    @property
    def is_predicted(self) -> bool:
        """Whether the score reaches the threshold."""
        return self.score >= self.threshold


class SharedInferencer:
    """Asks an inferencer for one person after the other.

    Args:
        inferencer (MultiLabelInferencer): Not to be told other classes from then on.
    """

    def __init__(self, inferencer: MultiLabelInferencer) -> None:
        self.classes = inferencer.classes
        self.takes_words = inferencer.takes_classes
        self._head = inferencer.model.head
        self._own = inferencer
        self._for_classes = lru_cache(_KEPT_WORDS)(inferencer.for_classes)
        self._lock = threading.Lock()  # who computes at once computes slower

    @property
    def has_maps(self) -> bool:
        """Whether the model knows where in a picture it sees a class."""
        pooling = getattr(self._head, "pooling", None)
        return getattr(pooling, "needs_map", False)

    def ask(
        self,
        pictures: Sequence[str],
        words: Sequence[str] = (),
        threshold: float | None = None,
    ) -> list[dict]:
        """Look at pictures.

        Args:
            pictures: Files.
            words: Names to ask for beside the model's own classes.
            threshold: For all classes; None for the model's own.

        Returns:
            The inferencer's result of each picture, whose path is the file's name
            alone; and ``labels``, one :class:`Label` a class, the most probable first.
            A picture that cannot be read has ``error``.

        Raises:
            ValueError: There are too many words, or the model takes none.
        """
        with self._lock:
            inferencer = self._inferencer(words)
        return [self._look(inferencer, each, threshold) for each in pictures]

    def where(
        self, picture: str, name: str, words: Sequence[str] = ()
    ) -> np.ndarray | None:
        """Show where the model sees a class.

        Args:
            picture: A file.
            name: Of the class.
            words: As :meth:`ask` got them.

        Returns:
            What the model sees of the picture with the map over it, (H, W, 3) RGB
            uint8; None of a model without local pooling.

        Raises:
            ValueError: The picture cannot be read, or there is no such class.
        """
        if not self.has_maps:
            return None
        check_picture(picture)
        with self._lock, torch.no_grad():
            inferencer = self._inferencer(words)
            names, model = inferencer.classes, inferencer.model
            if name not in names:
                raise ValueError(f"There is no class {name!r} among those asked for.")
            (batch,) = inferencer.preprocess([picture], num_workers=0)
            if batch.errors:
                raise ValueError(_without_folder(batch.errors[0], picture))
            ((_, data),) = batch.groups
            pixels = data["inputs"][0].permute(1, 2, 0).flip(2).cpu().numpy()
            inputs = model.data_preprocessor(data, False)["inputs"]
            _, maps = model.head.class_activation_maps(model.extract_feat(inputs))
        heat = maps[0, names.index(name)].cpu().numpy()
        return with_heat(np.ascontiguousarray(pixels), heat)

    def neighbors(self, name: str, number: int = 5) -> list[tuple[str, float]]:
        """Name the classes that a class takes from in the label graph.

        Args:
            name: Of a class of training.
            number: So many at most.

        Returns:
            Names and weights, the largest first; nothing for a new word, or of a model
            without label graph.
        """
        names = getattr(self._head, "trained_classes", ())
        graph = getattr(self._head, "graph", None)
        if name not in names or not hasattr(graph, "indices"):
            return []
        index = names.index(name)
        row = zip(
            graph.indices[index].tolist(), graph.weights[index].tolist(), strict=True
        )
        others = [(names[i], weight) for i, weight in row if i != index and weight > 0]
        return sorted(others, key=lambda other: -other[1])[:number]

    def _inferencer(self, words: Sequence[str]) -> MultiLabelInferencer:
        """What asks for the model's own classes and some words."""
        new = [word for word in dict.fromkeys(words) if word not in self.classes]
        if len(new) > MAX_WORDS or any(len(word) > MAX_LETTERS for word in new):
            raise ValueError(
                f"Too many words: at most {MAX_WORDS} new ones of {MAX_LETTERS} "
                "letters each."
            )
        return self._for_classes((*self.classes, *new)) if new else self._own

    def _look(
        self, inferencer: MultiLabelInferencer, picture: str, threshold: float | None
    ) -> dict:
        name = os.path.basename(picture)
        try:
            check_picture(picture)
        except ValueError as error:
            return dict(img_path=name, error=str(error), labels=[], **_NOTHING)
        with self._lock:  # for one picture, so that nobody waits for a hundred
            (result,) = inferencer([picture], thr=threshold, num_workers=0)
        result["img_path"] = name
        if "error" in result:
            result["error"] = _without_folder(result["error"], picture)
            return dict(result, labels=[])
        columns = (
            inferencer.classes,
            result["pred_scores"].tolist(),
            result["thresholds"].tolist(),
            inferencer.groups,
        )
        labels = [
            Label(*cells, is_new=cells[0] not in self.classes)
            for cells in zip(*columns, strict=True)
        ]
        return dict(result, labels=sorted(labels, key=lambda label: -label.score))


def split_words(text: str) -> list[str]:
    """Read what somebody typed: names with commas or line breaks between.

    Args:
        text: E.g. ``'red umbrella, kite'``.

    Returns:
        The names, without empty and repeated ones.
    """
    parts = (" ".join(part.split()) for part in re.split(r"[,;\n]", text))
    return list(dict.fromkeys(part for part in parts if part))


def check_picture(picture: str) -> None:
    """Make sure that something is a picture of a reasonable size, before decoding it.

    Args:
        picture: A file.

    Raises:
        ValueError: It is no picture, has more than :data:`MAX_PIXELS` pixels, or is
            more than :data:`MAX_RATIO` times as long as wide.
    """
    try:
        with Image.open(picture) as opened:
            width, height = opened.size
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(_NO_PICTURE) from error
    if width * height > MAX_PIXELS:
        raise ValueError(
            f"The picture has {width} x {height} pixels, more than "
            f"{MAX_PIXELS // 1_000_000} million: send a smaller one."
        )
    if max(width, height) > MAX_RATIO * min(width, height):
        raise ValueError(
            f"The picture has {width} x {height} pixels, one edge more than "
            f"{MAX_RATIO} times the other: send a part of it."
        )


def _without_folder(message: str, picture: str) -> str:
    """A message that tells nobody where on this machine files lie."""
    return message.replace(picture, os.path.basename(picture))
