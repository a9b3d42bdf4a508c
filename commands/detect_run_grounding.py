"""`fewview detect run --task grounding`: a box for each sentence of a data set."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from ..detect.measure import Predictor, Unusable
from ..detect.metrics.grounding_results import read_grounding_results, write_grounding_results
from ..detect.tasks.grounding_samples import open_grounding_samples
from ..learn.processes import peak_memory_gb, process_group
from ..scene.boxes import Boxes
from ..scene.errors import BadInputError
from ..scene.files import make_folder
from ..scene.progress import duration
from .detect_train_grounding import BOXES_FILE, Sentences
from .grounding_pictures import grounded, load_grounding, write_grounding_picture
from .network_options import NetworkOptions
from .picture_file import evenly_spread
from .result import finish
from .shared_detection import joined_boxes, of_all_processes
from .terminal_progress import TerminalProgress


@dataclass(frozen=True, kw_only=True)
class Options(NetworkOptions):
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
    # Sentences that get a picture, evenly spread; 0 for none.
    pictures: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pictures < 0:
            raise BadInputError(f"--pictures {self.pictures} cannot be used: 0 or more is expected.")


def run(options: Options) -> None:
    device = options.begin()
    with process_group(device) as (rank, processes), TerminalProgress(options.quiet or rank > 0) as progress:
        detector = load_grounding(options.weights, options.text)
        detector.network.to(device)
        samples = open_grounding_samples(options.input, options.split, options.sentences)
        folder = options.output or Path("runs") / f"{options.input.resolve().name}_grounding"
        make_folder(folder)
        pictured = evenly_spread(len(samples), options.pictures)
        predictor = Predictor(detector, device, options.mixed_precision)
        found: dict[str, Boxes] = {}
        unusable: list[Unusable] = []
        start = time.perf_counter()
        for i, token in enumerate(samples.tokens):
            if i % processes != rank:
                continue
            progress("detecting", i, len(samples))
            try:
                sample = samples[i]
                boxes, output = grounded(predictor, sample)
            except BadInputError as error:
                unusable.append(Unusable(i, token, error))
                continue
            found[token] = boxes
            if i in pictured:
                path = folder / "pictures" / f"{token.replace('/', '_')}.jpg"
                write_grounding_picture(path, sample, boxes, output, detector.network)
        progress("detecting", len(samples), len(samples))
        boxes_file = folder / BOXES_FILE
        found = joined_boxes(boxes_file, found, samples.tokens, write_grounding_results, read_grounding_results)
        unusable, _ = of_all_processes(unusable, [])
        seconds = time.perf_counter() - start
        if rank > 0:
            return
        if not found and unusable:
            raise unusable[0].problem
        write_grounding_results(folder / BOXES_FILE, found)
    memory_gb = peak_memory_gb(device)
    result = {
        "output": str(folder),
        "sentences": len(found),
        "skipped": len(unusable),
        "seconds": round(seconds, 2),
        "peak_memory_gb": None if memory_gb is None else round(memory_gb, 2),
    }
    lines = [
        *([f"{len(unusable)} sentences could not be used; the first: {unusable[0].problem}"] if unusable else []),
        f"{len(found)} sentences in {duration(seconds)}, reading and pictures included.",
        f"Boxes: {folder / BOXES_FILE}",
        *([f"Pictures: {folder / 'pictures'}"] if pictured else []),
        f"Next: fewview detect eval --task grounding {options.input} {folder / BOXES_FILE}",
    ]
    finish(options, result, lines)
