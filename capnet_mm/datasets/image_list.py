"""Datasets given as a list of images with their labels."""

import logging
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from mmcv.transforms import LoadImageFromFile
from mmengine.fileio import LocalBackend, exists, get_file_backend, join_path
from mmengine.logging import print_log
from mmengine.utils import is_abs
from mmpretrain.datasets.base_dataset import expanduser
from mmpretrain.datasets.multi_label import MultiLabelDataset
from mmpretrain.registry import DATASETS

from capnet_mm.evaluation.frequency_groups import frequency_groups
from capnet_mm.plain_text import shown

from .class_names import check_class_names, read_class_names, readable_name
from .list_files import is_json, read_image_list, read_json_classes
from .transforms.loading import CorruptImageError, LoadImage

_CORRUPT_IMAGES = ("raise", "skip")


@DATASETS.register_module()
class ImageListDataset(MultiLabelDataset):
    """Images with any number of labels each, from a list; knows its long tail.

    The list is either text, one image a line with its labels as numbers from 0 ::

        JPEGImages/2008_000059.jpg 7 9
        JPEGImages/2008_000062.jpg 3
        JPEGImages/2008_000064.jpg

    (an image without labels is kept: it is a negative of every class), or a
    ``.json`` file as :class:`mmpretrain.datasets.MultiLabelDataset` reads it, with
    ``metainfo`` and ``data_list``.

    Labels that are unknown, neither positive nor negative, are written ``?7`` in a
    text list, ``"gt_unknown": [7]`` in JSON. If a list has any, all of its images
    carry ``gt_score``, (C,), 1 positive, 0 negative, -1 unknown:
    :class:`~capnet_mm.models.DBFocalLoss` and
    :class:`~capnet_mm.evaluation.LongTailMAP` leave the unknown entries out
    (MMPretrain's own losses do not know them). Class counts are of positives.

    The layout that the defaults expect::

        data_root
        ├── classes.txt      # one class name a line
        ├── train.txt
        ├── val.txt
        └── …                # images, at the paths that the lists give

    The data set states what model, loss and metric need to know of the data, as
    ``metainfo``:

    - ``classes`` (tuple[str]): names of the C classes.
    - ``prompt_names`` (tuple[str]): the names for prompts ("dining table"): of
      ``metainfo``, else of where the classes are stated (second column of
      ``classes.txt``, metainfo of a JSON list), else of a subclass's ``METAINFO`` for
      the same class, else the class name with spaces for underscores.
    - ``class_counts`` (tuple[int]): n_c, number of training images with class c.
    - ``num_images`` (int): N, number of training images.
    - ``groups`` (dict[str, tuple[int]]): classes in ``head``, ``medium``, ``tail``.

    Labels in a JSON list that states its own classes are positions among these classes:
    where the data set has the same names in another order, labels are renumbered by
    name. Labels in a text list are positions in ``classes``; labels in a text
    ``train_ann_file`` beside a JSON list are positions in ``classes.txt``, if there is
    that file; labels in a text list of a subclass that states its classes
    (``METAINFO``) are positions among these, also where ``classes`` gives the same
    names in another order.

    ``classes`` and ``prompt_names`` are there always, the other entries after
    :meth:`full_init`. A test set has counts and groups only if ``train_ann_file`` names
    its training list: counted on the test images, the groups would be wrong.

    Args:
        ann_file (str, optional): The image list, relative to ``data_root``. May be left
            out by a subclass that states ``TRAIN_LIST`` and ``TEST_LIST``.
        classes (str | Sequence[str], optional): File of class names relative to
            ``data_root`` (see :func:`~capnet_mm.datasets.read_class_names`), or the
            names. Defaults to None: ``METAINFO`` of the class, else the metainfo
            of a JSON list, else the file ``classes.txt``.
        data_root (str): Folder that lists and images are in. Defaults to ''.
        data_prefix (str | dict): Folder, inside ``data_root``, that the paths in
            the list start from. Defaults to ''.
        train_ann_file (str, optional): The list that the class counts and groups
            come from; only the list is read, not its images. Defaults to None: a
            training set counts its own images, a test set knows no counts (a
            subclass with a ``TRAIN_LIST`` counts in that list).
        head_threshold (int): Smallest count of a head class. Defaults to 100.
        tail_threshold (int): Smallest count that is no longer tail. Defaults to 20.
        corrupt_images (str): 'raise' stops at an image that cannot be decoded.
            'skip' trains with a random other image in its place, logs it once, and
            lists it in :attr:`skipped_images`; needs :class:`LoadImage` in the
            pipeline. A test set stops always. Defaults to 'raise'.
        check_images (bool): Whether to look, when loading the list, that every
            image file is there. Defaults to True.
        allow_outside (bool): Whether paths in the list may lead out of ``data_root``
            and of the folder of ``data_prefix``: absolute, by "..", or through a link
            (these folders themselves may be links, and so may those that the layout
            of VOC-LT, COCO-LT and NUS-WIDE names). Defaults to False: a list of
            unknown origin cannot have other files read.
        metainfo (dict, optional): Entries that replace those of the list; this is
            where ``prompt_names`` can be given.
        **kwargs: Other arguments of :class:`mmpretrain.datasets.MultiLabelDataset`.

    Raises:
        FileNotFoundError: Data root, list, classes file or images are missing.
        ValueError: Something in a list or in the classes file is wrong (the message
            names file and line), or an argument is.

    Examples:
        >>> train = ImageListDataset("train.txt", data_root="data/animals")
        >>> train.metainfo["class_counts"][:3], train.metainfo["groups"]["tail"]
        ((6, 16, 24), (0, 1, 6, 10, 13))
        >>> val = ImageListDataset(
        ...     "val.txt",
        ...     data_root="data/animals",
        ...     train_ann_file="train.txt",
        ...     test_mode=True,
        ... )
        >>> val.metainfo["num_images"] == len(train)
        True
    """

    # Names of the official lists, for subclasses that have them.
    TRAIN_LIST: str | None = None
    TEST_LIST: str | None = None
    # Folders in the data root that may be links to elsewhere.
    LINKED_FOLDERS: tuple[str, ...] = ()

    def __init__(
        self,
        ann_file: str | None = None,
        classes: str | Sequence[str] | None = None,
        data_root: str = "",
        data_prefix: str | dict = "",
        train_ann_file: str | None = None,
        head_threshold: int = 100,
        tail_threshold: int = 20,
        corrupt_images: str = "raise",
        check_images: bool = True,
        allow_outside: bool = False,
        metainfo: dict | None = None,
        test_mode: bool = False,
        lazy_init: bool = False,
        **kwargs,
    ) -> None:
        if corrupt_images not in _CORRUPT_IMAGES:
            raise ValueError(
                f"corrupt_images={corrupt_images!r} is unknown: expected one of "
                f"{_CORRUPT_IMAGES}."
            )
        data_root = expanduser(data_root) or ""
        ann_file, train_ann_file = self._named_lists(
            ann_file, train_ann_file, data_root, test_mode
        )
        frequency_groups((), head_threshold, tail_threshold)  # check them at once
        self.corrupt_images = corrupt_images
        self.check_images = check_images
        self.allow_outside = allow_outside
        self.head_threshold = head_threshold
        self.tail_threshold = tail_threshold
        self.train_ann_file = _in_root(train_ann_file, data_root)
        _check_prefix(data_prefix)
        self._skipped = _shared_flags(0)
        # Whether images carry gt_score; a data set beside this one may need it.
        self.gives_scores = False

        super().__init__(
            ann_file=ann_file,
            metainfo=self._complete_metainfo(metainfo, classes, ann_file, data_root),
            data_root=data_root,
            data_prefix=data_prefix,
            test_mode=test_mode,
            lazy_init=True,  # the checks below come first
            **kwargs,
        )
        self._text_classes = self._classes_of_text_lists(data_root)
        self._check_loader()
        if not lazy_init:
            self.full_init()

    @property
    def skipped_images(self) -> list[str]:
        """Paths of the images that training left out because they are corrupt.

        Each is there once, however often it was met and in whichever worker
        process of the data loader.
        """
        return [
            self.get_data_info(index)["img_path"]
            for index in self._skipped.nonzero().flatten().tolist()
        ]

    def full_init(self) -> None:
        """Load the list; count classes and group them."""
        if self._fully_initialized:
            return
        _check_data_root(self.data_root)
        super().full_init()
        self._count_classes()

    def load_data_list(self) -> list[dict]:
        """Read and check the list.

        Returns:
            list[dict]: ``img_path`` (with data root and prefix) and ``gt_label``
            (list of int, sorted, maybe empty) of every image; ``gt_unknown`` of
            those with unknown labels.
        """
        data_list = self._read_list(self.ann_file)
        if any("gt_unknown" in data_info for data_info in data_list):
            self.gives_scores = True
        for data_info in data_list:
            data_info["img_path"] = join_path(self.img_prefix, data_info["img_path"])
        if self.check_images:
            paths = [data_info["img_path"] for data_info in data_list]
            self._check_images_exist(paths)
            self._check_links(paths)
        return data_list

    def get_data_info(self, idx: int) -> dict:
        """Give the entry of one image.

        Args:
            idx (int): Index of the image.

        Returns:
            dict: The entry of :meth:`load_data_list`, with ``sample_idx`` and, if the
            list has unknown labels, ``gt_score``, (C,) float32.
        """
        data_info = super().get_data_info(idx)
        if self.gives_scores:  # all images, or they could not share a batch
            score = np.zeros(len(self.CLASSES), dtype=np.float32)
            score[data_info["gt_label"]] = 1
            score[data_info.get("gt_unknown", [])] = -1
            data_info["gt_score"] = score
        return data_info

    def prepare_data(self, idx: int) -> dict | None:
        """Run the pipeline on one image.

        Args:
            idx (int): Index of the image.

        Returns:
            dict | None: What the pipeline gives; None, upon which
            ``__getitem__`` takes another image, for a corrupt image in training with
            ``corrupt_images='skip'``.
        """
        if not self.check_images:  # they were not looked at when the list was loaded
            self._check_links([self.get_data_info(idx)["img_path"]])
        try:
            return super().prepare_data(idx)
        except CorruptImageError as error:
            if self.test_mode or self.corrupt_images == "raise":
                raise
            self._record_skipped(idx, error)
            return None

    def get_subset_(self, indices: Sequence[int] | int) -> None:
        """Keep some of the images only; counts follow (see ``train_ann_file``)."""
        super().get_subset_(indices)
        self._count_classes()

    def get_subset(self, indices: Sequence[int] | int) -> "ImageListDataset":
        """A dataset of some of the images; counts follow as in a new dataset."""
        subset = super().get_subset(indices)
        subset._count_classes()
        return subset

    def _copy_without_annotation(self, memo: dict | None = None) -> "ImageListDataset":
        # MMEngine's default is one dictionary for all calls: an object whose address
        # a freed one had before would be "copied" as what that one became.
        return super()._copy_without_annotation({} if memo is None else memo)

    def extra_repr(self) -> list[str]:
        """Lines that ``repr`` adds to MMPretrain's."""
        body = super().extra_repr()
        if "groups" in self._metainfo:
            sizes = [f"{k} {len(v)}" for k, v in self._metainfo["groups"].items()]
            body.append(f"Groups of classes: \t{', '.join(sizes)}")
        return body

    def __setstate__(self, state: dict) -> None:
        """Share the flags of skipped images again."""
        # A copy (deepcopy, pickle) has its flags in ordinary memory, where what a
        # worker writes would be lost. Sent to a worker, they are shared already,
        # and this does nothing.
        self.__dict__.update(state)
        self._skipped.share_memory_()

    def _named_lists(
        self,
        ann_file: str | None,
        train_ann_file: str | None,
        data_root: str,
        test_mode: bool,
    ) -> tuple[str, str | None]:
        """The list, and the list to count in; the official ones if none is named."""
        official = self.TEST_LIST if test_mode else self.TRAIN_LIST
        ann_file = ann_file or _official_list(official, data_root)
        if not ann_file:
            raise ValueError("`ann_file` is missing: name the list of the images.")
        if train_ann_file is None and test_mode:
            train_ann_file = _official_list(self.TRAIN_LIST, data_root)
        return ann_file, train_ann_file

    def _complete_metainfo(
        self,
        metainfo: dict | None,
        classes: str | Sequence[str] | None,
        ann_file: str,
        data_root: str,
    ) -> dict:
        """Add ``classes`` and ``prompt_names``, from wherever they are stated."""
        metainfo = dict(metainfo or {})
        ann_file = _in_root(ann_file, data_root)
        classes = metainfo.pop("classes", classes)
        prompt_names = None
        if classes is None:
            classes = self.METAINFO.get("classes")

        if classes is None or isinstance(classes, str):  # they are in a file
            _check_data_root(data_root)
        if classes is None and is_json(ann_file):
            names, prompt_names = read_json_classes(ann_file)
            names = check_class_names(names, ann_file)
        elif classes is None or isinstance(classes, str):
            path = _in_root(classes or "classes.txt", data_root)
            names, prompt_names = read_class_names(path)
        else:
            names = check_class_names(classes, "`classes`")

        prompt_names = metainfo.get("prompt_names", prompt_names)
        if prompt_names is None:
            own = self.METAINFO
            known = dict(
                zip(own.get("classes", ()), own.get("prompt_names", ()), strict=False)
            )
            prompt_names = [known.get(name) or readable_name(name) for name in names]
        if len(prompt_names) != len(names):
            raise ValueError(
                f"There are {len(names)} classes but {len(prompt_names)} prompt_names: "
                "give one for each class, in the same order."
            )
        return {**metainfo, "classes": names, "prompt_names": tuple(prompt_names)}

    def _classes_of_text_lists(self, data_root: str) -> Sequence[str]:
        """Names that the labels in a list without names are numbers of."""
        beside = Path(_in_root("classes.txt", data_root))
        mixed = (
            self.train_ann_file is not None
            and is_json(self.ann_file)
            and not is_json(self.train_ann_file)
        )
        official = self.METAINFO.get("classes")
        # The lists of a class that states its classes are numbered as it has them.
        if official is not None and sorted(official) == sorted(self.CLASSES):
            return official
        # A text list is numbered by the file beside it, whatever order JSON has.
        if mixed and official is None and beside.is_file():
            return read_class_names(beside)[0]
        return self.CLASSES

    def _read_list(self, path: str) -> list[dict]:
        """Read a list; its labels become numbers of this data set's classes."""
        return read_image_list(
            path,
            len(self.CLASSES),
            self.CLASSES,
            self._text_classes,
            self.allow_outside,
        )

    def _check_loader(self) -> None:
        if self.corrupt_images == "raise" or self.test_mode:
            return
        for transform in self.pipeline.transforms:
            if isinstance(transform, LoadImageFromFile) and not isinstance(
                transform, LoadImage
            ):
                raise ValueError(
                    f"corrupt_images='skip' cannot work with "
                    f"{type(transform).__name__}, which does not notice a truncated "
                    "JPEG: begin the pipeline with dict(type='LoadImage')."
                )

    def _check_images_exist(self, paths: list[str]) -> None:
        backend = get_file_backend(self.img_prefix)
        missing = [path for path in paths if not backend.isfile(path)]
        if missing:
            named = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
            raise FileNotFoundError(
                f"{len(missing)} of the {len(paths)} images in {self.ann_file} are "
                f"missing: {named}. Paths in a list are relative to the data root "
                "(plus data_prefix): check both, or complete the images."
            )

    @cached_property
    def _roots(self) -> tuple[str, ...]:
        """Folders, as links resolve, that images may lie in."""
        linked = (join_path(self.data_root, name) for name in self.LINKED_FOLDERS)
        folders = (self.data_root, self.img_prefix, *linked)
        return tuple(os.path.join(os.path.realpath(each), "") for each in folders)

    def _check_links(self, paths: list[str]) -> None:
        """Refuse images that are elsewhere, by a link of their own or of a folder."""
        is_local = isinstance(get_file_backend(self.img_prefix), LocalBackend)
        if self.allow_outside or not is_local:
            return
        place_of: dict[str, str] = {}  # many images share a folder
        for path in paths:
            folder = os.path.dirname(path)
            if folder not in place_of:
                place_of[folder] = os.path.join(os.path.realpath(folder), "")
            place = place_of[folder]
            if os.path.islink(path):
                place = os.path.realpath(path)
            if not place.startswith(self._roots):
                raise ValueError(
                    f"{self.ann_file}: the image {path!r} is {place!r} through a link, "
                    "outside of the data root. If the link is yours, set "
                    "allow_outside=True of the data set."
                )

    def _count_classes(self) -> None:
        """Set what metainfo says of the training images; none is skipped yet."""
        self._skipped = _shared_flags(len(self))
        num_classes = len(self.CLASSES)
        if self.train_ann_file is not None:
            images = self._read_list(self.train_ann_file)
            labels = [image["gt_label"] for image in images]
            source = self.train_ann_file
        elif self.test_mode:
            return
        else:
            labels = [self.get_cat_ids(index) for index in range(len(self))]
            source = self.ann_file

        counts = [0] * num_classes
        for image_labels in labels:  # sorted and unique: an image counts once
            for label in image_labels:
                counts[label] += 1
        self._metainfo["class_counts"] = tuple(counts)
        self._metainfo["num_images"] = len(labels)
        self._metainfo["groups"] = frequency_groups(
            counts, self.head_threshold, self.tail_threshold
        )
        absent = [n for n, count in zip(self.CLASSES, counts, strict=True) if not count]
        if absent and not self.test_mode:
            print_log(
                f"Classes without any training image in {source} (n_c = 0): "
                f"{', '.join(absent)}. Nothing but their names can teach them.",
                logger="current",
                level=logging.WARNING,
            )

    def _record_skipped(self, idx: int, error: CorruptImageError) -> None:
        if self._skipped[idx]:
            return
        self._skipped[idx] = True
        print_log(
            f"Corrupt image skipped, training goes on without it: {error}",
            logger="current",
            level=logging.WARNING,
        )


