"""ShapesLT, the synthetic data set of the demo."""

import json
import os
import tempfile
from pathlib import Path

import numpy as np
from mmpretrain.registry import DATASETS
from PIL import Image

from .image_list import ImageListDataset
from .list_files import write_image_list
from .shapes import CLASS_NAMES, draw_scene, fade
from .shapes.scenes import Scene, evaluation_scenes, training_scenes

# Version of the drawing; raised when the images change.
_VERSION = 2
_STATEMENT = "shapes_lt.json"


@DATASETS.register_module()
class ShapesLT(ImageListDataset):
    """Synthetic data set: drawn images of shapes, multi-label and long-tailed.

    A small stand-in for a photo collection that needs no download: it shows how
    everything works, and says nothing about accuracy on photographs. The images,
    96 × 96, are drawn when they are first wanted (some seconds, about 35 MB) and are
    always the same. They look like faded photographs; the CLIP of ``configs/demo`` was
    pre-trained on fresh ones, so that it has something to adapt to, as CLIP has with
    most collections.

    The 24 classes are combinations of a texture, a colour and a shape ("striped blue
    heart"), so that their names share words, as a text encoder can tell; the rarer half
    are combinations that this CLIP has not been shown. Training: 1,024 images, from
    400 down to 3 a class in geometric steps; 7 head, 8 medium, 9 tail classes. Test:
    962 images, 80 of every class. An image shows one to three of the classes and up
    to two other objects that share words with classes; in training, unlike in the test,
    a class is seen mostly beside certain others.

    Args:
        data_root (str): Folder for the images; made if it isn't there. Defaults to
            'data/shapes_lt'.
        **kwargs: Other arguments of :class:`ImageListDataset`.

    Raises:
        ValueError: ``data_root`` holds something else.
        OSError: The images cannot be written.

    Examples:
        >>> train = ShapesLT()
        >>> train.metainfo["classes"][0], train.metainfo["class_counts"][0]
        ('striped orange triangle', 400)
    """

    METAINFO = {"classes": CLASS_NAMES}
    TRAIN_LIST = "shapes_lt_train.txt"
    TEST_LIST = "shapes_lt_test.txt"

    def __init__(self, data_root: str = "data/shapes_lt", **kwargs) -> None:
        super().__init__(data_root=data_root, **kwargs)

    def full_init(self) -> None:
        """Draw the images, unless they are there; load the list."""
        if not self._fully_initialized:
            draw_shapes_lt(self.data_root)
        super().full_init()


def draw_shapes_lt(folder: str | Path) -> None:
    """Draw the images and write the lists of ShapesLT, unless they are there.

    The folder appears when it is complete; several processes may try at once.

    Args:
        folder: Folder of the images; made if it isn't there.

    Raises:
        ValueError: The folder holds something else.
        OSError: Writing failed.
    """
    folder = Path(folder).expanduser()
    if folder.exists() and any(folder.iterdir()):
        _check_statement(folder)
        return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=f".{folder.name}.", dir=folder.parent, ignore_cleanup_errors=True
        ) as name:
            drawn = Path(name, "drawn")
            drawn.mkdir()
            _draw_split(drawn, "train", training_scenes(np.random.default_rng([0, 0])))
            _draw_split(drawn, "test", evaluation_scenes(np.random.default_rng([0, 1])))
            statement = dict(dataset="ShapesLT", version=_VERSION)
            (drawn / _STATEMENT).write_text(json.dumps(statement))
            try:
                os.replace(drawn, folder)
            except OSError:  # another process was faster
                _check_statement(folder)
    except OSError as error:
        raise OSError(
            error.errno,
            f"The images of ShapesLT cannot be written to {folder} "
            f"({error.strerror or error}): about 35 MB are needed there. Make room, or "
            "choose another folder with --data-root.",
        ) from error


def _draw_split(folder: Path, split: str, scenes: list[Scene]) -> None:
    (folder / split).mkdir()
    images = []
    for index, scene in enumerate(scenes):
        path = f"{split}/{index:04d}.png"
        # A stream of its own for each image, apart from those of pre-training.
        rng = np.random.default_rng([7, ("train", "test").index(split), index])
        Image.fromarray(fade(draw_scene(scene.kinds, rng))).save(folder / path)
        images.append(dict(img_path=path, gt_label=list(scene.labels)))
    write_image_list(folder / f"shapes_lt_{split}.txt", images)


def _check_statement(folder: Path) -> None:
    try:
        statement = json.loads((folder / _STATEMENT).read_text())
    except (OSError, ValueError):
        raise ValueError(
            f"{folder} holds something else than ShapesLT: its images are drawn into "
            "an empty or a new folder. Choose another with --data-root, or leave "
            "--data-root (CAPNET_DATA_ROOT) out for data/shapes_lt."
        ) from None
    if statement.get("version") != _VERSION:
        raise ValueError(
            f"{folder} was drawn by another version of this package: delete it, and it "
            "is drawn anew."
        )
