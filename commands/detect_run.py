"""`fewview detect run`: boxes for a data set or a single frame."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from ..detect.detector_registry import load_detector, new_detector
from ..detect.measure import Predictor, Unusable, detect_each
from ..detect.metrics.nuscenes_submission import submission_boxes, used_modalities, write_submission
from ..detect.tasks.driving_picture import frame_picture
from ..detect.tasks.driving_sample import DrivingSample
from ..detect.tasks.driving_samples import MAX_SWEEPS, LogSamples, NuScenesSamples, open_driving_samples
from ..learn.network_files import WEIGHTS_FILE
from ..learn.processes import current_process, peak_memory_gb, process_group
from ..scene.boxes import Boxes
from ..scene.datasets.lidar_detections import (
    DetectionsFile,
    FrameDetections,
    read_detections,
    write_csv,
    write_kitti,
)
from ..scene.errors import BadInputError
from ..scene.files import file_sha256
from .detection_run import RunOptions, cost, random_weights_note, require_score, skipped_note, told
from .picture_file import evenly_spread, write_picture
from .result import finish
from .shared_detection import join_parts, of_all_processes, part_of, values_of_processes
from .terminal_progress import TerminalProgress

DETECTOR = "sparsefusion"
DETECTIONS_FILE, SUBMISSION = "detections.jsonl", "submission.json"


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """Boxes for a data set in the nuScenes format, or for the frames of an info file.

    Writes the boxes in the LiDAR's frame (detections.jsonl, a line for each frame as soon as it is done), a submission
    in the nuScenes layout, and pictures of the frames: boxes in the photographs and from above.
    """

    # driving: this. indoor: boxes in rooms, grounding: boxes for sentences; see --task indoor --help.
    task: Literal["driving", "indoor", "grounding"] = "driving"
    # Folder in the nuScenes format, or an MMDetection3D info file as JSON.
    input: tyro.conf.Positional[Path]
    # A run of `fewview detect train`, its weights file, or a released SparseFusion checkpoint; random unless given.
    weights: Path | None = None
    # The network where no weights are given.
    preset: Literal["paper", "paper-swin", "tiny"] = "paper"
    # What to detect on: a split's name, a file with scene names, or all.
    split: str = "all"
    # LiDAR sweeps of a frame, the key sweep among them; as many as the network was trained with unless given.
    sweeps: int | None = None
    # Go on with frames that were not done when the run was interrupted, or could not be read.
    resume: bool = False
    # Other layouts of the boxes in the LiDAR's frame: one CSV table, KITTI's text files.
    formats: tuple[Literal["csv", "kitti"], ...] = ()
    # Boxes below this score are not drawn; all are in the submission.
    min_score: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_score(self.min_score)
        if self.sweeps is not None and not 1 <= self.sweeps <= MAX_SWEEPS:
            raise BadInputError(f"--sweeps {self.sweeps} cannot be used: 1 to {MAX_SWEEPS} are possible.")


def run(options: Options) -> None:
    device = options.begin()
    with process_group(device) as (rank, processes), TerminalProgress(options.quiet or rank > 0) as progress:
        if options.weights is None:
            detector = new_detector(DETECTOR, options.preset)
        else:
            detector = load_detector(DETECTOR, options.weights)
        detector.network.to(device)
        sweeps = options.sweeps or detector.inputs.sweeps
        samples = open_driving_samples(options.input, sweeps, options.split, detector.inputs.images)
        notes = list(samples.notes)
        for note in (*random_weights_note(options.weights), *notes):
            progress.say(note)
        folder = options.output or Path("runs") / f"{options.input.resolve().stem}_detections"
        if rank == 0:
            _make_folder(folder, options.resume)
        # A network of LiDAR alone runs without photographs, but pictures show them where they are there.
        shown = samples if detector.inputs.images else open_driving_samples(options.input, 1, options.split)
        pictures = _Pictures(folder, evenly_spread(len(samples), options.pictures), options, shown)
        about, names = _about(options, samples.tokens, sweeps), detector.task.classes
        kept = _opened(folder / DETECTIONS_FILE, about, names, options.resume)
        (folder / SUBMISSION).unlink(missing_ok=True)  # it is there when all frames are done
        start = time.perf_counter()
        unusable = _detect(Predictor(detector, device, options.mixed_precision), samples, kept, progress, pictures)
        unusable, written = of_all_processes(unusable, [str(path) for path in pictures.written])
        if rank > 0:
            return
        if processes > 1:
            kept = DetectionsFile(folder / DETECTIONS_FILE, about, resume=True)
            join_parts(kept, names)
        seconds = time.perf_counter() - start
        if unusable and not kept.done:
            raise unusable[0].problem
        for skipped in skipped_note(unusable, len(samples), "frames"):
            notes.append(f"{skipped} --resume tries them again.")
            progress.say(notes[-1])
        found = {f.token: submission_boxes(f, f.boxes) for f in read_detections(kept.path, detector.task.classes)}
        submission = folder / SUBMISSION
        write_submission(submission, found, samples.tokens, used_modalities(detector.inputs))
        for kind in options.formats:
            frames = read_detections(kept.path, detector.task.classes)
            if kind == "csv":
                write_csv(folder / "detections.csv", frames)
            else:
                write_kitti(folder / "kitti", frames)
    memory_gb = peak_memory_gb(device)
    result = {
        "output": str(folder),
        "submission": str(submission),
        "detections": str(kept.path),
        "samples": len(samples),
        "skipped": {u.token: str(u.problem) for u in unusable},
        "boxes": sum(len(boxes) for boxes in found.values()),
        "random_weights": options.weights is None,
        **cost(seconds, memory_gb),
        "pictures": written,
        "notes": notes,
    }
    lines = [
        told(f"{result['boxes']} boxes in {len(samples) - len(unusable)} frames", seconds, memory_gb),
        f"Submission: {submission}",
        f"In the LiDAR's frame: {kept.path}",
        *([f"Pictures: {pictures.folder}"] if written else []),
    ]
    if samples.annotated and options.input.is_dir():
        split = "" if options.split == "all" else f" --split {options.split}"
        lines.append(f"Next: fewview detect eval {options.input} {submission}{split}")
    finish(options, result, lines)


def _detect(
    predictor: Predictor,
    samples: NuScenesSamples | LogSamples,
    kept: DetectionsFile,
    progress: TerminalProgress,
    pictures: _Pictures,
) -> list[Unusable]:
    """Add every frame that is not there yet; returns those that could not be used."""
    unusable = []
    try:
        for found in detect_each(predictor, samples, frozenset(kept.done), progress, current_process()):
            if isinstance(found, Unusable):
                unusable.append(found)
                continue
            s = found.sample
            kept.add(FrameDetections(s.token, s.timestamp_us, s.ego_from_lidar, s.global_from_ego, found.boxes))
            pictures(found.number, s, found.boxes)
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(
            f"Interrupted; the boxes of {len(kept.done)} of {len(samples)} frames are in {kept.path}, and the same "
            "command with --resume goes on."
        ) from interrupt
    return unusable


def _opened(path: Path, about: dict[str, Any], names: tuple[str, ...], resume: bool) -> DetectionsFile:
    """The file that this process writes its frames to, knowing those of all processes that are done.

    Parts that an interrupted run of several processes has left are joined first.
    """
    rank, processes = current_process()
    if rank == 0:
        whole = DetectionsFile(path, about, resume)
        if resume:
            join_parts(whole, names)
    values_of_processes(None)  # the first process is ready
    if processes == 1:
        return whole
    done = DetectionsFile(path, about, resume=True).done
    values_of_processes(None)  # all have read it
    part = DetectionsFile(part_of(path, rank), about, resume=False)
    part.done |= done
    return part


def _about(options: Options, tokens: tuple[str, ...], sweeps: int) -> dict[str, Any]:
    """Facts that must be the same for frames to go into one file."""
    weights = f"random {options.preset} {options.seed}"
    if options.weights is not None:
        path = options.weights / WEIGHTS_FILE if options.weights.is_dir() else options.weights
        weights = file_sha256(path)
    samples = hashlib.sha256("\n".join(tokens).encode()).hexdigest()
    return {"weights": weights, "samples": samples, "sweeps": sweeps, "mixed_precision": options.mixed_precision}


def _make_folder(folder: Path, resume: bool) -> None:
    """Raises BadInputError where unfinished work would be lost."""
    begun, finished = (folder / DETECTIONS_FILE).exists(), (folder / SUBMISSION).exists()
    if begun and not finished and not resume:
        raise BadInputError(
            f"{folder} holds detections that were not finished; add --resume to go on, or choose another folder "
            "with -o."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInputError(f"The folder {folder} cannot be made: {error.strerror or error}.") from error


class _Pictures:
    """Writes a picture of each frame that is asked for, from above alone where its photographs cannot be read."""

    def __init__(self, folder: Path, numbers: set[int], options: Options, shown: NuScenesSamples | LogSamples) -> None:
        self.folder, self.numbers, self.options, self.shown = folder / "pictures", numbers, options, shown
        self.written: list[Path] = []

    def __call__(self, number: int, sample: DrivingSample, boxes: Boxes) -> None:
        if number not in self.numbers:
            return
        path = self.folder / f"{number:05d}.jpg"
        write_picture(path, self._drawn(number, sample, boxes))
        self.written.append(path)

    def _drawn(self, number: int, sample: DrivingSample, boxes: Boxes) -> np.ndarray:
        """uint8 [H, W, 3]"""
        random = self.options.weights is None
        if not len(sample.cameras):
            try:
                return frame_picture(self.shown[number], boxes, self.options.min_score, random_weights=random)
            except BadInputError:
                pass
        return frame_picture(sample, boxes, self.options.min_score, random_weights=random)
