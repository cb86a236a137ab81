"""Reading lists of images, and the record of what was read."""

import hashlib
from typing import NamedTuple

import pytest

from capnet_mm import preparation
from capnet_mm.preparation.reading import SourceFiles, check_choice, clean_path


class Image(NamedTuple):
    path: str
    place: str


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def test_sources_are_named_by_their_hash(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    table = tmp_path / "elsewhere" / "t.csv"
    table.write_bytes(b"image,tags\na.jpg,cat\n")
    (tmp_path / "root").mkdir()
    found = preparation.read_own_data(tmp_path / "root", table)
    expected = hashlib.sha256(b"image,tags\na.jpg,cat\n").hexdigest()
    assert found.sources == [dict(path="t.csv", sha256=expected)]
    found = preparation.read_own_data(tmp_path, table)
    assert found.sources == [dict(path="elsewhere/t.csv", sha256=expected)]


def test_a_folder_is_named_by_one_hash_of_names_and_hashes(tmp_path):
    files = SourceFiles(tmp_path)
    for name in ("b.txt", "a.txt", "x.txt"):
        (tmp_path / name).write_text(name)
    files.record(tmp_path, [tmp_path / name for name in ("b.txt", "a.txt", "b.txt")])
    lines = "".join(f"{name}\0{sha256(name.encode())}\n" for name in ("a.txt", "b.txt"))
    expected = dict(path=".", files=2, sha256=sha256(lines.encode()))
    assert files.records == [expected]


def test_lines_are_numbered_as_in_the_file(tmp_path):
    files, path = SourceFiles(tmp_path), tmp_path / "list.txt"
    path.write_bytes("\ufeffa\r\n \r\nb\u3000c\r\n\r\n".encode())
    images = files.read_images(path, "", Image)
    assert [place.rpartition(", ")[2] for _, place in images] == ["line 1", "line 3"]
    assert [image.path for image in images] == ["a", "b\u3000c"]
    images = files.read_images(path, "", Image, blank=True)
    assert [image.path.strip() for image in images[:2]] == ["a", ""]
    assert (
        files.records == [dict(path="list.txt", sha256=sha256(path.read_bytes()))] * 2
    )


@pytest.mark.parametrize("sign", ["\u2028", "\x85", "\x0c", "\x1c", "\x1b[2J"])
def test_signs_that_only_look_like_the_end_of_a_line_are_refused(sign, tmp_path):
    files, path = SourceFiles(tmp_path), tmp_path / "list.txt"
    path.write_bytes(f"a\nb{sign}c\n".encode())
    with pytest.raises(ValueError, match=r"list.txt, line 2: the path .* control"):
        files.read_images(path, "", Image)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.jpg\n\n./a.jpg\n", r"list.txt, line 3: image './a.jpg' .* line 1; give"),
        ("", "list.txt is empty: it names no image"),
        ("\n \n", "list.txt is empty"),
    ],
)
def test_a_list_names_each_of_its_images_once(tmp_path, text, message):
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        SourceFiles(tmp_path).read_images(tmp_path / "list.txt", "", Image)


def test_what_is_missing_is_named_with_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="no data root .*nowhere: give"):
        SourceFiles(tmp_path / "nowhere")
    files = SourceFiles(tmp_path)
    with pytest.raises(FileNotFoundError, match="None of the lists a.txt, b.txt is in"):
        files.find_list(["a.txt", "b.txt"], None)
    with pytest.raises(FileNotFoundError, match="no image list .*a.txt: unpack it"):
        files.read_images(tmp_path / "a.txt", "unpack it.", Image)
    (tmp_path / "b.txt").write_bytes(b"\xff")
    assert files.find_list(["a.txt", "b.txt"], None) == tmp_path / "b.txt"
    with pytest.raises(ValueError, match="image list .*b.txt is not UTF-8"):
        files.read_images(tmp_path / "b.txt", "", Image)


def test_an_unknown_choice_is_named_with_those_that_there_are():
    check_choice("labels", "list", ("list", "annotations"))
    with pytest.raises(ValueError, match="labels='lists' is unknown: .*'annotations'"):
        check_choice("labels", "lists", ("list", "annotations"))


def test_paths_get_forward_slashes():
    assert clean_path("a\\b.jpg") == clean_path("./a//b.jpg") == "a/b.jpg"
    assert clean_path("") == ""
