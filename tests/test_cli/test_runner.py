"""The runner of the tools: how it loads, and what it shows of that."""

import pytest
import torch
from mmengine.config import Config

from capnet_mm import cli
from capnet_mm.engine import ConsoleHook, ProgressBarHook


@pytest.fixture
def build(tmp_path, request):
    """Builds a runner of a single linear layer, to be tested."""

    def build(console, **options):
        model = dict(
            type="ImageClassifier",
            backbone=dict(type="MobileNetV2", widen_factor=0.1),
            head=dict(type="MultiLabelLinearClsHead", num_classes=3, in_channels=1280),
        )
        cfg = Config(
            dict(
                model=model,
                work_dir=str(tmp_path),
                default_scope="mmpretrain",
                experiment_name=f"{request.node.name} {console} {len(options)}",
                **options,
            )
        )
        return cli.build_runner(cfg, console)

    return build


def log_of(runner):
    return open(runner.logger.log_file).read()


def test_weights_that_do_not_match_are_a_warning_in_terminal_and_log(
    build, tmp_path, capsys
):
    runner = build("warnings")
    state = runner.model.state_dict()
    path = str(tmp_path / "whole.pth")
    torch.save(dict(state_dict=state), path)
    runner.load_checkpoint(path)
    assert capsys.readouterr().out == ""

    del state["head.fc.bias"]
    torch.save(dict(state_dict=state), path)
    runner.load_checkpoint(path)
    for text in (capsys.readouterr().out, log_of(runner)):
        assert text.count("do not match exactly") == 1
        assert "missing keys in source state_dict: head.fc.bias" in text


@pytest.mark.parametrize(
    ("console", "bars", "summaries"),
    [("log", 0, 0), ("summary", 1, 1), ("warnings", 1, 0)],
)
def test_each_console_has_its_hooks_once(build, console, bars, summaries):
    for own in ([], [dict(type="ProgressBarHook")]):
        hooks = build(console, **(dict(custom_hooks=own) if own else {})).hooks
        kinds = [type(hook) for hook in hooks]
        assert kinds.count(ProgressBarHook) == max(bars, len(own))
        assert kinds.count(ConsoleHook) == summaries


def test_the_summary_comes_after_the_report(build):
    hooks = build("summary", custom_hooks=[dict(type="ReportHook")]).hooks
    kinds = [type(hook).__name__ for hook in hooks]
    assert kinds[-2:] == ["ReportHook", "ConsoleHook"]


@pytest.mark.parametrize("level", ["DEBUG", "INFO", "ERROR"])
def test_the_level_of_the_log_is_that_of_the_file(build, capsys, level):
    runner = build("summary", log_level=level)
    capsys.readouterr()
    for name in ("debug", "info", "warning", "error"):
        getattr(runner.logger, name)(f"a line of {name}")
    out = capsys.readouterr().out
    levels = ["debug", "info", "warning", "error"]
    logged = [name for name in levels if f"a line of {name}" in log_of(runner)]
    assert logged == levels[levels.index(level.lower()) :]
    shown = [name for name in levels if f"a line of {name}" in out]
    assert shown == [name for name in logged if name in ("warning", "error")]
