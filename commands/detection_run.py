"""The run of any task's detector on a data set: options that are the same, boxes into one file, the end's words."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from ..detect.measure import Detected, Predictor, Unusable, detect_each
from ..detect.sample import Sample, Samples
from ..learn.processes import current_process, peak_memory_gb
from ..scene.boxes import Boxes
from ..scene.errors import BadInputError
from ..scene.files import make_folder
from ..scene.progress import duration
from .network_options import NetworkOptions
from .picture_file import evenly_spread
from .shared_detection import joined_boxes, of_all_processes
from .terminal_progress import TerminalProgress

MOST_NOTES = 5
S = TypeVar("S", bound=Sample)


@dataclass(frozen=True, kw_only=True)
class RunOptions(NetworkOptions):
    """Options of every detector's run."""

    # Samples (frames, rooms, sentences) that get a picture, evenly spread; 0 for none.
    pictures: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pictures < 0:
            raise BadInputError(f"--pictures {self.pictures} cannot be used: 0 or more is expected.")


def random_weights_note(weights: Path | None) -> tuple[str, ...]:
    """The sentence about boxes that mean nothing, for when the input is known to be good; none for given weights."""
    if weights is not None:
        return ()
    return ("No --weights were given: the network is random, and its boxes mean nothing.",)


def require_score(min_score: float) -> None:
    """Raise BadInputError for a least score that no score can have."""
    if not 0 <= min_score <= 1:
        raise BadInputError(f"--min-score {min_score:g} cannot be used: 0 to 1 is expected.")


@dataclass(frozen=True)
class BoxesFile:
    """A file of boxes by sample, and how it is written and read."""

    path: Path
    write: Callable[[Path, Mapping[str, Boxes]], None]
    read: Callable[[Path], dict[str, Boxes]]


@dataclass(frozen=True)
class Outcome:
    """Boxes that a run found, and the time that it took, reading and pictures included."""

    found: dict[str, Boxes]
    unusable: list[Unusable]
    seconds: float
    memory_gb: float | None
    notes: tuple[str, ...]  # of the samples that were used

    def result(self) -> dict[str, Any]:
        """The part of the result that is the same for all tasks, as JSON has it."""
        return cost(self.seconds, self.memory_gb) | {"skipped": {u.token: str(u.problem) for u in self.unusable}}

    def noted(self, kind: str) -> list[str]:
        """Notes on the samples, of a kind such as "rooms", and one where some could not be used."""
        unused = skipped_note(self.unusable, len(self.found) + len(self.unusable), kind)
        return [*some_notes(self.notes), *unused]

    def told(self, kind: str) -> str:
        return told(f"{len(self.found)} {kind}", self.seconds, self.memory_gb)


def cost(seconds: float, memory_gb: float | None) -> dict[str, Any]:
    """Time and memory, as JSON has them."""
    return {
        "seconds": round(seconds, 2),
        "peak_memory_gb": None if memory_gb is None else round(memory_gb, 2),
    }


def told(what: str, seconds: float, memory_gb: float | None) -> str:
    """A line about what was done, and what it took."""
    memory = "" if memory_gb is None else f"; peak memory {memory_gb:.2f} GB"
    return f"{what} in {duration(seconds)}, reading and pictures included{memory}."


def skipped_note(unusable: list[Unusable], count: int, kind: str) -> list[str]:
    """A note where some of `count` samples, of a kind such as "rooms", could not be used."""
    if not unusable:
        return []
    return [f"{len(unusable)} of {count} {kind} could not be used and have no boxes; the first: {unusable[0].problem}"]


def some_notes(notes: Sequence[str]) -> list[str]:
    """As many notes as a person reads, and how many more there are."""
    more = len(notes) - MOST_NOTES
    return list(notes) if more <= 0 else [*notes[:MOST_NOTES], f"There are {more:,} more such notes on other scans."]


def detect_into(
    file: BoxesFile,
    predictor: Predictor,
    samples: Samples[S],
    pictures: int,
    draw: Callable[[Detected[S]], None],  # writes the picture of a sample
    progress: TerminalProgress,
) -> Outcome | None:
    """Detect on all samples, in all processes, into one file; None in all but the first process.

    Raises BadInputError where no sample can be used.
    """
    make_folder(file.path.parent)
    pictured = evenly_spread(len(samples), pictures)
    found: dict[str, Boxes] = {}
    unusable: list[Unusable] = []
    notes: set[str] = set()
    start = time.perf_counter()
    for result in detect_each(predictor, samples, progress=progress, share=current_process()):
        if isinstance(result, Unusable):
            unusable.append(result)
            continue
        found[result.sample.token] = result.boxes
        notes.update(result.sample.notes)
        if result.number in pictured:
            draw(result)
    found = joined_boxes(file.path, found, samples.tokens, file.write, file.read)
    unusable, noted = of_all_processes(unusable, list(notes))
    seconds = time.perf_counter() - start
    if current_process()[0] > 0:
        return None
    if not found and unusable:
        raise unusable[0].problem
    file.write(file.path, found)
    return Outcome(found, unusable, seconds, peak_memory_gb(torch.device(predictor.device)), tuple(noted))
