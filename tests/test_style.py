import ast
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=" ".join)
def test_code_keeps_the_style_of_pyproject(command):
    beside = shutil.which("ruff", path=str(Path(sys.executable).parent))
    ruff = beside or shutil.which("ruff")
    assert ruff, 'ruff is missing: pip install -c constraints.txt -e ".[test]"'
    done = subprocess.run(
        [ruff, *command, "."], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def lengths_of_functions():
    """Lines of every function, docstring included, longest first, with its name."""
    lengths = [
        (node.end_lineno - node.lineno + 1, f"{path.name}: {node.name}")
        for folder in ("capnet_mm", "tools")
        for path in (REPOSITORY / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return sorted(lengths, reverse=True)


def test_functions_fit_on_a_screen():
    lengths = lengths_of_functions()
    assert [each for each in lengths if each[0] > 60] == []
    assert lengths[len(lengths) // 20][0] <= 40  # the 95th percentile


def test_a_class_name_means_one_thing():
    names = Counter(
        node.name
        for path in (REPOSITORY / "capnet_mm").rglob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in names.items() if count > 1] == []
