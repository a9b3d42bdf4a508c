"""`fewview detect run --task grounding`: a box for each sentence of a data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from ..detect.measure import Detected, Predictor
from ..detect.metrics.grounding_results import read_grounding_results, write_grounding_results
from ..detect.tasks.grounding_samples import GroundingSample, open_grounding_samples
from ..learn.processes import process_group
from .detect_train_grounding import BOXES_FILE, Sentences
from .detection_run import BoxesFile, RunOptions, detect_into
from .grounding_pictures import load_grounding, write_grounding_picture
from .result import finish
from .terminal_progress import TerminalProgress


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """A box for each sentence of a data set, in the aligned frame of its scans.

    Writes boxes.json and pictures: the scan from above with the box, and the voxels that each pruning left.
    """

    # This task.
    task: Literal["grounding"] = "grounding"
    # Folder of scenes in ScanNet's files, with ScanRefer/ or ReferIt3D/ in it.
    input: tyro.conf.Positional[Path]
    # A run of `fewview detect train --task grounding`, its weights, or a released TSP3D checkpoint.
    weights: Path
    # Where the sentences are from.
    sentences: Sentences = "scanrefer"
    # Scenes to look at: train, val, or all.
    split: str = "all"
    # Folder with the text encoder's files, where they are not in a package.
    text: Path | None = None


def run(options: Options) -> None:
    device = options.begin()
    with process_group(device) as (rank, _), TerminalProgress(options.quiet or rank > 0) as progress:
        detector = load_grounding(options.weights, options.text)
        detector.network.to(device)
        samples = open_grounding_samples(options.input, options.split, options.sentences)
        folder = options.output or Path("runs") / f"{options.input.resolve().name}_grounding"
        file = BoxesFile(folder / BOXES_FILE, write_grounding_results, read_grounding_results)

        def draw(one: Detected[GroundingSample]) -> None:
            path = folder / "pictures" / f"{one.sample.token.replace('/', '_')}.jpg"
            write_grounding_picture(path, one.sample, one.boxes, one.output, detector.network)

        predictor = Predictor(detector, device, options.mixed_precision)
        outcome = detect_into(file, predictor, samples, options.pictures, draw, progress)
    if outcome is None:
        return
    notes = outcome.noted("sentences")
    result = {"output": str(folder), "sentences": len(outcome.found), "notes": notes, **outcome.result()}
    lines = [
        *notes,
        outcome.told("sentences"),
        f"Boxes: {file.path}",
        *([f"Pictures: {folder / 'pictures'}"] if options.pictures else []),
        f"Next: fewview detect eval --task grounding {options.input} {file.path}",
    ]
    finish(options, result, lines)
