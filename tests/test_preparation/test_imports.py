"""Which way imports run."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "capnet_mm"


def imported(path):
    """Full names of all that a file imports, also inside functions."""
    package = (PACKAGE.name, *path.relative_to(PACKAGE).parent.parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *filter(None, [node.module])))
            yield from (f"{module}.{alias.name}" for alias in node.names)


def test_nothing_in_the_package_imports_preparation():
    files = [
        path
        for path in PACKAGE.rglob("*.py")
        if path.relative_to(PACKAGE).parts[0] != "preparation"
    ]
    names = {name for path in files for name in imported(path)}
    assert "capnet_mm.datasets.list_files.replace_files" in names  # they are read
    assert not [n for n in names if n.startswith("capnet_mm.") and ".preparation" in n]
