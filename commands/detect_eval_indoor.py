"""`fewview detect eval --task indoor`: mean average precision of boxes in rooms."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import tyro

from ..detect.metrics.indoor_metric import IndoorMetric
from ..detect.metrics.indoor_results import read_indoor_results
from ..detect.tasks.indoor_samples import open_rooms
from ..learn.processes import is_first_process
from ..scene.errors import BadInputError
from ..scene.files import write_json
from .options import Common
from .result import finish


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """Measure boxes in rooms: mAP at overlaps of 0.25 and 0.5, by class and as a mean.

    The rules are those of the published detectors on ScanNet and ARKitScenes.
    """

    # This task.
    task: Literal["indoor"] = "indoor"
    # Folder of ScanNet scenes, or an info file of SUN RGB-D.
    input: tyro.conf.Positional[Path]
    # rooms.json of `fewview detect run --task indoor`.
    results: tyro.conf.Positional[Path]
    # Rooms to measure on: train, val, test, or all that the file has.
    split: str = "all"
    # Compare boxes as they are turned about the vertical axis, not as they lie along the axes.
    rotated: bool = False


def run(options: Options) -> None:
    if not is_first_process():
        return  # measuring takes seconds; under torchrun one process does it
    found = read_indoor_results(options.results)
    if not found:
        raise BadInputError(f"{options.results} has no room, so there is nothing to measure.")
    classes = next(iter(found.values())).names
    samples = open_rooms(options.input, classes, options.split)
    if options.split == "all":
        unknown = sorted(set(found) - set(samples.tokens))
        if unknown:
            raise BadInputError(
                f"{options.results} has {len(unknown)} rooms that are not in {options.input}, the first is "
                f"{unknown[0]!r}; give the data that it was made from."
            )
        samples = replace(samples, tokens=tuple(token for token in samples.tokens if token in found))
    truth = samples.truth()
    scores = IndoorMetric(truth, options.rotated).evaluate(found)
    path = options.output or options.results.with_name(f"{options.results.stem}_metrics.json")
    summary = scores.summary()
    write_json(path, summary)
    result = {"rooms": len(truth), **summary, "output": str(path)}
    finish(options, result, [*scores.lines(), "", f"Metrics: {path}"])
