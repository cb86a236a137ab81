"""Lists, tables, JSON and XML drawn at random: an error that names the file, or what an
independent reading finds; never an error from deep inside, never another label.

``HYPOTHESIS_SCALE=100`` draws a hundred times as many.
"""

import csv
import io
import json
import os
import posixpath
import re
import unicodedata
from pathlib import Path
from xml.sax.saxutils import escape

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine.logging import MMLogger

from capnet_mm.datasets.class_names import read_class_names
from capnet_mm.datasets.list_files import read_image_list, write_image_list
from capnet_mm.preparation import read_own_data
from capnet_mm.preparation.coco import read_coco_instances
from capnet_mm.preparation.id_lists import read_id_list
from capnet_mm.preparation.nus_wide import read_nus_wide
from capnet_mm.preparation.reading import SourceFiles
from capnet_mm.preparation.voc import read_voc_annotation

SCALE = int(os.environ.get("HYPOTHESIS_SCALE", 1))
CLASSES = ("dog", "cat", "dining table")
VOC_NAMES = ("aeroplane", "dog", "tvmonitor")  # numbers 0, 11 and 19


def cases(number):
    """How many are drawn; the same ones each time, unless there are more of them."""
    return settings(
        max_examples=number * SCALE,
        deadline=None,
        derandomize=SCALE == 1,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope="module", autouse=True)
def quiet():
    """Thousands of lines on renumbered lists are no help."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel("ERROR")
    yield
    logger.setLevel(level)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def outcome(read, path):
    """What is read, or None after an error that a user can do something with."""
    try:
        return read()
    except (ValueError, FileNotFoundError) as error:
        # Not a subclass: UnicodeDecodeError, JSONDecodeError and so on name no file.
        assert type(error) in (ValueError, FileNotFoundError), repr(error)
        message = str(error)
        assert Path(path).name in message, message
        assert message.replace("\n", "").isprintable() and len(message) < 2000
        return None


# Text that has bitten somebody: signs that Unicode counts as spaces, digits or ends of
# lines, marks, halves of characters, numbers without end, ways out of the folder.
PIECES = [
    *("a.jpg", "b/c.jpg", "./a.jpg", "d//e.png", "é.jpg", "猫.jpg", "dog", "cat"),
    *("dining table", "dining_table", "0", "1", "2", "3", "-1", "?0", "?1", "?", "??2"),
    *("007", "1_0", "1.0", "1e0", "٣", "²", "+1", "-0", "9" * 5000, "0" * 30),
    *(" ", "  ", "\t", "\n", "\n", "\n", "\r\n", "\r", "\n\n", ",", ";", '"', "'"),
    *("\ufeff", "\u3000", "\xa0", "\u2028", "\x85", "\x0b", "\x0c", "\x1c", "\x00"),
    *("\x1b[2J", "\u202e", "../", "/", "/etc/passwd", "http://x/", "s3://", "~", "."),
    *("{", "}", "[", "]", "<script>", "$x$", "{{$HOME:x}}", "%s", "x" * 5000, "\\"),
]
soup = st.lists(st.sampled_from(PIECES), max_size=8).map("".join)
# Mostly right, so that what is behind the first checks is reached.
LINES = [
    space.join([path, *labels]) + end
    for path in ("a.jpg", "b/c.jpg", "./b/c.jpg", "é .jpg", "f.png", "")
    for labels in ("", "0", "12", "20", "01", ("2", "?1"), ("1", "?1"), "3", "x")
    for space in (" ", "\t", "  ")
    for end in ("\n", "\r\n", "\r", "\n \n")
]
lines = st.lists(st.sampled_from(LINES), max_size=4).map("".join)
encodings = st.sampled_from(["utf-8"] * 8 + ["utf-8-sig", "utf-16", "latin-1"])


@st.composite
def contents(draw, text):
    """Bytes of a file."""
    content = draw(text).encode(draw(encodings), "replace")
    if draw(st.integers(0, 9)) == 0:  # flip a byte
        position = draw(st.integers(0, max(0, len(content) - 1)))
        content = content[:position] + draw(st.binary(max_size=2)) + content[position:]
    return content


def decoded(content):
    """Text with a line end of one kind, or None."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return re.sub("\r\n|\r", "\n", text.removeprefix("\ufeff"))


