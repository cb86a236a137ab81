"""``tools/demo_app.py`` serves the page to this machine alone, unless told."""

import runpy
import sys
from types import SimpleNamespace

import pytest
from conftest import REPOSITORY

TOOL = str(REPOSITORY / "tools" / "demo_app.py")


@pytest.fixture
def start(clips, monkeypatch):
    """Runs the tool on a CLIP without training; what it would serve, and where."""
    uvicorn = pytest.importorskip("uvicorn")
    served = []

    def serve(app, **options):
        served.append(SimpleNamespace(app=app, **options))

    def run(*arguments):
        tool = runpy.run_path(TOOL)
        model = ["zero-shot", "--clip", clips["vit"], "--classes", "dog", "cat"]
        monkeypatch.setattr(sys, "argv", ["demo_app.py", *model, *arguments])
        tool["main"]()
        return served[-1]

    monkeypatch.setattr(uvicorn, "run", serve)
    return run


def test_the_page_is_for_this_machine_alone_unless_told(start, capsys):
    served = start()
    assert (served.host, served.port) == ("127.0.0.1", 7860)
    assert "http://127.0.0.1:7860" in capsys.readouterr().out
    assert not served.app.openapi()["paths"]
    served = start("--host", "0.0.0.0", "--port", "80", "--api")
    assert (served.host, served.port) == ("0.0.0.0", 80)
    assert set(served.app.openapi()["paths"]) == {"/api/predict"}


def run_without(module, monkeypatch, *arguments):
    monkeypatch.setitem(sys.modules, module, None)
    for name in ("demo_page", "http_endpoint"):
        monkeypatch.delitem(sys.modules, f"capnet_mm.apis.{name}", raising=False)
    monkeypatch.setattr(sys, "argv", ["demo_app.py", *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(TOOL, run_name="__main__")
    return ended.value.code


@pytest.mark.parametrize("module", ["gradio", "uvicorn"])
def test_without_the_extra_there_is_help_and_a_sentence(module, monkeypatch, capsys):
    assert run_without(module, monkeypatch, "--help") == 0
    assert "--max-megabytes" in capsys.readouterr().out
    assert run_without(module, monkeypatch, "epoch_1.pth") == 2
    error = f'error: The page needs {module}: pip install -e ".[demo]"\n'
    assert capsys.readouterr().err == error


def test_a_checkpoint_that_is_not_there_ends_with_a_sentence(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["demo_app.py", "no_such.pth"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(TOOL, run_name="__main__")
    assert ended.value.code == 2
    assert "There is no checkpoint no_such.pth" in capsys.readouterr().err
