from pathlib import Path

import pytest
from mmengine.config import Config

from capnet_mm.comparison.grid import read_grid, write_configs

BASE = "model = dict(head=dict(pooling=1, loss=dict(type='A', gamma=2)), thr=0)\n"


@pytest.fixture
def write(tmp_path):
    def write(text):
        (tmp_path / "base.py").write_text(BASE)
        (tmp_path / "other.py").write_text("_base_ = 'base.py'\nmodel = dict(thr=1)\n")
        path = tmp_path / "grid.py"
        path.write_text(text)
        return path

    return write


AXES = """
configs = {'': 'base.py', 'other': 'other.py'}
axes = [
    {'global': {}, 'local': {'model.head.pooling': None}},
    {'': {}, 'B': {'model.head': dict(loss=dict(_delete_=True, type='B'))}},
]
reference = 'local, B'
"""


def test_rows_are_all_combinations_of_configs_and_overrides(write, tmp_path):
    grid = read_grid(write(AXES))
    assert list(grid.rows) == [
        *("global", "global, B", "local", "local, B"),
        *("other, global", "other, global, B", "other, local", "other, local, B"),
    ]
    assert grid.reference == "local, B" and not grid.tta
    files = write_configs(grid, tmp_path / "out" / "configs")
    assert len(set(files.values())) == 8
    plain = Config.fromfile(files["global"]).model
    assert plain == dict(head=dict(pooling=1, loss=dict(type="A", gamma=2)), thr=0)
    last = Config.fromfile(files["other, local, B"]).model
    assert last == dict(head=dict(pooling=None, loss=dict(type="B")), thr=1)
    assert Path(files["other, local, B"]).name == "other_local_B.py"


@pytest.mark.parametrize(
    "text, message",
    [
        ("axes = []", "has no rows"),
        ("configs = {'a': 'base.py'}\nreference = 'b'", "none of the rows"),
        ("configs = {'a': 'base.py'}\naxes = [{'': {}}, {'': {}}]", None),
        (
            "configs = {'a': 'base.py', 'a, b': 'base.py'}\naxes = [{'': {}, 'b': {}}]",
            "same label, a, b",
        ),
        ("configs = {'a b': 'base.py', 'a_b': 'base.py'}", "same file name, a_b.py"),
    ],
)
def test_names_must_be_there_known_and_unique(write, tmp_path, text, message):
    path = write(text)
    if message is None:
        assert list(read_grid(path).rows) == ["a"]
        return
    with pytest.raises(ValueError, match=message):
        write_configs(read_grid(path), tmp_path / "configs")


def test_files_that_are_missing_are_named(write, tmp_path):
    with pytest.raises(FileNotFoundError, match="no grid file"):
        read_grid(tmp_path / "nowhere.py")
    with pytest.raises(FileNotFoundError, match="names gone.py: there is no"):
        read_grid(write("configs = {'a': 'gone.py'}"))
