"""Progress on the terminal: a bar where there is one, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from ..scene.progress import duration

Figures = Mapping[str, float | int | str]

PLAIN_LINE_EVERY_S = 10.0


def format_figures(figures: Figures) -> str:
    """`{"loss": 0.03124, "Gaussians": 20000}` as `loss 0.0312, Gaussians 20,000`."""
    return ", ".join(f"{name} {_format(value)}" for name, value in figures.items())


def _format(value: float | int | str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.4f}"


class TerminalProgress:
    """Implements `scene.progress.Progress`; use it as a context manager so that the bar is closed."""

    def __init__(self, quiet: bool = False, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._quiet = quiet
        self._bar = None if quiet or not self._stream.isatty() else _bar(self._stream)
        self._task: TaskID | None = None
        self._stage = ""
        self._started = self._last_line = self._last_done = 0.0
        self._last_figures: Figures = {}

    def __enter__(self) -> TerminalProgress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._end_stage()
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, stage: str, done: int, total: int, figures: Mapping[str, float | int | str] = {}) -> None:
        if self._quiet:
            return
        now = time.monotonic()
        if stage != self._stage:
            self._end_stage()
            self._stage, self._started, self._last_line = stage, now, now
            if self._bar is not None:
                self._task = self._bar.add_task(stage, total=total or None, figures="")
        self._last_done, self._last_figures = done, figures or self._last_figures
        if self._bar is not None and self._task is not None:
            self._bar.update(
                self._task, completed=done, total=total or None, figures=format_figures(self._last_figures)
            )
        elif now - self._last_line >= PLAIN_LINE_EVERY_S:
            self._last_line = now
            self._line(_plain(stage, done, total, now - self._started, figures))

    def say(self, text: str) -> None:
        """One line for the person, above the bar."""
        if self._quiet:
            return
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            self._line(text)

    def _end_stage(self) -> None:
        if not self._stage:
            return
        seconds = time.monotonic() - self._started
        if self._bar is not None and self._task is not None:
            self._bar.remove_task(self._task)
        summary = f"{self._stage}: done in {duration(seconds)}"
        figures = format_figures(self._last_figures)
        self.say(f"{summary}, {figures}" if figures else summary)
        self._stage, self._task, self._last_figures = "", None, {}

    def _line(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


def _plain(stage: str, done: int, total: int, seconds: float, figures: Figures) -> str:
    parts = [f"{stage}: {done:,} of {total:,}" if total else f"{stage}: {done:,}"]
    if done and seconds > 0:
        rate = done / seconds
        parts.append(f"{_format_rate(rate)}")
        if total > done:
            parts.append(f"{duration((total - done) / rate)} left")
    if figures:
        parts.append(format_figures(figures))
    return ", ".join(parts)


def _format_rate(per_second: float) -> str:
    return f"{per_second:.1f} per s" if per_second >= 1 else f"{1 / per_second:.1f} s each"


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if not speed else _format_rate(speed), style="progress.data.speed")


def _bar(stream: TextIO) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[figures]}", style="cyan"),
        console=Console(file=stream),
        transient=True,
    )
