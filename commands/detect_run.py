"""`fewview detect run`: boxes for a data set or a single frame."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
import tyro

from ..detect.detector_registry import load_detector, new_detector
from ..detect.measure import Predictor, detect_all
from ..detect.metrics.nuscenes_submission import submission_boxes, used_modalities, write_submission
from ..detect.tasks.driving_picture import frame_picture
from ..detect.tasks.driving_sample import DrivingSample
from ..detect.tasks.driving_samples import open_driving_samples
from ..learn.precision import require_bfloat16
from ..learn.processes import network_device, peak_memory_gb
from ..scene.boxes import Boxes
from ..scene.errors import BadInputError, FewviewError
from ..scene.files import write_bytes
from ..scene.progress import duration
from .device import set_threads
from .options import Common
from .result import finish
from .terminal_progress import TerminalProgress

DETECTOR = "sparsefusion"
RANDOM_WEIGHTS = "No --weights were given: the network is random, and its boxes mean nothing."


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """Boxes for a data set in the nuScenes format, or for the frames of an info file.

    Writes a submission in the nuScenes layout, and pictures of the frames: boxes in the six photographs and from above.
    """

    # Folder in the nuScenes format, or an MMDetection3D info file as JSON.
    input: tyro.conf.Positional[Path]
    # A run of `fewview detect train`, its weights file, or a released SparseFusion checkpoint; random unless given.
    weights: Path | None = None
    # The network where no weights are given.
    preset: Literal["paper", "paper-swin", "tiny"] = "paper"
    # What to detect on: a split's name, a file with scene names, or all.
    split: str = "all"
    # Compute in bfloat16 where that is safe: about twice as fast on a GPU, and on processors with AVX512_BF16.
    mixed_precision: bool = False
    # Frames that get a picture, evenly spread; 0 for none.
    pictures: int = 20
    # Boxes below this score are not drawn; all are in the submission.
    min_score: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.min_score <= 1:
            raise BadInputError(f"--min-score {self.min_score:g} cannot be used: 0 to 1 is expected.")
        if self.pictures < 0:
            raise BadInputError(f"--pictures {self.pictures} cannot be used: 0 or more is expected.")


def run(options: Options) -> None:
    device = network_device(options.device)
    if options.mixed_precision:
        require_bfloat16(device)
    set_threads(options.threads)
    torch.manual_seed(options.seed)
    with TerminalProgress(options.quiet) as progress:
        if options.weights is None:
            progress.say(RANDOM_WEIGHTS)
            detector = new_detector(DETECTOR, options.preset)
        else:
            detector = load_detector(DETECTOR, options.weights)
        detector.network.to(device)
        predictor = Predictor(detector, device, options.mixed_precision)
        samples = open_driving_samples(options.input, detector.inputs.sweeps, options.split)
        folder = options.output or Path("runs") / f"{options.input.resolve().stem}_detections"
        pictures = _Pictures(folder, _spread(len(samples), options.pictures), options.min_score)
        start = time.perf_counter()
        found = detect_all(predictor, samples, submission_boxes, progress, pictures)
        seconds = time.perf_counter() - start
        submission = folder / "submission.json"
        write_submission(submission, found, samples.tokens, used_modalities(detector.inputs))
    memory_gb = peak_memory_gb(device)
    result = {
        "output": str(folder),
        "submission": str(submission),
        "samples": len(samples),
        "boxes": sum(len(boxes) for boxes in found.values()),
        "random_weights": options.weights is None,
        "seconds": round(seconds, 2),
        "peak_memory_gb": None if memory_gb is None else round(memory_gb, 2),
        "pictures": [str(path) for path in pictures.written],
    }
    lines = [
        f"{result['boxes']} boxes in {len(samples)} frames in {duration(seconds)}, reading and pictures included"
        + ("." if memory_gb is None else f"; peak memory {memory_gb:.2f} GB."),
        f"Submission: {submission}",
        *([f"Pictures: {pictures.folder}"] if pictures.written else []),
    ]
    if options.input.is_dir():
        split = "" if options.split == "all" else f" --split {options.split}"
        lines.append(f"Next: fewview detect eval {options.input} {submission}{split}")
    finish(options, result, lines)


def _spread(count: int, wanted: int) -> set[int]:
    return set(np.linspace(0, count - 1, min(count, wanted)).round().astype(int).tolist()) if count else set()


class _Pictures:
    """Writes a picture of each frame that is asked for, in the order in which they come."""

    def __init__(self, folder: Path, numbers: set[int], min_score: float) -> None:
        self.folder, self.numbers, self.min_score = folder / "pictures", numbers, min_score
        self.seen = 0
        self.written: list[Path] = []
        try:
            (self.folder if numbers else folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInputError(f"The folder {folder} cannot be made: {error.strerror or error}.") from error

    def __call__(self, sample: DrivingSample, boxes: Boxes) -> None:
        if self.seen in self.numbers:
            path = self.folder / f"{self.seen:05d}.jpg"
            picture = cv2.cvtColor(frame_picture(sample, boxes, self.min_score), cv2.COLOR_RGB2BGR)
            ok, encoded = cv2.imencode(".jpg", picture)
            if not ok:
                raise FewviewError(f"{path} could not be encoded.")
            write_bytes(path, encoded.tobytes())
            self.written.append(path)
        self.seen += 1