def is_plain(text):
    bad = ("Cc", "Cs", "Zl", "Zp")
    return not any(
        unicodedata.category(sign) in bad or sign in "\u202a\u202b\u202c\u202d\u202e"
        for sign in text
    )


def is_inside(path):
    steps = [step for step in path.split("/") if step not in ("", ".")]
    depth = 0
    for step in steps:
        depth += -1 if step == ".." else 1
        if depth < 0:
            return False
    is_absolute = path.startswith("/") or "://" in path
    return depth > 0 and not is_absolute and is_plain(path) and len(path) <= 4096


def independent_list(content):
    """What a text list says of each image by its documentation; None if it is wrong."""
    text = decoded(content)
    if text is None:
        return None
    found, seen = [], set()
    for line in text.split("\n"):
        if not line.strip():
            continue
        path, *words = [word for word in re.split(r"[ \t]", line) if word]
        labels = {"": set(), "?": set()}
        for word in words:
            mark, digits = ("?", word[1:]) if word[0] == "?" else ("", word)
            digits = digits.removeprefix("-") if digits.strip("-0") == "" else digits
            if not (digits.isascii() and digits.isdigit() and len(digits) < 19):
                return None
            if int(digits) > 2:
                return None
            labels[mark].add(int(digits))
        key = posixpath.normpath(path)
        if labels[""] & labels["?"] or not is_inside(path) or key in seen:
            return None
        seen.add(key)
        found.append((path, sorted(labels[""]), sorted(labels["?"])))
    return found or None


def as_found(images):
    return images and [
        (image["img_path"], image["gt_label"], image.get("gt_unknown", []))
        for image in images
    ]


@cases(2300)
@given(contents(soup | lines | lines))
def test_a_text_list_is_read_as_documented_or_refused(folder, content):
    path = folder / "list.txt"
    path.write_bytes(content)
    images = outcome(lambda: read_image_list(str(path), 3), path)
    assert as_found(images) == independent_list(content)


LEAVES = [None, True, False, 0, 1, 3, -1, 10**30, 0.0, 1e999, "0", "dog", "", *PIECES]
JUNK = [
    *LEAVES,
    *([leaf] for leaf in LEAVES),
    *({key: leaf} for key in ("img_path", "gt_label", "id", "x") for leaf in LEAVES),
    *([], {}, [[]], [{}], [0, 0], [2, 1, 0], dict(img_path="a.jpg", gt_label=[0])),
]
junk = st.sampled_from(JUNK)
paths = st.sampled_from(["a.jpg", "b/c.jpg", "./a.jpg", "d e.jpg", "猫.jpg"])
numbers = st.lists(st.integers(0, 2), max_size=3)


def mostly(strategy):
    return st.one_of(*[strategy] * 7, junk)


entries = st.fixed_dictionaries(
    dict(img_path=mostly(paths), gt_label=mostly(numbers)),
    optional=dict(gt_unknown=mostly(st.just([]) | numbers), width=junk),
)
metainfos = st.just({}) | st.fixed_dictionaries(
    {},
    optional=dict(
        classes=mostly(st.permutations(CLASSES)),
        categories=mostly(
            st.permutations(range(3)).map(
                lambda ids: [dict(id=i, category_name=CLASSES[i]) for i in ids]
            )
        ),
    ),
)
json_lists = mostly(
    st.fixed_dictionaries(
        dict(metainfo=mostly(metainfos), data_list=mostly(st.lists(mostly(entries))))
    )
)


def is_list_of(value, kind):
    return isinstance(value, list) and all(type(each) is kind for each in value)


def stated_order(metainfo):
    """Names that the labels are numbers of: None for none, False if wrong."""
    names = metainfo.get("classes")
    if "classes" not in metainfo and "categories" in metainfo:
        categories = metainfo["categories"]
        try:
            names = {entry["id"]: entry["category_name"] for entry in categories}
            is_right = all(type(entry["id"]) is int for entry in categories)
            names = [names[i] for i in range(len(categories))] if is_right else False
        except (TypeError, KeyError):
            return False
    if names is None or not names and is_list_of(names, str):
        return None
    return names if is_list_of(names, str) else False


