"""`fewview detect run --task indoor`: boxes in rooms from posed photographs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import tyro

from ..detect.imgeonet.imgeonet_detector import ImGeoNetDetector, load, new
from ..detect.imgeonet.model import ImGeoNet
from ..detect.measure import Detected, Predictor
from ..detect.metrics.indoor_results import read_indoor_results, write_indoor_results
from ..detect.tasks.indoor_samples import open_rooms
from ..detect.tasks.room_picture import room_picture
from ..detect.tasks.room_sample import RoomSample
from ..learn.processes import process_group
from ..scene.errors import BadInputError
from .detection_run import BoxesFile, RunOptions, detect_into, random_weights_note, require_score
from .picture_file import write_picture
from .result import finish
from .terminal_progress import TerminalProgress

ROOMS_FILE = "rooms.json"


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """Boxes for rooms from posed photographs, in the frame of their cameras (metres, z up).

    Writes rooms.json and a picture of each room: boxes in some photographs and from above. No depth is needed.
    """

    # This task.
    task: Literal["indoor"] = "indoor"
    # Folder of scenes of ScanNet or ARKitScenes, an info file of SUN RGB-D, or posed photographs in metres with z up.
    input: tyro.conf.Positional[Path]
    # A run of `fewview detect train --task indoor`, or its weights; random unless given.
    weights: Path | None = None
    # The network where no weights are given.
    preset: Literal["paper", "paper-arkit", "tiny"] = "tiny"
    # Rooms to look at: train, val, test, or all.
    split: str = "all"
    # Photographs of a room that are looked at, evenly spread; auto is the network's own number.
    views: int | None = None
    # Boxes below this score are not drawn; all are in rooms.json.
    min_score: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        require_score(self.min_score)
        if self.views is not None and not 1 <= self.views <= 1000:
            raise BadInputError(f"--views {self.views} cannot be used: 1 to 1000 are possible.")


def run(options: Options) -> None:
    device = options.begin()
    with process_group(device) as (rank, _), TerminalProgress(options.quiet or rank > 0) as progress:
        detector = with_views(new(options.preset) if options.weights is None else load(options.weights), options.views)
        detector.network.to(device)
        classes = detector.config.classes
        samples = open_rooms(options.input, classes, options.split)
        for note in (*random_weights_note(options.weights), *samples.notes):
            progress.say(note)
        folder = options.output or Path("runs") / f"{options.input.resolve().stem}_rooms"
        file = BoxesFile(
            folder / ROOMS_FILE, lambda path, boxes: write_indoor_results(path, boxes, classes), read_indoor_results
        )

        def draw(one: Detected[RoomSample]) -> None:
            picture = room_picture(one.sample, one.boxes, options.min_score, random_weights=options.weights is None)
            write_picture(folder / "pictures" / f"{one.sample.token}.jpg", picture)

        predictor = Predictor(detector, device, options.mixed_precision)
        outcome = detect_into(file, predictor, samples, options.pictures, draw, progress)
    if outcome is None:
        return
    notes = outcome.noted("rooms")
    result = {
        "output": str(folder),
        "rooms": len(outcome.found),
        "boxes": sum(map(len, outcome.found.values())),
        "random_weights": options.weights is None,
        "notes": list(dict.fromkeys([*samples.notes, *notes])),
        **outcome.result(),
    }
    lines = [
        *(note for note in notes if note not in samples.notes),
        outcome.told("rooms"),
        f"Boxes: {file.path}",
        *([f"Pictures: {folder / 'pictures'}"] if options.pictures else []),
        f"Next: fewview detect eval --task indoor {options.input} {file.path}",
    ]
    finish(options, result, lines)


def with_views(detector: ImGeoNetDetector, views: int | None) -> ImGeoNetDetector:
    """The detector that looks at another number of photographs."""
    if views is None:
        return detector
    network = detector.network
    assert isinstance(network, ImGeoNet)
    network.config = replace(network.config, test_views=views)
    return ImGeoNetDetector(network)
