"""Records on disk: found by contents, whole or not at all, one writer at a time."""

import os
import pickle
import threading

import numpy as np
import pytest

from capnet_mm.datasets import feature_store
from capnet_mm.datasets.feature_store import FeatureStore, digest, key_name


@pytest.fixture
def images(tmp_path):
    """Files of three images."""
    folder = tmp_path / "images"
    folder.mkdir()
    paths = [folder / f"{index}.jpg" for index in range(3)]
    for index, path in enumerate(paths):
        path.write_bytes(bytes([index]) * 10)
    return [str(path) for path in paths]


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path)


def open_store(tmp_path, name="key"):
    store = FeatureStore(tmp_path / "cache", name)
    store.folder.mkdir(parents=True, exist_ok=True)
    return store


def record(path, view):
    """What the tests keep of an image: its first byte and the view."""
    with open(path, "rb") as file:
        return np.array([file.read(1)[0], view, 9], dtype=np.uint8)


def fill(store, paths):
    """Keep two views of each image that is missing; return these images."""
    missing = store.missing(paths)
    if missing:
        records = [[record(p, 0), record(p, 1)] for p in missing.values()]
        store.add(list(missing), np.array(records))
    return sorted(missing.values())


def test_each_view_of_each_image_is_found(store, images, tmp_path):
    assert fill(store, images[:2]) == images[:2]
    assert fill(store, images) == images[2:]  # a second file beside the first
    for opened in (store, open_store(tmp_path), pickle.loads(pickle.dumps(store))):
        for path in images:
            for view in range(2):
                np.testing.assert_array_equal(
                    opened.get(path, view), record(path, view)
                )
    assert store.get("elsewhere.jpg", 0) is None
    assert len(pickle.dumps(store)) < 500  # a worker gets no records


def test_a_changed_image_alone_is_missing(store, images):
    fill(store, images)
    with open(images[1], "wb") as file:
        file.write(bytes([7]) * 10)  # as long as before
    assert fill(store, images) == [images[1]]
    assert store.get(images[1], 0)[0] == 7
    assert store.get(images[0], 0)[0] == 0


def test_images_are_known_by_contents_wherever_they_lie(store, images, tmp_path):
    fill(store, images)
    moved = str(tmp_path / "moved.jpg")
    os.rename(images[0], moved)
    os.utime(images[1])  # touched, not changed
    assert fill(store, [moved, images[1]]) == []
    assert store.get(moved, 1)[0] == 0


def test_unchanged_files_are_not_read_again(store, images, monkeypatch):
    fill(store, images)
    monkeypatch.setattr(feature_store, "get", lambda path: pytest.fail(f"read {path}"))
    assert store.missing(images) == {}


def test_what_was_interrupted_is_not_there_and_the_rest_is(store, images, tmp_path):
    fill(store, images[:2])
    (half,) = store.folder.glob("*.npy")
    (store.folder / "orphan.npy").write_bytes(half.read_bytes())  # no .json yet
    (store.folder / ".part.npy.xy.tmp").write_bytes(b"half")
    assert fill(open_store(tmp_path), images) == images[2:]
    assert not list(store.folder.glob(".*.tmp"))


def test_a_file_cut_short_is_computed_anew(store, images, tmp_path):
    fill(store, images)
    (file,) = store.folder.glob("*.npy")
    file.write_bytes(file.read_bytes()[:-4])
    again = open_store(tmp_path)
    assert fill(again, images) == images
    assert again.get(images[2], 1)[0] == 2


def test_altered_bytes_are_noticed_and_the_file_is_named(store, images, tmp_path):
    fill(store, images)
    (file,) = store.folder.glob("*.npy")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    damaged = open_store(tmp_path)
    damaged.get(images[0], 0)
    with pytest.raises(ValueError, match=f"{file.name}.* is damaged: delete"):
        damaged.get(images[2], 1)
    file.unlink()
    assert fill(open_store(tmp_path), images) == images


def test_one_process_writes_while_another_waits(store, tmp_path):
    waits, entered = threading.Event(), threading.Event()

    def other():
        with open_store(tmp_path, "other key").locked(waits.set):
            entered.set()

    thread = threading.Thread(target=other)
    with store.locked(lambda: pytest.fail("nobody else is there")):
        thread.start()
        assert waits.wait(10)
        assert not entered.is_set()
    thread.join(10)
    assert entered.is_set()


def test_names_tell_keys_and_contents_apart():
    assert key_name(dict(a=1, b=2)) == key_name(dict(b=2, a=1)) != key_name(dict(a=1))
    assert len({digest(b""), digest(b"a"), digest(b"b")}) == 3


def test_what_the_writer_says_is_kept(store, tmp_path):
    assert store.about == {}
    store.describe(dict(layout=[1, 2]))
    assert open_store(tmp_path).about == dict(layout=[1, 2])
    assert store.free_bytes > 0
