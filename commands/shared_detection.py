"""Detection by several processes, as torchrun starts them: each has its samples, and the first joins the results."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..detect.measure import Unusable
from ..learn.processes import current_process, texts_of_processes
from ..scene.boxes import Boxes
from ..scene.datasets.lidar_detections import DetectionsFile, read_detections
from ..scene.errors import BadInputError


def values_of_processes(value: Any) -> list[Any]:
    """A JSON value of each process, in their order, in all of them."""
    return [json.loads(text) for text in texts_of_processes(json.dumps(value))]


def joined_boxes(
    file: Path,
    found: Mapping[str, Boxes],
    tokens: Sequence[str],
    write: Callable[[Path, Mapping[str, Boxes]], None],
    read: Callable[[Path], dict[str, Boxes]],
) -> dict[str, Boxes]:
    """The boxes of all processes, in the order of `tokens`, on the first one; the others get their own back.

    They pass through files beside `file`, which are gone afterwards.
    """
    rank, count = current_process()
    if count == 1:
        return dict(found)
    parts = [file.with_name(f"{file.stem}.{number}{file.suffix}") for number in range(count)]
    write(parts[rank], found)
    values_of_processes(None)  # all are written
    if rank > 0:
        return dict(found)
    everything = {token: boxes for part in parts for token, boxes in read(part).items()}
    for part in parts:
        part.unlink()
    return {token: everything[token] for token in tokens if token in everything}


def part_of(file: Path, rank: int) -> Path:
    """The file into which a process writes its frames until the first one joins them into `file`."""
    return file.with_name(f"{file.stem}.{rank}{file.suffix}")


def join_parts(kept: DetectionsFile, names: tuple[str, ...]) -> None:
    """Take the frames of all parts beside a file of detections into it, those of an interrupted run, too."""
    for part in sorted(kept.path.parent.glob(f"{kept.path.stem}.*{kept.path.suffix}")):
        for frame in read_detections(part, names):
            if frame.token not in kept.done:
                kept.add(frame)
        part.unlink()


def of_all_processes(unusable: list[Unusable], texts: list[str]) -> tuple[list[Unusable], list[str]]:
    """Findings of all processes: what could not be used in the order of the samples, and texts, sorted, each once."""
    told = values_of_processes([[[u.number, u.token, str(u.problem)] for u in unusable], texts])
    problems = sorted(row for rows, _ in told for row in rows)
    return (
        [Unusable(number, token, BadInputError(problem)) for number, token, problem in problems],
        sorted({text for _, own in told for text in own}),
    )