def independent_json(content):
    """What a JSON list says of each image; None if it is wrong."""
    if not isinstance(content, dict):
        return None
    metainfo, data_list = content.get("metainfo"), content.get("data_list")
    if not isinstance(metainfo, dict) or not isinstance(data_list, list):
        return None
    names = stated_order(metainfo)
    if names is False or (names and sorted(names) != sorted(CLASSES)):
        return None
    number = {i: CLASSES.index(name) for i, name in enumerate(names or CLASSES)}
    found, seen = [], set()
    for entry in data_list:
        if not isinstance(entry, dict) or not isinstance(entry.get("img_path"), str):
            return None
        path, labels = entry["img_path"], entry.get("gt_label")
        unknown = entry.get("gt_unknown", [])
        if not is_list_of(labels, int) or not is_list_of(unknown, int):
            return None
        if not {*labels, *unknown} <= {0, 1, 2} or {*labels} & {*unknown}:
            return None
        key = posixpath.normpath(path)
        if not is_inside(path) or key in seen:
            return None
        seen.add(key)
        labels, unknown = (sorted({number[i] for i in e}) for e in (labels, unknown))
        found.append((path, labels, unknown))
    return found or None


@cases(2000)
@given(json_lists)
def test_a_json_list_is_read_as_documented_or_refused(folder, content):
    path = folder / "list.json"
    path.write_text(json.dumps(content))
    if "Infinity" in path.read_text():
        content = None  # Python writes it, though it is none of JSON's numbers
    images = outcome(lambda: read_image_list(str(path), 3, CLASSES), path)
    assert as_found(images) == independent_json(content)


json_pieces = st.lists(
    st.sampled_from(
        [*'{}[]:,"', "\\ud800", "\\u0000", "NaN", "-Infinity", "1e999", "9" * 5000]
        + ['"img_path"', '"gt_label"', '"data_list"', '"metainfo"', '"a.jpg"', "0", "1"]
        + ['{"metainfo": {}, "data_list": [', '{"img_path": "a.jpg", "gt_label": [0]']
        + ['"gt_label": [1]', "}]}", "[" * 5000, "null", "true", " "]
    ),
    max_size=8,
).map("".join)


@cases(800)
@given(contents(json_pieces | soup))
def test_what_is_hardly_json_is_refused(folder, content):
    path = folder / "list.json"
    path.write_bytes(content)
    images = outcome(lambda: read_image_list(str(path), 3, CLASSES), path)
    coco = outcome(lambda: read_coco_instances(path), path)
    assert coco is None
    if images is not None:  # then no key of it is there twice, so Python agrees
        assert as_found(images) == independent_json(json.loads(decoded(content)))


def independent_classes(content):
    text = decoded(content)
    if text is None or not text.strip():
        return None
    found = {}
    for line in text.rstrip().split("\n"):
        name, *prompt = [column.strip() for column in line.split("\t")]
        plain = all(map(is_plain, (name, *prompt)))
        short = all(len(each) <= 1000 for each in (name, *prompt))
        if not name or len(prompt) > 1 or prompt == [""] or name in found:
            return None
        if not plain or not short:
            return None
        found[name] = prompt[0] if prompt else " ".join(name.replace("_", " ").split())
    return tuple(found), tuple(found.values())


names = st.sampled_from(["dog", "cat", "dining_table\tdining table", "猫", "a b", "é"])
class_lines = st.lists(names | soup, max_size=4).map("\n".join)


@cases(1200)
@given(contents(class_lines))
def test_a_file_of_classes_is_read_as_documented_or_refused(folder, content):
    path = folder / "classes.txt"
    path.write_bytes(content)
    assert outcome(lambda: read_class_names(path), path) == independent_classes(content)


label_sets = st.lists(st.sampled_from(CLASSES), max_size=3)