def _check_prefix(data_prefix: str | dict) -> None:
    if isinstance(data_prefix, dict):
        folders = data_prefix.values()
        is_right = all(isinstance(folder, str | os.PathLike) for folder in folders)
        if "img_path" not in data_prefix or not is_right:
            raise ValueError(
                f"data_prefix={shown(data_prefix)}: expected a folder, or a dict with "
                "the key 'img_path' that holds folders."
            )


def _check_data_root(data_root: str) -> None:
    if data_root and not exists(data_root):
        raise FileNotFoundError(
            f"There is no data root {data_root}: set `data_root` to the folder that "
            "holds your lists and images. To build a model of a trained checkpoint "
            "without them, set the head's `classes` to the checkpoint's "
            "meta['dataset_meta']."
        )


def _official_list(name: str | None, data_root: str) -> str | None:
    """What ``tools/prepare_data.py`` wrote of an official list, else its name."""
    if name is not None:
        prepared = str(Path(name).with_suffix(".json"))
        if exists(_in_root(prepared, data_root)):
            return prepared
    return name


def _in_root(path: str | None, data_root: str) -> str | None:
    if path is None:
        return None
    path = expanduser(path)
    return path if is_abs(path) or not data_root else join_path(data_root, path)


def _shared_flags(length: int) -> torch.Tensor:
    """(length,) bool, False, in memory that worker processes share."""
    return torch.zeros(length, dtype=torch.bool).share_memory_()
