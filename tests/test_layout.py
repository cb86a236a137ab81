"""The layout's rules: where modules lie, what they import, that each has its tests."""

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = REPOSITORY / "capnet_mm"
BENCHMARKS = REPOSITORY / "tools" / "benchmarks"
TESTS = REPOSITORY / "tests"
ROOMS = sorted(
    path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()
)
# At the bottom: tables, whole files and checkpoints may be used by everybody.
BOTTOM = {"arguments", "checkpoint", "compat", "fileio", "plain_text", "tables"}
# What a room may import of the others, lazily too.
MAY_IMPORT = {
    "evaluation": set(),
    "models": set(),
    "datasets": {"evaluation"},
    "engine": {"models", "datasets", "evaluation", "visualization"},
    "visualization": {"evaluation"},
    "preparation": {"datasets", "evaluation"},
    "cli": {"apis", "engine", "models", "datasets", "evaluation", "visualization"},
    "apis": {"models", "datasets", "evaluation", "visualization"},
    "comparison": {"cli", "visualization", "evaluation"},
}


def imports(path: Path) -> set[str]:
    """Rooms and modules of the package that a file imports, at any depth."""
    package = ("capnet_mm", *path.relative_to(PACKAGE).parts[:-1])
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            base = [*start, *(node.module or "").split(".")]
            base = [part for part in base if part]
            names = [[*base, alias.name] for alias in node.names]
        found |= {name[1] for name in names if name[0] == "capnet_mm" and name[1:]}
    return found


def modules():
    return [
        path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "__init__.py"
    ]


def test_every_room_is_known():
    assert set(ROOMS) <= set(MAY_IMPORT)


def file_of_tests(module: Path) -> Path:
    """Where the tests of a module stand."""
    if module.is_relative_to(BENCHMARKS):
        return TESTS / "test_benchmarks" / f"test_{module.name}"
    folders = module.relative_to(PACKAGE).parts[:-1]
    room = [f"test_{folders[0]}"] if folders else []
    return TESTS.joinpath(*room, f"test_{module.name}")


def names_in(tree: ast.AST) -> set[str]:
    """Identifiers that code imports, calls or passes as a string."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.name.rpartition(".")[2] for alias in node.names}
            found |= set((getattr(node, "module", None) or "").split("."))
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
    return found


def public_names(module: Path) -> set[str]:
    """What a module defines for others."""
    names = set()
    for node in ast.parse(module.read_text()).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {t.id for t in node.targets if isinstance(t, ast.Name)}
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize(
    "module",
    [*modules(), *sorted(BENCHMARKS.glob("[a-z]*.py"))],
    ids=lambda path: path.relative_to(REPOSITORY).as_posix(),
)
def test_every_module_has_a_file_of_tests_that_uses_it(module):
    file = file_of_tests(module)
    assert file.exists(), f"{file.relative_to(REPOSITORY)} is missing"
    tree = ast.parse(file.read_text())
    assert names_in(tree) & {module.stem, *public_names(module)}
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert [function for function in functions if function.name.startswith("test_")]


def test_folders_of_tests_are_packages():
    """So that files in two of them may have one name, as test_loading.py."""
    folders = {path.parent for path in TESTS.glob("test_*/*.py")}
    assert [path for path in folders if not (path / "__init__.py").exists()] == []


def test_no_two_modules_share_a_file_of_tests():
    files = [file_of_tests(module) for module in modules()]
    assert len(set(files)) == len(files)


@pytest.mark.parametrize("room", ROOMS)
def test_imports_run_one_way(room):
    allowed = MAY_IMPORT[room] | BOTTOM | {room, "__version__"}
    wrong = {
        str(path.relative_to(PACKAGE)): sorted(others)
        for path in (PACKAGE / room).rglob("*.py")
        if (others := imports(path) - allowed)
    }
    assert not wrong


def test_the_bottom_imports_no_room():
    for name in BOTTOM:
        assert not imports(PACKAGE / f"{name}.py") & set(ROOMS), name


@pytest.mark.parametrize(
    "source", ["from ..engine import hooks", "import capnet_mm.cli"]
)
def test_a_forbidden_import_would_be_seen(source, tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    file = tmp_path / "models" / "new.py"
    file.parent.mkdir()
    file.write_text(f"def late():\n    {source}\n")
    assert imports(file) - (MAY_IMPORT["models"] | BOTTOM | {"models"})
