"""Lists of images by id."""

import pickle

import pytest

from capnet_mm.preparation.id_lists import read_id_list
from capnet_mm.preparation.reading import SourceFiles


def read(path):
    return read_id_list(SourceFiles(path.parent), path, num_classes=20)


def test_a_pkl_that_is_text_is_a_list(tmp_path):
    (tmp_path / "img_id.pkl").write_text("2008_000023\n")
    (image,) = read(tmp_path / "img_id.pkl")
    assert (image.image_id, image.labels) == ("2008_000023", None)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_real_pickle_is_refused_and_never_loaded(tmp_path, protocol):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("the pickle was loaded",))

    for content in (["2008_000023"], {"a": 1}, Bomb()):
        (tmp_path / "img_id.pkl").write_bytes(pickle.dumps(content, protocol))
        with pytest.raises(ValueError, match="img_id.pkl is a Python pickle"):
            read(tmp_path / "img_id.pkl")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "img_id.txt is empty"),
        (
            "2008_000023\n\n2008_000023\n",
            "line 3: image '2008_000023' is .*line 1",
        ),
        (
            "2008_000023\nx/2008_000028.jpg 5\n",
            "line 1: an id alone, in a list of paths",
        ),
        ("2008_000023 -1\n", "line 1: .* an id with further columns"),
        ("x/2008_000023.jpg 20\n", "line 1: label '20' is not a whole number from 0"),
        ("x/2008_000023.jpg 1_0\n", "line 1: label '1_0' is not"),
        ("x/2008_000023.jpg -1\n", "line 1: label '-1' is not"),
        ("a/b 3\n", "line 1: expected an image id"),
    ],
)
def test_wrong_line_of_a_list_is_named(tmp_path, text, message):
    (tmp_path / "img_id.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "img_id.txt")


def test_one_class_of_an_image_set_is_no_list(tmp_path):
    (tmp_path / "cow_test.txt").write_text("000001 -1\n000002  0\n")
    with pytest.raises(ValueError, match="cow_test.txt, line 1: .*further columns"):
        read(tmp_path / "cow_test.txt")


def test_both_forms_give_ids_and_the_labels_that_they_have(tmp_path):
    (tmp_path / "ids.txt").write_text("\ufeff2008_000023\n\n000002\n", "utf-8")
    assert [image[:2] for image in read(tmp_path / "ids.txt")] == [
        ("2008_000023", None),
        ("000002", None),
    ]
    (tmp_path / "lmpt.txt").write_text("a\\b\\2008_000023.jpg 14 4 14\nx/1.jpg\n")
    assert [tuple(image) for image in read(tmp_path / "lmpt.txt")] == [
        ("2008_000023", (4, 14), f"{tmp_path / 'lmpt.txt'}, line 1"),
        ("1", (), f"{tmp_path / 'lmpt.txt'}, line 2"),
    ]
