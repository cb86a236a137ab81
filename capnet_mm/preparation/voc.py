"""VOC-LT from PASCAL VOC's annotations and a long-tail list."""

from pathlib import Path
from xml.etree import ElementTree

from mmpretrain.datasets.categories import VOC2007_CATEGORIES

from capnet_mm.datasets.class_names import readable_name

from .id_lists import ListedImage, read_id_list
from .labelled_set import (
    LabelledSet,
    check_data_root,
    check_label_source,
    folder_source,
    merge_labels,
    source,
)

DIFFICULT = ("positive", "negative", "unknown")
_LABEL_OF = {name: label for label, name in enumerate(VOC2007_CATEGORIES)}
# Where lists are looked for: LMPT's name, then the DB-loss project's.
_TRAIN_LISTS = (
    "voc_lt_train.txt",
    "img_id.txt",
    "VOCdevkit/longtail2012/img_id.txt",
    "VOCdevkit/longtail2012/img_id.pkl",
)


def read_voc_annotation(path: str | Path) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Read the classes of one image of PASCAL VOC.

    Args:
        path (str | Path): ``Annotations/<id>.xml``.

    Returns:
        tuple[tuple[int, ...], tuple[int, ...]]: Sorted labels, in VOC's alphabetical
        order of 20 classes: those with an object that is not marked "difficult", and
        those with such objects only.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a VOC annotation; the message names file and line or
            object.

    Examples:
        >>> read_voc_annotation("VOCdevkit/VOC2007/Annotations/000001.xml")
        ((11, 14), ())
    """
    try:
        root = ElementTree.parse(path).getroot()
    except FileNotFoundError:
        raise FileNotFoundError(
            f"There is no annotation {path}: unpack VOC's Annotations, or give a list "
            "that has labels."
        ) from None
    except ElementTree.ParseError as error:
        line, column = error.position
        raise ValueError(
            f"{path}, line {line}, column {column}: not valid XML ({error})."
        ) from error
    if root.tag != "annotation":
        raise ValueError(
            f"{path}: the root element is <{root.tag}>, expected <annotation>."
        )
    easy, difficult = set(), set()
    # Direct children only: <part> has a <name> as well (head, hand, foot).
    for number, element in enumerate(root.findall("object"), start=1):
        name = (element.findtext("name") or "").strip()
        if name not in _LABEL_OF:
            raise ValueError(
                f"{path}, object {number}: <name> is {name!r}, which is none of VOC's "
                "20 classes."
            )
        flag = element.findtext("difficult", "0").strip()
        if flag not in ("0", "1"):
            raise ValueError(
                f"{path}, object {number} ({name}): <difficult> is {flag!r}, expected "
                "0 or 1."
            )
        (easy if flag == "0" else difficult).add(_LABEL_OF[name])
    return tuple(sorted(easy)), tuple(sorted(difficult - easy))


def read_voc_lt(
    data_root: str | Path,
    train_list: str | Path | None = None,
    test_list: str | Path | None = None,
    voc2012: str = "VOCdevkit/VOC2012",
    voc2007: str = "VOCdevkit/VOC2007",
    labels: str = "list",
    difficult: str = "positive",
) -> LabelledSet:
    """Read VOC-LT, or any other set of images of VOC2007 and VOC2012.

    Args:
        data_root (str | Path): Folder that ``VOCdevkit`` is in.
        train_list (str | Path, optional): List of the training images (see
            :func:`read_id_list`). Defaults to None: ``voc_lt_train.txt`` (LMPT's),
            ``img_id.txt`` or the DB-loss project's ``VOCdevkit/longtail2012`` in the
            data root.
        test_list (str | Path, optional): Defaults to None: ``voc_lt_test.txt``, else
            VOC2007's ``ImageSets/Main/test.txt``.
        voc2012 (str): Folder in the data root of the images whose ids have a year
            (2008_000023). Defaults to 'VOCdevkit/VOC2012'.
        voc2007 (str): The same for all others. Defaults to 'VOCdevkit/VOC2007'.
        labels (str): Whose labels are taken where both are there: 'list' or
            'annotations'. Defaults to 'list'.
        difficult (str): What a class is of which an image has "difficult" objects
            only: 'positive', 'negative' or 'unknown'; the latter two for labels from
            annotations. Defaults to 'positive', as in VOC-LT.

    Returns:
        LabelledSet: Splits 'train' and 'test'.

    Raises:
        FileNotFoundError: A list is missing, or the annotation of an image whose
            labels the list does not give.
        ValueError: A list or an annotation is wrong, or an option.
    """
    data_root = check_data_root(data_root)
    check_label_source(labels)
    if difficult not in DIFFICULT:
        raise ValueError(f"difficult={difficult!r} is unknown: expected {DIFFICULT}.")
    lists = {
        "train": _find_list(data_root, train_list, _TRAIN_LISTS),
        "test": _find_list(
            data_root,
            test_list,
            ("voc_lt_test.txt", f"{voc2007}/ImageSets/Main/test.txt"),
        ),
    }
    result = LabelledSet(
        name="voc_lt",
        classes=tuple(VOC2007_CATEGORIES),
        prompt_names=tuple(readable_name(name) for name in VOC2007_CATEGORIES),
        splits={},
        options={"labels": labels, "difficult": difficult},
    )
    read: dict[Path, list[Path]] = {}
    for split, path in lists.items():
        listed = read_id_list(path, len(VOC2007_CATEGORIES))
        result.sources.append(source(path, data_root))
        has_labels = listed[0].labels is not None
        if difficult != "positive" and has_labels and labels == "list":
            raise ValueError(
                f"difficult={difficult!r} has no effect on the labels that {path} "
                "gives: take those of the annotations (--labels annotations)."
            )
        paths, derived, unknown = [], [], {}
        for image in listed:
            year = voc2012 if "_" in image.image_id else voc2007
            paths.append(f"{year}/JPEGImages/{image.image_id}.jpg")
            folder = data_root / year / "Annotations"
            xml = folder / f"{image.image_id}.xml"
            classes = _derive(xml, image, labels)
            if classes is None:
                derived.append(None)
                continue
            read.setdefault(folder, []).append(xml)
            easy, hard = classes
            if difficult == "unknown":
                unknown[paths[-1]] = hard
            derived.append(tuple(sorted(easy + hard * (difficult == "positive"))))
        images, differences = merge_labels(
            split, paths, [image.labels for image in listed], derived, labels
        )
        result.splits[split] = [
            image._replace(unknown=unknown.get(image.path, ())) for image in images
        ]
        result.differences += differences
        unchecked = sum(each is None for each in derived)
        if unchecked:
            result.notes.append(
                f"{split}: {unchecked:,} of {len(listed):,} images have no annotation "
                "file here; their labels are the list's, unchecked."
            )
    result.sources += [
        folder_source(folder, files, data_root) for folder, files in read.items()
    ]
    return result


def _derive(
    xml: Path, image: ListedImage, labels: str
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    if image.labels is not None and labels == "list" and not xml.is_file():
        return None
    try:
        return read_voc_annotation(xml)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{image.place}: {error}") from None


def _find_list(
    data_root: Path, given: str | Path | None, names: tuple[str, ...]
) -> Path:
    """The list that was given (from the working folder), else the first there."""
    if given is not None:
        return Path(given).expanduser()
    for name in names:
        if (data_root / name).is_file():
            return data_root / name
    raise FileNotFoundError(
        f"None of the lists {', '.join(names)} is in {data_root}: give the list of "
        "images with --train-list / --test-list (LMPT's, or the DB-loss project's "
        "img_id.txt)."
    )
