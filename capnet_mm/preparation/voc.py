"""VOC-LT from PASCAL VOC's annotations and a long-tail list."""

from pathlib import Path
from xml.etree import ElementTree

from capnet_mm.datasets.voc_lt import VOCLT
from capnet_mm.plain_text import shown

from .id_lists import read_id_list
from .labelled_set import LABEL_SOURCES, LabelledImage, LabelledSet, Labels
from .reading import SourceFiles, check_choice

_DB_LOSS = "VOCdevkit/longtail2012/img_id"
_TRAIN_LISTS = ["voc_lt_train.txt", "img_id.txt", f"{_DB_LOSS}.txt", f"{_DB_LOSS}.pkl"]
_DIFFICULT = ("positive", "negative", "unknown")
_LABEL_OF = {name: label for label, name in enumerate(VOCLT.METAINFO["classes"])}


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
        train_list (str | Path, optional): List of the training images, in a form of
            :mod:`.id_lists`. Defaults to LMPT's or the DB-loss project's file.
        test_list (str | Path, optional): List of the test images. Defaults to
            ``voc_lt_test.txt``, else VOC2007's ``ImageSets/Main/test.txt``.
        voc2012 (str): Folder of the images whose ids have a year (2008_000023).
        voc2007 (str): Folder of all other images.
        labels (str): Whose labels are taken where both are there: 'list' (default)
            or 'annotations'. Images without either are refused.
        difficult (str): What a class is of which an image has "difficult" objects
            only: 'positive' (default, as in VOC-LT), or of labels from annotations
            also 'negative' or 'unknown'.
    """
    files = SourceFiles(data_root)
    check_choice("labels", labels, LABEL_SOURCES)
    check_choice("difficult", difficult, _DIFFICULT)
    test_lists = ("voc_lt_test.txt", f"{voc2007}/ImageSets/Main/test.txt")
    lists = {
        "train": files.find_list(_TRAIN_LISTS, train_list),
        "test": files.find_list(test_lists, test_list),
    }
    options = {"labels": labels, "difficult": difficult}
    result = files.start_set("voc_lt", VOCLT.METAINFO, **options)
    xmls = []
    for split, path in lists.items():
        xmls += _read_split(result, files, split, path, (voc2012, voc2007))
    for folder in dict.fromkeys(xml.parent for xml in xmls):
        files.record(folder, [xml for xml in xmls if xml.parent == folder])
    return result


class _TreeWithoutEntities(ElementTree.TreeBuilder):
    """Refuses a document type before anything of it is read.

    VOC's files have none. It is where entities are declared, which a few lines of can
    grow to gigabytes, or name other files.
    """

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError("it has a <!DOCTYPE>, which no annotation of VOC's has")


def read_voc_annotation(path: str | Path) -> tuple[Labels, Labels]:
    """Read the classes of one image of PASCAL VOC, ``Annotations/<id>.xml``.

    Returns labels, in VOC's alphabetical order of 20 classes, with an object that is
    not marked "difficult"; and those with such objects only. Errors name file and line
    or object.
    """
    try:
        parser = ElementTree.XMLParser(target=_TreeWithoutEntities())
        root = ElementTree.parse(path, parser).getroot()
    except FileNotFoundError:
        raise FileNotFoundError(
            f"There is no annotation {path}: unpack VOC's Annotations, or give a list "
            "that has labels."
        ) from None
    except ElementTree.ParseError as error:
        place = "line {}, column {}".format(*error.position)
        raise ValueError(f"{path}, {place}: not valid XML ({error}).") from error
    except (LookupError, ValueError) as error:  # the encoding that it states
        raise ValueError(f"{path} cannot be read: {error}.") from error
    if root.tag != "annotation":
        raise ValueError(f"{path}: the root element is <{root.tag}>, not <annotation>.")
    found: dict[str, set[int]] = {"0": set(), "1": set()}  # by the mark "difficult"
    # Direct children only: <part> has a <name> as well (head, hand, foot).
    for number, element in enumerate(root.findall("object"), start=1):
        place = f"{path}, object {number}"
        name = (element.findtext("name") or "").strip()
        flag = element.findtext("difficult", "0").strip()
        if name not in _LABEL_OF:
            known = "none of VOC's 20 classes"
            raise ValueError(f"{place}: <name> is {shown(name)}, {known}.")
        if flag not in found:
            found_flag = f"<difficult> is {shown(flag)}, not 0 or 1"
            raise ValueError(f"{place} ({name}): {found_flag}.")
        found[flag].add(_LABEL_OF[name])
    return tuple(sorted(found["0"])), tuple(sorted(found["1"] - found["0"]))


def _read_split(
    result: LabelledSet, files: SourceFiles, split: str, list_path: Path, years: tuple
) -> list[Path]:
    """Add the images of a list; returns the annotations that were read."""
    labels, difficult = result.options["labels"], result.options["difficult"]
    listed = read_id_list(files, list_path, len(_LABEL_OF))
    if difficult != "positive" and listed[0].labels is not None and labels == "list":
        raise ValueError(
            f"difficult={difficult!r} has no effect on the labels that {list_path} "
            "gives: take those of the annotations (--labels annotations)."
        )
    xmls = []
    for image in listed:
        year = years[0] if "_" in image.image_id else years[1]
        xml = files.root / year / "Annotations" / f"{image.image_id}.xml"
        derived, unknown = None, ()
        if image.labels is None or labels == "annotations" or xml.is_file():
            try:
                easy, hard = read_voc_annotation(xml)
            except FileNotFoundError as error:
                raise FileNotFoundError(f"{image.place}: {error}") from None
            derived = tuple(sorted(easy + hard)) if difficult == "positive" else easy
            unknown = hard if difficult == "unknown" else ()
            xmls.append(xml)
        path = f"{year}/JPEGImages/{image.image_id}.jpg"
        result.add(split, LabelledImage(path, image.labels, unknown), derived)
    if len(xmls) < len(listed):
        result.notes.append(
            f"{split}: {len(listed) - len(xmls):,} of {len(listed):,} images have no "
            "annotation file here; their labels are the list's, unchecked."
        )
    return xmls
