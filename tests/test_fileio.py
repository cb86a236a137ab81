"""Files are written whole, all or none of them."""

import os
import stat

import pytest

from capnet_mm.fileio import replace_files


def test_files_have_the_new_content_and_nothing_is_left_beside_them(tmp_path):
    old, new = tmp_path / "old.txt", tmp_path / "new.bin"
    old.write_text("before")
    replace_files({old: b"after", new: bytes(range(256))})
    assert old.read_bytes() == b"after"
    assert new.read_bytes() == bytes(range(256))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.bin", "old.txt"]


def test_others_may_read_a_file_as_far_as_the_umask_lets_them(tmp_path):
    before = os.umask(0o027)
    try:
        replace_files({tmp_path / "a": b""})
        (tmp_path / "ordinary").touch()
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / n).stat().st_mode) for n in ("a", "ordinary")]
    assert modes == [0o640, 0o640]


def test_a_failure_at_the_last_file_leaves_the_old_content_of_the_first(tmp_path):
    first = tmp_path / "first.txt"
    first.write_text("before")
    with pytest.raises(FileNotFoundError):
        replace_files({first: b"after", tmp_path / "nowhere" / "second.txt": b""})
    assert first.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["first.txt"]