@cases(500)
@given(
    st.lists(label_sets, min_size=1, max_size=4),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["csv", "tsv", "jsonl", "columns", "python"]),
)
def test_a_table_gives_the_labels_that_were_written(folder, rows, quoting, end, form):
    suffix = {"columns": "csv", "python": "csv"}.get(form, form)
    path, text = folder / f"table.{suffix}", io.StringIO()
    delimiter = "\t" if form == "tsv" else ","
    writer = csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator=end)
    if form == "columns":
        writer.writerow(["image", *CLASSES])
    elif form != "jsonl":
        writer.writerow(["image", "tags"])
    for number, tags in enumerate(rows):
        cells = [f"{number} ,.jpg"]
        if form == "jsonl":
            text.write(json.dumps(dict(path=cells[0], labels=tags)) + end)
            continue
        if form == "columns":
            cells += [int(name in tags) for name in CLASSES]
        else:
            cells.append(str(tags) if form == "python" else " ; ".join(tags))
        writer.writerow(cells)
    path.write_bytes(text.getvalue().encode())
    classes = None if form == "columns" else CLASSES
    found = read_own_data(folder, path, classes=classes).splits["train"]
    assert [image.path for image in found] == [f"{i} ,.jpg" for i in range(len(rows))]
    assert [image.labels for image in found] == [
        tuple(sorted({CLASSES.index(name) for name in tags})) for tags in rows
    ]


table_soup = st.builds(
    lambda head, rows: "\n".join([head, *rows]),
    st.sampled_from(["image,tags", "image,dog,cat", "path", "a,a", ""]) | soup,
    st.lists(
        st.sampled_from(["a.jpg,dog", "b.jpg,dog;cat", "c.jpg,1,0", "d.jpg,-1,2"])
        | st.sampled_from(["e.jpg,\"['dog']\"", 'f.jpg,"[', 'g.jpg,"' + "[" * 5000])
        | st.sampled_from(['{"path": "a.jpg", "labels": ["dog"]}', '{"path": 1}'])
        | soup,
        max_size=4,
    ),
)


@cases(1000)
@given(contents(table_soup), st.sampled_from(["csv", "tsv", "jsonl", "nus", "list"]))
def test_tables_are_read_or_refused(folder, content, form):
    path = folder / f"table.{form}"
    path.write_bytes(content)
    if form in ("nus", "list"):
        lists = dict(table=path) if form == "nus" else {}
        lists = lists or dict(train_list=path, test_list=path)
        found = outcome(lambda: read_nus_wide(folder, **lists), path)
    else:
        found = outcome(lambda: read_own_data(folder, path), path)
    if found is None:
        return
    for image in (image for split in found.splits.values() for image in split):
        assert is_inside(image.path)
        assert {*image.labels, *image.unknown} <= set(range(len(found.classes)))
        assert not {*image.labels} & {*image.unknown}
    assert all(name.strip() and is_plain(name) for name in found.classes)


id_lines = st.lists(
    st.sampled_from(
        ["2008_000023", "000012", "a/2008_1.jpg 3 0", "b/1.jpg", "x.jpg 20"]
    )
    | soup,
    max_size=3,
).map("\n".join)


@cases(600)
@given(contents(id_lines))
def test_lists_of_ids_are_read_or_refused(folder, content):
    path = folder / "ids.txt"
    path.write_bytes(content)
    found = outcome(lambda: read_id_list(SourceFiles(folder), path, 20), path)
    for image in found or ():
        assert set(image.labels or ()) <= set(range(20))
        assert is_plain(image.image_id) and "/" not in image.image_id


voc_objects = st.lists(
    st.tuples(
        st.sampled_from(VOC_NAMES) | soup.map(lambda text: text[:300]),
        st.sampled_from(["0", "1", "", None, " 0 ", "2", "x"]),
    ),
    max_size=3,
)
xml_heads = st.sampled_from(
    ["", "", '<?xml version="1.0"?>', '<?xml version="1.0" encoding="latin-1"?>']
    + ['<?xml version="1.0" encoding="nope"?>', "<!DOCTYPE a>", "<!-- a -->"]
    + ['<?xml version="1.0" encoding="utf-7"?>', '<!DOCTYPE a [<!ENTITY d "dog">]>']
)


