"""`fewview detect ground`: the thing in an indoor scan that a sentence speaks of."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from ..detect.measure import Predictor
from ..detect.tasks.grounding_samples import sample_for
from ..detect.tsp3d.config import TSP3DConfig
from ..scene.datasets.indoor_scan import read_indoor_scan
from ..scene.files import write_json
from ..scene.grounded_scan import GROUNDED_FILE, write_grounded_scan
from .grounding_pictures import grounded_scan, load_grounding, write_grounding_picture
from .network_options import NetworkOptions
from .result import finish
from .terminal_progress import TerminalProgress


@dataclass(frozen=True, kw_only=True)
class Options(NetworkOptions):
    """The thing in an indoor scan that a sentence speaks of, as a box: "the chair left of the desk".

    Prints the box and writes it with a picture. A network finds what it was trained on; other rooms, scanners and words
    are an experiment.
    """

    # Scan in metres: a scene folder of ScanNet or ARKitScenes, a PLY or glTF, an info file of SUN RGB-D, a run of
    # `reconstruct`.
    input: tyro.conf.Positional[Path]
    # Words for one thing in it.
    sentence: tyro.conf.Positional[str]
    # A run of `fewview detect train --task grounding`, its weights, or a released TSP3D checkpoint.
    weights: Path
    # Axis that is up in a file of points: x, y, z, -x, -y, -z; auto is z, and what a run says.
    up: str | None = None
    # Metres in one unit of the file; a run needs it.
    scale: float | None = None
    # Folder with the text encoder's files, where they are not in a package.
    text: Path | None = None


def run(options: Options) -> None:
    device = options.begin()
    with TerminalProgress(options.quiet) as progress:
        scan = read_indoor_scan(options.input, options.up, options.scale)
        detector = load_grounding(options.weights, options.text)
        detector.network.to(device)
        notes = [*scan.notes, *unknown_words(options.sentence, detector.config)]
        for note in notes:
            progress.say(note)
        sample = sample_for(scan, options.sentence)
        predictor = Predictor(detector, device, options.mixed_precision)
        progress("looking", 0, 0)
        start = time.perf_counter()
        boxes, output = predictor.with_output(sample)
        seconds = time.perf_counter() - start
        folder = options.output or Path("runs") / f"{scan.name}_grounded"
        write_grounding_picture(folder / "picture.jpg", sample, boxes, output, detector.network)
        write_grounded_scan(folder / GROUNDED_FILE, grounded_scan(sample, boxes, output, detector.network))
    center, size = boxes.centers[0].tolist(), boxes.sizes[0].tolist()
    assert boxes.scores is not None
    result: dict[str, Any] = {
        "sentence": options.sentence,
        "center": [round(v, 4) for v in center],
        "size": [round(v, 4) for v in size],
        "score": round(float(boxes.scores[0]), 4),
        "seconds": round(seconds, 3),
        "voxels": output.counts,
        "notes": notes,
        "output": str(folder),
    }
    write_json(folder / "box.json", result)
    lines = [
        f"Centre {center[0]:.2f} {center[1]:.2f} {center[2]:.2f} m, size {size[0]:.2f} x {size[1]:.2f} x "
        f"{size[2]:.2f} m, score {float(boxes.scores[0]):.2f}, in {seconds:.2f} s.",
        f"Picture: {folder / 'picture.jpg'}",
        f"Next: fewview view {folder}",
    ]
    finish(options, result, lines)


def unknown_words(sentence: str, config: TSP3DConfig) -> list[str]:
    """A note where the sentence names no kind of thing that the network was trained on, as far as that is known."""
    said = " ".join(re.findall(r"[a-z]+", sentence.lower()))
    if not config.names or any(re.search(rf"\b{re.escape(name)}(s|es)?\b", said) for name in config.names):
        return []
    return [
        "The sentence names nothing that this network was trained on, so expect little; it knows: "
        f"{', '.join(config.names)}."
    ]
