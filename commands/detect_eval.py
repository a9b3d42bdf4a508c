"""`fewview detect eval`: the nuScenes metric of a submission."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from ..detect.metrics.devkit import INSTALL, find_devkit, largest_difference, run_devkit
from ..detect.metrics.nuscenes_metric import evaluate, table
from ..detect.metrics.nuscenes_submission import read_submission
from ..detect.metrics.nuscenes_truth import Truth
from ..detect.tasks.nuscenes_splits import split_samples
from ..learn.processes import is_first_process
from ..scene.datasets.nuscenes_log import NuScenes
from ..scene.errors import BadInputError, FewviewError
from ..scene.files import write_json
from .options import Common
from .result import finish
from .terminal_progress import TerminalProgress

SAME = 1e-6  # how far our numbers may be from the official ones


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """Measure detections with the nuScenes metric: mAP, true positive errors, NDS.

    Our own evaluation gives the numbers of the official nuscenes-devkit in a fraction of its time. Where the devkit is
    installed it runs, too: its numbers are printed, compared with ours, and its plots are drawn.
    """

    # driving: this. indoor: mAP in rooms, grounding: accuracy of sentences; see --task indoor --help.
    task: Literal["driving", "indoor", "grounding"] = "driving"
    # Folder in the nuScenes format.
    input: tyro.conf.Positional[Path]
    # Detections, a JSON file in the nuScenes submission layout.
    submission: tyro.conf.Positional[Path]
    # What was detected on: a split's name, a file with scene names, or all.
    split: str = "all"
    # Python interpreter that has the nuscenes-devkit; without it this one is asked.
    devkit_python: Path | None = None


def run(options: Options) -> None:
    if not is_first_process():
        return  # measuring takes seconds; under torchrun one process does it
    run_eval(options)


def run_eval(options: Options) -> dict[str, Any]:
    """Evaluate, write the metrics, print the table; returns the result that --json prints."""
    devkit = find_devkit(options.devkit_python)
    output = options.output or options.submission.with_name(f"{options.submission.stem}_metrics")
    with TerminalProgress(options.quiet) as progress:
        data = NuScenes(options.input, progress=progress)
        truth = Truth.of(data, split_samples(data, options.split))
        progress("Reading detections", 0, 0)
        results = read_submission(options.submission, truth.tokens)
        _make_folder(output)
        progress("Measuring", 0, 0)
        ours = evaluate(truth, results)
        write_json(output / "metrics_summary.json", ours.summary())
        write_json(output / "metrics_details.json", ours.details())
        shown, lines, official = ours.summary(), [], None
        if devkit is not None:
            progress("Measuring with the official devkit", 0, 0)
            start = time.perf_counter()
            official = run_devkit(
                devkit, data, options.submission, list(results), options.split, output / "devkit", plots=True
            )
            difference = largest_difference(shown, official)
            shown = official
            lines = _compared(difference, time.perf_counter() - start, output)
    if devkit is None:
        lines = [
            "The numbers are those of our own evaluation; the official nuscenes-devkit is not installed here. For its "
            f"numbers and plots: {INSTALL}, then add --devkit-python devkit/bin/python"
        ]
    result = {
        "mAP": shown["mean_ap"],
        "NDS": shown["nd_score"],
        "samples": len(truth.tokens),
        "metrics": ours.summary(),
        "official": None if official is None else {"largest_difference": difference, "folder": str(output / "devkit")},
        "output": str(output),
    }
    finish(options, result, [*table(shown), "", *lines, f"Metrics: {output / 'metrics_summary.json'}"])
    return result


def _compared(difference: float, seconds: float, output: Path) -> list[str]:
    if difference > SAME:
        raise FewviewError(
            f"The official devkit's numbers differ from ours by {difference:.1e}, which should not be; take those in "
            f"{output / 'devkit'}, and please report it."
        )
    return [
        f"The numbers are those of the official nuscenes-devkit ({seconds:.1f} s with its plots); ours differ by at "
        f"most {difference:.1e}.",
        f"Plots: {output / 'devkit' / 'plots'}",
    ]


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInputError(f"The folder {folder} cannot be made: {error.strerror or error}.") from error