def is_xml(text):
    """Characters that XML 1.0 may hold."""
    return all(c in "\t\n\r" or " " <= c <= "\ud7ff" or c >= "\ue000" for c in text)


@cases(800)
@given(xml_heads, voc_objects)
def test_an_annotation_of_voc_is_read_as_written_or_refused(folder, head, objects):
    path = folder / "a.xml"
    body = "".join(
        f"<object><name>{escape(name)}</name>"
        + ("" if flag is None else f"<difficult>{flag}</difficult>")
        + "<part><name>head</name></part></object>"
        for name, flag in objects
    )
    path.write_text(f"{head}<annotation>{body}</annotation>", encoding="utf-8")
    found = outcome(lambda: read_voc_annotation(path), path)
    objects = [(name.strip(), (flag or "0").strip() if flag != "" else "bad")
               for name, flag in objects]  # fmt: skip
    is_right = (
        "DOCTYPE" not in head
        and "nope" not in head
        and "utf-7" not in head
        and is_xml(body)
        and all(name in VOC_NAMES and flag in ("0", "1") for name, flag in objects)
    )
    if not is_right:
        assert found is None
        return
    number = dict(zip(VOC_NAMES, (0, 11, 19), strict=True))
    easy = {number[name] for name, flag in objects if flag == "0"}
    hard = {number[name] for name, flag in objects if flag == "1"} - easy
    assert found == (tuple(sorted(easy)), tuple(sorted(hard)))


coco_images = st.fixed_dictionaries(
    dict(id=mostly(st.integers(1, 3)), file_name=mostly(paths))
)
coco_objects = st.fixed_dictionaries(
    dict(
        image_id=mostly(st.integers(1, 3)),
        category_id=mostly(st.sampled_from([1, 18])),
        bbox=mostly(st.just([0, 0, 5.5, 7])),
        area=mostly(st.sampled_from([1, 9.5, 0])),
    ),
    optional=dict(ignore=st.sampled_from([0, 1])),
)
coco_files = st.fixed_dictionaries(
    dict(
        images=mostly(st.lists(mostly(coco_images), max_size=3)),
        annotations=mostly(st.lists(mostly(coco_objects), max_size=3)),
        categories=st.just([dict(id=1, name="person"), dict(id=18, name="dog")]),
    )
)


@cases(700)
@given(coco_files)
def test_annotations_of_coco_are_read_as_written_or_refused(folder, content):
    path = folder / "instances.json"
    path.write_text(json.dumps(content))
    found = outcome(lambda: read_coco_instances(path), path)
    if found is None:
        return
    number = {1: 0, 18: 16}
    expected = {image["id"]: set() for image in content["images"]}
    for each in content["annotations"]:
        if each["area"] > 0 and not each.get("ignore"):
            expected[each["image_id"]].add(number[each["category_id"]])
    assert found.labels == {i: tuple(sorted(each)) for i, each in expected.items()}
    assert list(found.file_names) == [image["id"] for image in content["images"]]
    assert all(map(is_inside, found.file_names.values()))


@cases(300)
@given(
    st.dictionaries(
        paths | soup.map(lambda text: text[:100]),
        st.tuples(numbers, numbers),
        min_size=1,
        max_size=3,
    ),
    st.sampled_from(["w.txt", "w.json"]),
)
def test_what_is_written_is_read_back_or_not_written(folder, images, name):
    listed = []
    for path, (labels, unknown) in images.items():
        unknown = sorted({*unknown} - {*labels})
        labels = sorted({*labels})
        listed.append(dict(img_path=path, gt_label=labels, gt_unknown=unknown))
    path = folder / name
    path.unlink(missing_ok=True)
    is_right = all(is_inside(image["img_path"]) for image in listed)
    keys = [posixpath.normpath(image["img_path"]) for image in listed]
    try:
        write_image_list(path, listed)
    except (ValueError, TypeError) as error:
        assert type(error) is ValueError and not path.exists()
        return
    found = outcome(lambda: read_image_list(str(path), 3), path)
    expected = [(i["img_path"], i["gt_label"], i["gt_unknown"]) for i in listed]
    if found is not None:
        assert as_found(found) == expected
    else:
        assert not is_right or len(set(keys)) < len(keys)
