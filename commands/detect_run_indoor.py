"""`fewview detect run --task indoor`: boxes in rooms from posed photographs."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import tyro

from ..detect.imgeonet.imgeonet_detector import ImGeoNetDetector, load, new
from ..detect.imgeonet.model import ImGeoNet
from ..detect.measure import Predictor, Unusable, detect_each
from ..detect.metrics.indoor_results import read_indoor_results, write_indoor_results
from ..detect.tasks.indoor_samples import open_rooms
from ..detect.tasks.room_picture import room_picture
from ..learn.processes import peak_memory_gb, process_group
from ..scene.boxes import Boxes
from ..scene.errors import BadInputError
from ..scene.files import make_folder
from ..scene.progress import duration
from .detect_run import RANDOM_WEIGHTS
from .network_options import NetworkOptions
from .picture_file import evenly_spread, write_picture
from .result import finish
from .shared_detection import joined_boxes, of_all_processes
from .terminal_progress import TerminalProgress

ROOMS_FILE = "rooms.json"


@dataclass(frozen=True, kw_only=True)
class Options(NetworkOptions):
    """Boxes for rooms from posed photographs, in the frame of their cameras (metres, z up).

    Writes rooms.json and a picture of each room: boxes in some photographs and from above. No depth is needed.
    """

    # This task.
    task: Literal["indoor"] = "indoor"
    # Folder of ScanNet scenes, an info file of SUN RGB-D, or posed photographs in metres with z up.
    input: tyro.conf.Positional[Path]
    # A run of `fewview detect train --task indoor`, or its weights; random unless given.
    weights: Path | None = None
    # The network where no weights are given.
    preset: Literal["paper", "paper-arkit", "tiny"] = "tiny"
    # Rooms to look at: train, val, test, or all.
    split: str = "all"
    # Photographs of a room that are looked at, evenly spread; auto is the network's own number.
    views: int | None = None
    # Rooms that get a picture, evenly spread; 0 for none.
    pictures: int = 20
    # Boxes below this score are not drawn; all are in rooms.json.
    min_score: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.min_score <= 1:
            raise BadInputError(f"--min-score {self.min_score:g} cannot be used: 0 to 1 is expected.")
        if self.views is not None and not 1 <= self.views <= 1000:
            raise BadInputError(f"--views {self.views} cannot be used: 1 to 1000 are possible.")
        if self.pictures < 0:
            raise BadInputError(f"--pictures {self.pictures} cannot be used: 0 or more is expected.")


def run(options: Options) -> None:
    device = options.begin()
    with process_group(device) as (rank, processes), TerminalProgress(options.quiet or rank > 0) as progress:
        if options.weights is None:
            progress.say(RANDOM_WEIGHTS)
        detector = with_views(new(options.preset) if options.weights is None else load(options.weights), options.views)
        detector.network.to(device)
        samples = open_rooms(options.input, detector.config.classes, options.split)
        notes = list(samples.notes)
        for note in notes:
            progress.say(note)
        folder = options.output or Path("runs") / f"{options.input.resolve().stem}_rooms"
        make_folder(folder)
        pictured = evenly_spread(len(samples), options.pictures)
        found: dict[str, Boxes] = {}
        unusable: list[Unusable] = []
        start = time.perf_counter()
        predictor = Predictor(detector, device, options.mixed_precision)
        for result in detect_each(predictor, samples, progress=progress, share=(rank, processes)):
            if isinstance(result, Unusable):
                unusable.append(result)
                continue
            found[result.sample.token] = result.boxes
            if result.number in pictured:
                picture = room_picture(
                    result.sample, result.boxes, options.min_score, random_weights=options.weights is None
                )
                write_picture(folder / "pictures" / f"{result.sample.token}.jpg", picture)
        classes = detector.config.classes
        found = joined_boxes(
            folder / ROOMS_FILE,
            found,
            samples.tokens,
            lambda path, boxes: write_indoor_results(path, boxes, classes),
            read_indoor_results,
        )
        unusable, _ = of_all_processes(unusable, [])
        seconds = time.perf_counter() - start
        if rank > 0:
            return
        if not found:
            raise unusable[0].problem
        if unusable:
            notes.append(
                f"{len(unusable)} of {len(samples)} rooms could not be used and have no boxes; the first: "
                f"{unusable[0].problem}"
            )
        write_indoor_results(folder / ROOMS_FILE, found, detector.config.classes)
    memory_gb = peak_memory_gb(device)
    result_table = {
        "output": str(folder),
        "rooms": len(found),
        "unusable": len(unusable),
        "boxes": sum(map(len, found.values())),
        "seconds": round(seconds, 2),
        "peak_memory_gb": None if memory_gb is None else round(memory_gb, 2),
        "random_weights": options.weights is None,
        "notes": notes,
    }
    memory = "" if memory_gb is None else f", {memory_gb:.2f} GB at most"
    lines = [
        *notes[len(samples.notes) :],
        f"{len(found)} rooms in {duration(seconds)}{memory}.",
        f"Boxes: {folder / ROOMS_FILE}",
        *([f"Pictures: {folder / 'pictures'}"] if pictured else []),
        f"Next: fewview detect eval --task indoor {options.input} {folder / ROOMS_FILE}",
    ]
    finish(options, result_table, lines)


def with_views(detector: ImGeoNetDetector, views: int | None) -> ImGeoNetDetector:
    """The detector that looks at another number of photographs."""
    if views is None:
        return detector
    network = detector.network
    assert isinstance(network, ImGeoNet)
    network.config = replace(network.config, test_views=views)
    return ImGeoNetDetector(network)
