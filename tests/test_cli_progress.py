"""Progress for people: what the lines say, and when there are none."""

from __future__ import annotations

import io

import pytest
from fewview.commands import terminal_progress as progress_module
from fewview.commands.terminal_progress import TerminalProgress, format_figures
from fewview.scene.progress import duration


def test_seconds_and_figures() -> None:
    assert [duration(s) for s in (3.21, 42.4, 200, 3900)] == ["3.2 s", "42 s", "3 min 20 s", "1 h 05 min"]
    assert format_figures({"loss": 0.03124, "PSNR": 24.318, "gaussians": 20000}) == (
        "loss 0.0312, PSNR 24.32, gaussians 20,000"
    )


def test_plain_lines_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 6))  # six seconds between calls: every second one is ten seconds after the last line
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: next(clock))
    out = io.StringIO()
    with TerminalProgress(stream=out) as progress:
        for done in range(1, 5):
            progress("training", done, 4, {"loss": 0.5 / done})
    lines = out.getvalue().splitlines()
    assert lines[-1] == "training: done in 24 s, loss 0.1250"
    assert lines[0] == "training: 3 of 4, 4.0 s each, 4.0 s left, loss 0.1667"
    assert len(lines) == 2


def test_a_stage_ends_when_the_next_begins() -> None:
    out = io.StringIO()
    with TerminalProgress(stream=out) as progress:
        progress("matching", 1, 0)
        progress("training", 1, 1)
    assert [line.split(":")[0] for line in out.getvalue().splitlines()] == ["matching", "training"]


def test_quiet_says_nothing() -> None:
    out = io.StringIO()
    with TerminalProgress(quiet=True, stream=out) as progress:
        progress("training", 1, 2)
        progress.say("hello")
    assert out.getvalue() == ""


def test_a_stage_that_fails_is_not_called_done() -> None:
    out = io.StringIO()
    with pytest.raises(ValueError, match="no"), TerminalProgress(stream=out) as progress:  # noqa: PT012
        progress("training", 1, 2)
        raise ValueError("no")
    assert "done" not in out.getvalue()


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_on_a_terminal() -> None:
    out = _Terminal()
    with TerminalProgress(stream=out) as progress:
        for done in range(1, 4):
            progress("training", done, 3, {"loss": 0.25})
    assert "training: done in" in out.getvalue()
    assert "loss 0.2500" in out.getvalue()
