"""Running `fewview` in this process and in one of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from fewview.cli import main
from fewview.commands.terminal_progress import TerminalProgress


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The last line of standard output, as --json prints it."""
        return json.loads(self.out.splitlines()[-1])


def fewview(capsys: pytest.CaptureFixture[str], *args: object) -> Outcome:
    """`fewview ARGS` in this process; tyro leaves through SystemExit."""
    capsys.readouterr()
    try:
        code = main([str(a) for a in args])
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 0 if left.code is None else 1
    captured = capsys.readouterr()
    return Outcome(code, captured.out, captured.err)


def fewview_process(*args: object, **options: Any) -> Outcome:
    """`python -m fewview ARGS` as a process."""
    command = [sys.executable, "-m", "fewview", *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)
    return Outcome(done.returncode, done.stdout, done.stderr)


def press_ctrl_c() -> None:
    """Interrupt this process as a terminal does, also where it was started in the background, which ignores that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.raise_signal(signal.SIGINT)


def stops_at(stage: str, done: int) -> type[TerminalProgress]:
    """Progress that shows nothing, and presses Ctrl-C when so much of a stage is done."""

    class Stops(TerminalProgress):
        def __call__(
            self,
            now: str,
            count: int,
            total: int,
            figures: Mapping[str, float | int | str] = {},
        ) -> None:
            if (now, count) == (stage, done):
                press_ctrl_c()

    return Stops


def assert_one_sentence(outcome: Outcome, code: int, *words: str) -> None:
    """The exit code, and one line on standard error that holds the words and no traceback."""
    assert outcome.code == code, outcome.err
    assert len(outcome.err.strip().splitlines()) == 1, outcome.err
    assert "Traceback" not in outcome.err
    assert outcome.err.strip()[-1] in ".?", outcome.err
    for word in words:
        assert word in outcome.err, f"{word!r} is not in {outcome.err!r}"
