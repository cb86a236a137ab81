"""ProgressBarHook on a terminal, which is played by a small emulator."""

import io
import re
import sys
from contextlib import redirect_stdout

import pytest

import capnet_mm.engine.hooks.progress_bar_hook as module
from capnet_mm.engine import ProgressBarHook

# What rich sends to move the cursor and to clear lines.
CONTROL = re.compile(r"\x1b\[(\??[\d;]*)([A-Za-z])")


class Terminal(io.StringIO):
    """A screen that keeps all that was written; standard output of a test."""

    def isatty(self):
        return True

    def fileno(self):
        raise OSError("no file")

    def screen(self):
        """The lines that are to be seen in the end."""
        return render(self.getvalue())[0]

    def hidden(self):
        """Whether the cursor is hidden in the end."""
        return render(self.getvalue())[1]


def render(text):
    lines, row, column, hidden = [""], 0, 0, False
    position = 0
    while position < len(text):
        control = CONTROL.match(text, position)
        if control:
            position = control.end()
            number, letter = control.groups()
            if letter == "A":
                row = max(0, row - int(number or 1))
            elif letter == "K":
                lines[row] = "" if number == "2" else lines[row][:column]
            elif number == "?25":
                hidden = letter == "l"
            continue
        character = text[position]
        position += 1
        if character == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif character == "\r":
            column = 0
        else:
            line = lines[row].ljust(column)
            lines[row] = line[:column] + character + line[column + 1 :]
            column += 1
    return lines, hidden


@pytest.fixture
def terminal(monkeypatch):
    """A wide terminal to redirect standard output to; each step is drawn there."""
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "400")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(module, "_REFRESH_INTERVAL", 0)
    return terminal


def frames(terminal):
    """All bars that were shown, as text."""
    plain = CONTROL.sub("", terminal.getvalue())
    return [line for line in re.split(r"[\r\n]", plain) if "━" in line]


def test_training_shows_epoch_iteration_and_loss(make_runner, terminal):
    with redirect_stdout(terminal):
        make_runner([ProgressBarHook()], epochs=2).train()
    shown = frames(terminal)
    for epoch, iteration in ((1, 1), (1, 3), (2, 4), (2, 6)):
        bars = [b for b in shown if f"epoch {epoch}/2" in b and f" {iteration}/6 " in b]
        assert bars, (epoch, iteration)
        assert re.search(r"loss \d+\.\d+", bars[-1])
    assert any(re.search(r"\d:\d\d:\d\d", bar) for bar in shown)  # time left


def test_the_loss_shown_is_the_loss(make_runner, terminal, toy):
    class Constant(toy.Model):
        def forward(self, inputs, mode="tensor"):
            return dict(loss=super().forward(inputs, "loss")["loss"] * 0 + 0.125)

    with redirect_stdout(terminal):
        make_runner([ProgressBarHook()], Constant(), epochs=1).train()
    shown = [bar for bar in frames(terminal) if "epoch 1/1" in bar]
    assert shown and all("loss 0.125 " in bar for bar in shown)


def test_lines_of_the_log_stay_whole_and_the_bar_goes(make_runner, terminal, read_log):
    with redirect_stdout(terminal):
        runner = make_runner([ProgressBarHook()], epochs=2, validate=True)
        stream = [h for h in runner.logger.handlers if h.stream is terminal]
        assert len(stream) == 1  # else nothing is tried
        runner.train()
        assert sys.stdout is terminal and stream[0].stream is terminal
    screen = [line.rstrip() for line in terminal.screen()]
    # The file has the same lines, without colours.
    logged = [line for line in read_log(runner).splitlines() if "Epoch(" in line]
    assert len(logged) >= 6
    for line in logged:
        assert sum(line.split(" - ", 3)[-1].strip() in seen for seen in screen) == 1
    assert not any("━" in line for line in screen)
    assert not terminal.hidden()


def test_validation_has_a_bar_of_its_own_while_it_goes_on(make_runner, terminal):
    with redirect_stdout(terminal):
        make_runner([ProgressBarHook()], epochs=1, validate=True).train()
    shown = [bar for bar in frames(terminal) if "validation" in bar]
    for number in range(4):
        assert any(f" {number}/3 " in bar for bar in shown)
    assert "━" not in terminal.screen()[-1]
    # One line, drawn anew from its start: the cursor never goes up.
    until_the_end = terminal.getvalue().rsplit("\x1b[?25h", 1)[0]
    assert not re.search(r"\x1b\[\d*A", until_the_end)


def test_a_test_run_shows_how_far_it_is(make_runner, terminal, toy):
    from mmengine.evaluator import Evaluator

    loader = dict(
        dataset=toy.Dataset(), sampler=dict(type="DefaultSampler"), batch_size=4
    )
    with redirect_stdout(terminal):
        make_runner(
            [ProgressBarHook()],
            test_dataloader=loader,
            test_cfg=dict(),
            test_evaluator=Evaluator(toy.Metric()),
        ).test()
        assert sys.stdout is terminal
    shown = frames(terminal)
    assert all("test" in bar for bar in shown)
    assert any(" 3/3 " in bar for bar in shown)


def test_resumed_training_starts_where_it_was(make_runner, terminal):
    make_runner([], epochs=1).train()
    with redirect_stdout(terminal):
        make_runner([ProgressBarHook()], epochs=2, resume=True).train()
    shown = frames(terminal)
    assert " 3/6 " in shown[0]
    assert not any(" 1/6 " in bar for bar in shown)


def test_an_error_leaves_the_terminal_in_order(make_runner, terminal, toy, monkeypatch):
    at_exit = []
    monkeypatch.setattr(module.atexit, "register", at_exit.append)

    class Broken(toy.Model):
        def forward(self, inputs, mode="tensor"):
            raise RuntimeError("broken")

    with redirect_stdout(terminal):
        with pytest.raises(RuntimeError, match="broken"):
            make_runner([ProgressBarHook()], Broken(), epochs=1).train()
        assert terminal.hidden()  # else there is nothing to put in order
        for function in at_exit:
            function()
        assert sys.stdout is terminal
    assert not terminal.hidden()


@pytest.mark.parametrize("why", ["no terminal", "dumb terminal", "not main"])
def test_where_there_is_no_terminal_nothing_is_shown(
    make_runner, terminal, monkeypatch, why
):
    if why == "no terminal":
        monkeypatch.setattr(terminal, "isatty", lambda: False, raising=False)
    elif why == "dumb terminal":
        monkeypatch.setenv("TERM", "dumb")
    else:
        monkeypatch.setattr(module, "is_main_process", lambda: False)
    with redirect_stdout(terminal):
        make_runner([ProgressBarHook()], epochs=1, validate=True).train()
    assert "━" not in terminal.getvalue()
    assert "\x1b[?25l" not in terminal.getvalue()
    assert "Epoch(train)" in terminal.getvalue()  # LoggerHook's lines as ever
