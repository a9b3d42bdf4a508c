"""One capture of a batch: all that a process needs to reconstruct it, and what comes back."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from ..recon.pipeline.reconstruct_config import ReconstructConfig
from ..scene.errors import BadInputError, FewviewError, explained
from ..scene.images import SUFFIXES as IMAGE_SUFFIXES
from ..scene.readers.video import SUFFIXES as VIDEO_SUFFIXES
from ..scene.run import Run
from .device import set_threads
from .reconstruct import run_to_report
from .terminal_progress import TerminalProgress

State = Literal["done", "failed", "interrupted"]


@dataclass(frozen=True)
class CaptureJob:
    """A capture, where its run goes, and what it is reconstructed with."""

    name: str
    source: Path
    output: Path
    config: ReconstructConfig
    threads: int

    def is_done(self) -> bool:
        """True where an earlier batch has finished the run and its report."""
        run = Run(self.output)
        return run.splat_path.is_file() and run.report_path.is_file()


@dataclass(frozen=True)
class Outcome:
    """The end of one capture."""

    name: str
    state: State
    error: str = ""  # a sentence, where it failed
    seconds: float = 0.0  # on the clock, in the last attempt
    cpu_seconds: float = 0.0  # of the processor, user and system, in the last attempt
    attempts: int = 1  # more than one where its process was ended from outside and it went on
    details: dict[str, Any] = field(default_factory=dict)  # where an unexpected error was


def find_captures(folder: Path) -> list[Path]:
    """The folders and videos in `folder`, in the order of their names; hidden ones are not captures.

    Raises BadInputError where there are none, or where `folder` is a capture itself.
    """
    if not folder.is_dir():
        raise BadInputError(
            f"{folder} is not a folder; a folder with a folder or a video for each capture is expected."
        )
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    found = [e for e in entries if e.is_dir() or e.suffix.lower() in VIDEO_SUFFIXES]
    if not found:
        if any(e.suffix.lower() in IMAGE_SUFFIXES for e in entries):
            raise BadInputError(
                f"{folder} holds photographs and no folders, so it is one capture: type `fewview reconstruct {folder}`."
            )
        raise BadInputError(f"{folder} holds no captures: a folder of photographs or a video for each is expected.")
    names: dict[str, Path] = {}
    for entry in found:
        other = names.setdefault(run_name(entry), entry)
        if other is not entry:
            raise BadInputError(
                f"{other.name} and {entry.name} would both become the run {run_name(entry)}; rename one."
            )
    return found


def run_name(capture: Path) -> str:
    """The folder of a capture's run: its own name, without a video's ending."""
    return capture.name if capture.is_dir() else capture.stem


def run_capture(job: CaptureJob) -> Outcome:
    """Reconstruct a capture, or go on with it, in this process. Never raises: an error is an outcome."""
    _hear_termination()
    set_threads(job.threads)
    torch.manual_seed(job.config.seed)
    started, cpu_before = time.perf_counter(), cpu_seconds()

    def ended(state: State, error: str = "", **details: Any) -> Outcome:
        cpu = cpu_seconds() - cpu_before
        return Outcome(job.name, state, error, time.perf_counter() - started, cpu, details=details)

    try:
        resume = (job.output / "config.json").is_file()
        # The command is `reconstruct`: each run is one like all others, to be looked at and continued by itself.
        run_to_report(
            job.source, job.output, job.config, TerminalProgress(quiet=True), resume=resume, command="reconstruct"
        )
        return ended("done")
    except KeyboardInterrupt:
        return ended("interrupted", "It was interrupted; what is finished is kept.")
    except MemoryError:
        return ended("failed", "The memory ran out; lower --resolution, --max-gaussians, --views or --workers.")
    except FewviewError as error:
        return ended("failed", explained(error)[1])
    except Exception as error:
        return ended("failed", explained(error)[1], kind=type(error).__name__)


def cpu_seconds() -> float:
    """User and system time of this process and of those that have ended under it."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _hear_termination() -> None:
    """SIGTERM, by which a batch asks its captures to stop, saves the state like Ctrl-C; the terminal's own Ctrl-C goes
    to the batch alone, or each capture would be asked twice."""
    if threading.current_thread() is not threading.main_thread():
        return
    with contextlib.suppress(AttributeError, OSError):  # Windows; or it leads a session already
        os.setsid()
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
