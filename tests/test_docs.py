"""README and docs: commands run, flags and links are right, quoted messages exist."""

import ast
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from markdown_it import MarkdownIt
from markdown_it.token import Token
from mmengine.config import Config
from mmengine.fileio import load
from mmpretrain.apis import ModelHub, list_models
from mmpretrain.registry import DATASETS, MODELS
from PIL import Image

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")])
MARK = re.compile(r"<!-- not run: (\S.*\S) -->\s*")
LANGUAGES = {"bash", "python", ""}  # those without are listings
# Folders whose files pages name.
PATH = re.compile(r"(?:capnet_mm|configs|docs|tests|tools)/[\w./-]*\w/?")


class Block(NamedTuple):
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    code: str
    reason: str | None  # why it is not run

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(REPOSITORY)}:{self.line}"


@cache
def tokens(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(page.read_text("utf-8"))


def read_blocks(page: Path) -> list[Block]:
    blocks, before = [], None
    for token in tokens(page):
        if token.type == "fence":
            mark = before is not None and MARK.fullmatch(before.content)
            reason = mark[1] if mark else None
            line = token.map[0] + 1
            blocks.append(Block(page, line, token.info, token.content, reason))
        before = token if token.type == "html_block" else None
    return blocks


BLOCKS = [block for page in PAGES for block in read_blocks(page)]
RUN = [block for block in BLOCKS if block.language and block.reason is None]
PYTHON = [block for block in RUN if block.language == "python"]
BASH = [block for block in RUN if block.language == "bash"]
MARKED = [block for block in BLOCKS if block.reason is not None]


def names(blocks):
    return [block.name for block in blocks]


def commands(code: str) -> list[list[str]]:
    """The simple commands of a block, without settings of the environment."""
    words = []
    for line in code.replace("\\\n", " ").splitlines():
        for part in line.split("&&"):
            command = shlex.split(part, comments=True)
            while command and re.match(r"\w+=", command[0]):
                command.pop(0)
            words += [command] if command else []
    return words


# What is run -----------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A clone with ``my_data``, which the pages speak of."""
    clone = tmp_path_factory.mktemp("docs") / "clone"
    images = clone / "my_data" / "images"
    images.mkdir(parents=True)
    for name in ("capnet_mm", "configs", "tools", "model-index.yml"):
        (clone / name).symlink_to(REPOSITORY / name)
    rng = np.random.default_rng(0)
    labels, rows = [], []
    for index in range(12):
        pixels = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(images / f"{index:04}.jpg")
        labels.append(f"images/{index:04}.jpg {index % 3}\n")
        rows.append(f"images/{index:04}.jpg,{('dog', 'cat', 'tv')[index % 3]}\n")
    data = clone / "my_data"
    (data / "classes.txt").write_text("dog\ncat\ntvmonitor\ttv\n")
    (data / "train.txt").write_text("".join(labels[:8]))
    (data / "val.txt").write_text("".join(labels[8:]))
    (data / "labels.csv").write_text("".join(["path,labels\n", *rows]))
    write_checkpoint(clone / "epoch_15.pth")
    return clone


def write_checkpoint(path: Path) -> None:
    """What a training of the demo leaves, without the training."""
    cfg = Config.fromfile(REPOSITORY / "configs" / "demo" / "capnet.py")
    classes = DATASETS.get("ShapesLT").METAINFO["classes"]
    cfg.model.head.classes = list(classes)
    state = MODELS.build(cfg.model).state_dict()
    meta = dict(cfg=cfg.pretty_text, dataset_meta=dict(classes=classes))
    torch.save(dict(state_dict=state, meta=meta), path)


@pytest.fixture
def registries(monkeypatch):
    """What a block or a test registers is gone afterwards."""
    list_models()  # MMPretrain registers its own at the first call
    monkeypatch.setattr(ModelHub, "_models_dict", dict(ModelHub._models_dict))
    monkeypatch.setattr(MODELS, "_module_dict", dict(MODELS._module_dict))


@pytest.mark.parametrize("block", PYTHON, ids=names(PYTHON))
def test_a_python_block_runs_as_printed(block, folder, registries, monkeypatch):
    # capnet_mm makes torchvision importable; in this process it was imported long ago.
    before, found, _ = block.code.partition("from mmpretrain")
    assert not found or "capnet_mm" in before
    monkeypatch.chdir(folder)
    run_python(block)


def run_python(block):
    variables = {"__name__": "__main__"}
    exec(compile(block.code, block.name, "exec"), variables)
    return variables


def test_the_model_of_the_cookbook_can_be_built():
    block = next(block for block in PYTHON if block.code.startswith("model = dict("))
    config = run_python(block)["model"]
    config["clip"] = dict(model=f"local-dir:{REPOSITORY / 'configs' / 'demo' / 'clip'}")
    config["head"]["classes"] = ["dog", "cat"]
    head = MODELS.build(config).head
    assert head.prompt.num_context == 4 and head.graph is not None


@pytest.mark.parametrize("block", BASH, ids=names(BASH))
def test_a_bash_block_runs_as_printed(block, folder, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    command = ["bash", "-euc", block.code]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_language_and_page_has_blocks_that_run():
    """Marks have not taken over."""
    assert {block.language for block in RUN} == {"bash", "python"}
    ran = {block.page.name for block in RUN}
    assert {"README.md", "own_data.md", "configs.md", "installation.md"} <= ran


def test_every_block_is_run_or_says_why_not():
    """A mark that is misspelt, or without a block, would be passed over."""
    for page in PAGES:
        html = [t.content for t in tokens(page) if t.type.startswith("html")]
        marks = [content for content in html if "not run" in content]
        assert len(marks) == sum(block.page == page for block in MARKED), page
    assert {block.language for block in BLOCKS} <= LANGUAGES
    assert all(block.language for block in MARKED)


# What is checked only --------------------------------------------------------


@cache
def load_tool(name: str):
    spec = importlib.util.spec_from_file_location(
        f"docs_{Path(name).stem}", REPOSITORY / name
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check_command(command, monkeypatch, capsys):
    """Tool, flags and configs of a command are right; nothing is run."""
    program, *arguments = command
    if program in ("python", "python3") and arguments[0] == "-m":
        assert arguments[1] in ("pytest", "venv"), command
        return
    if program == "pip":
        assert arguments[0] == "install", command
        assert "-c" not in arguments or (REPOSITORY / "constraints.txt").exists()
        return
    if program == ".":
        return
    assert program in ("python", "bash"), command
    script, *arguments = arguments
    assert (REPOSITORY / script).is_file(), script
    if script == "tools/run_tests.sh":
        return  # takes pytest's flags
    tool = script
    if script == "tools/quickstart.sh":  # hands flags on, --ablation excepted
        tool = "tools/compare.py"
        arguments = ["configs/demo/capnet.py"] + [
            word for word in arguments if word != "--ablation"
        ]
    elif script.startswith("tools/dist_"):
        tool = script.replace("dist_", "").replace(".sh", ".py")
        processes = 1 if "train" in script else 2
        assert arguments.pop(processes).isdigit(), command
    elif script.startswith("tools/slurm_"):
        tool = script.replace("slurm_", "").replace(".sh", ".py")
        _, _, config, fourth, *arguments = arguments
        fourth = ["--work-dir", fourth] if "train" in script else [fourth]
        arguments = [config, *fourth, *arguments]
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", [tool, *arguments])
        try:
            load_tool(tool).parse_args()
        except SystemExit:
            pytest.fail(f"{command}: {capsys.readouterr().err}")
    for word in arguments:
        if word.startswith("configs/"):
            found = list(REPOSITORY.glob(word.partition("=")[0]))
            assert found, f"{command}: no file {word}"


@pytest.mark.parametrize("block", MARKED, ids=names(MARKED))
def test_a_block_that_is_not_run_names_tools_flags_and_configs(
    block, monkeypatch, capsys
):
    assert block.language == "bash"
    for command in commands(block.code):
        check_command(command, monkeypatch, capsys)


@pytest.mark.parametrize(
    "wrong",
    [
        "python tools/train.py configs/capnet_custom.py --data_rot my_data",
        "python tools/train.py configs/no_such_config.py",
        "python tools/no_such_tool.py",
        "bash tools/quickstart.sh --no-such-flag",
        "bash tools/dist_train.sh configs/capnet_custom.py --amp 4",
        "bash tools/slurm_train.sh p j configs/no_such_config.py work_dirs/w",
        "pyton tools/train.py configs/capnet_custom.py",
    ],
)
def test_a_wrong_command_would_be_seen(wrong, monkeypatch, capsys):
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check_command(shlex.split(wrong), monkeypatch, capsys)


def test_options_of_marked_commands_name_keys_of_their_config():
    for block in MARKED:
        for command in commands(block.code):
            if "--cfg-options" not in command:
                continue
            config = next(word for word in command if word.startswith("configs/"))
            options = command[command.index("--cfg-options") + 1 :]
            for option in options:
                node = Config.fromfile(REPOSITORY / config)
                *path, _ = option.partition("=")[0].split(".")
                for key in path:
                    assert key in node, f"{block.name}: {option}"
                    node = node[key]


# Links, paths, messages ------------------------------------------------------


def inline(page: Path):
    for token in tokens(page):
        yield from token.children or ()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_images_are_there(page):
    html = " ".join(t.content for t in tokens(page) if t.type.startswith("html"))
    targets = re.findall(r'(?:src|srcset)="([^"]+)"', html)
    targets += [t.attrs["href"] for t in inline(page) if t.type == "link_open"]
    targets += [t.attrs["src"] for t in inline(page) if t.type == "image"]
    for target in targets:
        if "://" not in target:
            path, _, anchor = target.partition("#")
            there = (page.parent / path) if path else page
            assert there.exists(), target
            assert not anchor or anchor in anchors(there), target


def anchors(page: Path) -> set[str]:
    """Names of a page's headings, as code hosts make them."""
    headings = [
        after.content
        for token, after in zip(tokens(page), tokens(page)[1:], strict=False)
        if token.type == "heading_open"
    ]
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_that_a_page_names_are_there(page):
    for token in inline(page):
        if token.type == "code_inline":
            for path in PATH.findall(token.content):
                assert (REPOSITORY / path).exists(), path


def test_every_config_is_in_the_cookbook():
    text = (REPOSITORY / "docs" / "configs.md").read_text("utf-8")
    for path in (REPOSITORY / "configs").rglob("*.py"):
        assert path.relative_to(REPOSITORY).as_posix() in text


def test_every_page_is_in_the_index():
    text = (REPOSITORY / "docs" / "README.md").read_text("utf-8")
    for page in (REPOSITORY / "docs").glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in text


def test_the_map_of_the_code_names_folders_that_are_there():
    readme = REPOSITORY / "README.md"
    code = next(b.code for b in read_blocks(readme) if b.code.startswith("capnet_mm/"))
    package, models = REPOSITORY / "capnet_mm", REPOSITORY / "capnet_mm" / "models"
    of_models = re.findall(r"^│   [├└]── +(\w+)/", code, re.MULTILINE)
    of_package = re.findall(r"^[├└]── +(\w+)/", code, re.MULTILINE)
    assert set(of_models) == folders(models)
    assert set(of_package) == folders(package)
    for name in re.findall(r"\w+\.py", code):
        assert list(REPOSITORY.rglob(name)), name


def folders(path: Path) -> set[str]:
    return {child.parent.name for child in path.glob("*/__init__.py")}


def test_readme_is_short():
    assert len((REPOSITORY / "README.md").read_text("utf-8").splitlines()) <= 150


def test_images_are_small():
    files = (REPOSITORY / "docs" / "figures").iterdir()
    assert sum(f.stat().st_size for f in files if f.suffix != ".py") < 300_000


@cache
def strings_of_the_code() -> list[str]:
    """All texts in package and tools, with … where values go."""
    found = []
    files = [*REPOSITORY.glob("capnet_mm/**/*.py"), *REPOSITORY.glob("tools/*.py")]
    for path in files:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            texts = [p.value if isinstance(p, ast.Constant) else "…" for p in parts]
            if all(isinstance(text, str) for text in texts):
                found.append("".join(texts))
    return found


def is_in_the_code(message: str) -> bool:
    pattern = ".*".join(map(re.escape, message.split("…")))
    return any(re.search(pattern, text, re.DOTALL) for text in strings_of_the_code())


def messages() -> list[str]:
    """What stands alone in the first cell of a row of docs/errors.md."""
    text = (REPOSITORY / "docs" / "errors.md").read_text("utf-8")
    return re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)


def test_the_messages_of_the_page_of_errors_are_those_of_the_code():
    assert len(messages()) > 30
    assert [message for message in messages() if not is_in_the_code(message)] == []


def test_a_message_that_is_not_in_the_code_would_be_seen():
    assert not is_in_the_code("There is no data rot …")


# Files beside ----------------------------------------------------------------


def test_the_figure_is_what_its_script_draws():
    script = load_tool("docs/figures/draw_method.py")
    for name, theme in script.THEMES.items():
        drawn = REPOSITORY / "docs" / "figures" / f"method_{name}.svg"
        assert drawn.read_text("utf-8") == script.draw(theme)


def test_the_figure_names_files_that_are_there():
    script = load_tool("docs/figures/draw_method.py")
    for box in script.BOXES:
        assert not box.file or list(REPOSITORY.glob(f"capnet_mm/models/**/{box.file}"))


def test_the_model_hub_of_mmpretrain_reads_the_index(registries):
    ModelHub.register_model_index(
        REPOSITORY / "model-index.yml", config_prefix=REPOSITORY
    )
    found = list_models("capnet")
    assert "capnet_shapes-lt" in found and len(found) == 10
    measured = list_models("capnet", task="Multi-Label Classification")
    for name in found:
        model = ModelHub.get(name)
        assert model.config.model.type, name
        assert (name in measured) == ("shapes-lt" in name)


def test_the_results_of_the_index_are_those_of_the_readme():
    rows = {
        "capnet_shapes-lt": "CAPNET",
        "capnet_prompt-tuning_shapes-lt": "soft prompts alone (as CoOp)",
        "capnet_linear-probe_shapes-lt": "linear probe, BCE",
        "capnet_zero-shot_shapes-lt": "zero-shot CLIP",
    }
    readme = (REPOSITORY / "README.md").read_text("utf-8")
    for model in load(REPOSITORY / "configs" / "metafile.yml")["Models"]:
        if "Results" in model:
            title = re.escape(rows.pop(model["Name"]))
            row = re.search(rf"^\| {title} \|(.*)\|$", readme, re.MULTILINE)[1]
            printed = [float(cell.split("±")[0]) for cell in row.split("|")]
            assert printed == list(model["Results"][0]["Metrics"].values())
    assert not rows


def test_the_citation_has_the_fields_of_its_format_and_the_version_of_the_code():
    import capnet_mm

    citation = load(REPOSITORY / "CITATION.cff", file_format="yaml")
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["version"] == capnet_mm.__version__
    assert "2511.20641" in citation["preferred-citation"]["url"]
