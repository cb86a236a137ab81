"""What setup.py declares is what the code imports, and constraints.txt pins all."""

import ast
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parent.parent
OWN = {"capnet_mm", "benchmarks", "conftest"}
# Programs, what PyTorch's exporter imports, and what a test imports if it is there.
NOT_IMPORTED = {"ruff", "pytest-xdist", "onnxscript", "playwright"}
# Files that are imported where an extra is installed, and the extra.
WITH_EXTRA = {
    "onnx.py": "export",
    "onnx_example.py": "export",
    "demo_page.py": "demo",
    "http_endpoint.py": "demo",
}
# Brought by the CUDA builds of torch alone, which constraints.txt leaves open.
OF_CUDA = re.compile(r"nvidia-|cuda-|triton$")


def literal(name):
    """A list or dict that setup.py assigns, or gives to ``setup``, under this name."""
    for node in ast.walk(ast.parse((REPOSITORY / "setup.py").read_text())):
        names = [node.arg] if isinstance(node, ast.keyword) else []
        if isinstance(node, ast.Assign):
            names = [target.id for target in node.targets]
        if name in names:
            return ast.literal_eval(node.value)
    raise AssertionError(f"setup.py has no {name}")


REQUIRED = [Requirement(text) for text in literal("REQUIREMENTS")]
EXTRA = [Requirement(text) for each in literal("EXTRAS").values() for text in each]


def names(requirements):
    return {canonicalize_name(requirement.name) for requirement in requirements}


def walk(node: ast.AST, into_functions: bool) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if into_functions or not isinstance(child, ast.FunctionDef):
            yield child
            yield from walk(child, into_functions)


def imported(folder, into_functions=True):
    """Distributions that the files of a folder import, with the files."""
    providers = metadata.packages_distributions()
    found = {}
    for path in sorted((REPOSITORY / folder).rglob("*.py")):
        for node in walk(ast.parse(path.read_text()), into_functions):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                modules = [node.module]
            for module in modules:
                top = module.split(".")[0]
                own = top in OWN or (REPOSITORY / "tests" / top).is_dir()
                if own or top in sys.stdlib_module_names:
                    continue
                for name in providers.get(top, [f"unknown provider of {top}"]):
                    found.setdefault(canonicalize_name(name), set()).add(path.name)
    return found


@pytest.mark.parametrize("folder", ["capnet_mm", "tools"])
def test_what_is_imported_at_start_is_required(folder):
    found = imported(folder, into_functions=False)
    for file, extra in WITH_EXTRA.items():
        for name in names(map(Requirement, literal("EXTRAS")[extra])):
            found.get(name, set()).discard(file)
    undeclared = {name: found[name] for name in found.keys() - names(REQUIRED)}
    assert not any(undeclared.values()), undeclared


@pytest.mark.parametrize("folder", ["capnet_mm", "tools", "tests"])
def test_what_is_imported_anywhere_is_declared(folder):
    found = imported(folder)
    undeclared = {
        name: found[name] for name in found.keys() - names([*REQUIRED, *EXTRA])
    }
    assert not undeclared


def test_nothing_is_declared_that_is_not_imported():
    of_package = imported("capnet_mm").keys() | imported("tools").keys()
    assert names(REQUIRED) <= of_package
    assert names(EXTRA) - NOT_IMPORTED <= of_package | imported("tests").keys()


def test_constraints_pin_all_that_is_installed_with_them():
    text = (REPOSITORY / "constraints.txt").read_text()
    pinned = names(
        Requirement(line) for line in text.splitlines() if not line.startswith("#")
    )
    wanted, seen = [*REQUIRED, *EXTRA], {}
    while wanted:
        requirement = wanted.pop()
        key = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if key in seen or OF_CUDA.match(key[0]):
            continue
        seen[key] = requirement
        for line in metadata.requires(requirement.name) or ():
            needed = Requirement(line)
            if needed.marker is None or any(
                needed.marker.evaluate({"extra": extra})
                for extra in ("", *requirement.extras)
            ):
                wanted.append(needed)
    assert {name for name, _ in seen} <= pinned


def test_files_that_are_not_code_are_installed_with_their_package():
    package_data = literal("package_data")
    for path in (REPOSITORY / "capnet_mm").rglob("*"):
        if path.is_dir() or path.suffix == ".py" or path.parent.name == "__pycache__":
            continue
        package = ".".join(path.relative_to(REPOSITORY).parent.parts)
        patterns = package_data.get(package, [])
        assert any(path.match(pattern) for pattern in patterns), path
