"""`train_detector`: the training of any task's detector, from the seed to the figures on what was held out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..detect.detector import Detector
from ..detect.learning_curve import LearningCurve
from ..detect.measure import Predictor, measure
from ..detect.metric import Metric
from ..detect.sample import Sample, Samples
from ..detect.training import DetectorTraining
from ..learn import TrainRun, fit
from ..learn.network_files import WEIGHTS_FILE
from ..learn.processes import process_group
from ..scene.boxes import Boxes
from ..scene.files import write_json
from .network_options import NetworkOptions
from .result import finish
from .terminal_progress import TerminalProgress
from .training_run import BOUNDS, keeper, last_lines, make_run_folder, outcome, require_within

WORKERS_CUDA = 8


@dataclass(frozen=True, kw_only=True)
class TrainOptions(NetworkOptions):
    """Options of every detector's training."""

    # Passes over the data; auto is the preset's.
    epochs: int | None = None
    # Samples of one step of one process; auto is the preset's.
    batch_size: int | None = None
    # What to measure on in the end, named as for --split; nothing unless given.
    val_split: str | None = None
    # Go on from the newest checkpoint of the run, also with more --epochs than it was begun with.
    resume: bool = False
    # Epochs between weights that are kept in epochs/; 0 for those of the end alone.
    keep_every: int = 0
    # Processes that read samples ahead; auto is 0 on a CPU and 8 on a GPU.
    workers: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require_within(self, BOUNDS)

    def lengths(self) -> dict[str, Any]:
        """The fields of a preset that are asked for: epochs and samples of a step."""
        asked = {"epochs": self.epochs, "batch_size": self.batch_size}
        return {name: value for name, value in asked.items() if value is not None}


@dataclass(frozen=True)
class HeldOut:
    """Samples that the trained detector is measured on, and the file that its boxes go into."""

    samples: Samples[Any]
    metric: Metric[Any]  # made before the training, as it refuses samples without annotations
    write: Callable[[Detector, Mapping[str, Boxes]], None]


@dataclass(frozen=True)
class Trainee:
    """A task's part of a training."""

    preset: str
    samples: Samples[Sample]
    build: Callable[[Callable[[str], None]], Detector]  # made on the CPU under the seed; tells what it started from
    save: Callable[[Path, Any], None]  # the network
    held_out: HeldOut | None
    following: str  # the command that comes next, after `fewview detect`
    notes: tuple[str, ...] = ()  # on the samples


def train_detector(options: TrainOptions, device: torch.device, folder: Path, trainee: Trainee) -> None:
    """Train into a run folder and print what came of it. Raises BadInputError where the folder holds another run."""
    make_run_folder(folder, options.resume)
    with process_group(device) as (rank, processes), TerminalProgress(options.quiet or rank > 0) as progress:
        for note in trainee.notes:
            progress.say(note)
        torch.manual_seed(options.seed)
        detector = trainee.build(progress.say)
        network = detector.network.to(device)
        workers = options.workers if options.workers is not None else (WORKERS_CUDA if device.type == "cuda" else 0)
        training = DetectorTraining(detector, trainee.samples, options.seed, workers)
        keep = keeper(folder, options.keep_every, lambda path: trainee.save(path, network))
        plan = TrainRun(
            folder / "checkpoints",
            options.resume,
            mixed_precision=options.mixed_precision,
            may_differ=frozenset({"epochs"}),
            after_step=LearningCurve(folder, training.order.steps_per_epoch, keep, rank == 0),
        )
        torch.manual_seed(options.seed + rank)  # what is drawn inside of networks differs between processes
        trained = fit(network, training, plan, progress)
        for note in trained.notes:
            progress.say(note)
        if rank > 0:
            return
        trainee.save(folder / WEIGHTS_FILE, network)
        write_json(folder / "config.json", {"preset": trainee.preset, **training.settings()})
        result, lines = outcome(trained, folder, processes)
        if trainee.held_out is not None and result["finished"]:
            held = trainee.held_out
            scores, found = measure(Predictor(detector, device), held.samples, held.metric, progress)
            held.write(detector, found)
            result["metrics"] = scores.summary()
            lines = [*scores.lines(), "", *lines]
        following = f"Next: fewview detect {trainee.following} --weights {folder}"
        lines = [*lines, *last_lines(result, folder, device, following)]
        write_json(folder / "metrics.json", result)
    finish(options, result, lines)
