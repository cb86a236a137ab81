"""The runner of the tools."""

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from mmpretrain.registry import MODELS
from torch import nn

from capnet_mm import cli
from capnet_mm.cli import build_runner
from capnet_mm.engine import ConsoleHook, ProgressBarHook


@MODELS.register_module(force=True)
class OneWeight(BaseModel):
    """A model of one weight, which may fail in its first step."""

    def __init__(self, fails=False):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.fails = fails

    def forward(self, *inputs, mode="tensor"):
        if self.fails:
            raise RuntimeError("no memory")
        return dict(loss=(self.weight * torch.stack(inputs)).sum())


@pytest.fixture
def config(tmp_path):
    def config(lr, **model):
        path = tmp_path / "config" / "run.py"
        path.parent.mkdir(exist_ok=True)
        loader = "batch_size=2, sampler=dict(type='DefaultSampler', shuffle=False)"
        path.write_text(
            f"model = dict(type='OneWeight', **{model})\n"
            f"optim_wrapper = dict(optimizer=dict(type='SGD', lr={lr}))\n"
            f"train_dataloader = dict({loader})\n"
            "train_cfg = dict(by_epoch=True, max_epochs=1)\n"
            f"work_dir = {str(tmp_path / 'work')!r}\n"
            "default_scope = 'mmpretrain'\n"
            f"experiment_name = 'run{lr}'\n"
        )
        cfg = Config.fromfile(path)
        cfg.train_dataloader.dataset = [torch.ones(1), torch.ones(1)]
        return cfg

    return config


def test_an_earlier_runs_config_is_replaced_by_the_first_iteration(config, tmp_path):
    written = tmp_path / "work" / "run.py"
    build_runner(config(0.1))
    assert "lr=0.1" in written.read_text()  # nothing was there
    later = build_runner(config(0.2))
    assert "lr=0.1" in written.read_text()
    later.train()
    assert "lr=0.2" in written.read_text()
    with pytest.raises(RuntimeError, match="no memory"):
        build_runner(config(0.3, fails=True)).train()
    assert "lr=0.2" in written.read_text()


def test_a_runner_of_ones_own_is_taken_by_its_name(config):
    @RUNNERS.register_module(force=True)
    class OwnRunner(Runner):
        pass

    cfg = config(0.1)
    assert type(build_runner(cfg)) is not OwnRunner
    cfg.runner_type = "OwnRunner"
    cfg.experiment_name = "own"
    assert type(build_runner(cfg)) is OwnRunner


# ------------------------------------------------- what is shown of it


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


@pytest.mark.parametrize("place", ["/proc/no/such", "file/work"])
def test_a_work_dir_that_cannot_be_written_is_named_before_anything_runs(
    place, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=rf"The work dir {place} cannot be .*--work-dir"):
        build_runner(Config(dict(work_dir=place)))
