"""`fewview detect train --task grounding`: TSP3D from scans with sentences about their objects."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
import tyro

from ..detect.learning_curve import LearningCurve
from ..detect.measure import Predictor, measure
from ..detect.metrics.grounding_metric import GroundingMetric
from ..detect.metrics.grounding_results import write_grounding_results
from ..detect.tasks.grounding_samples import open_grounding_samples
from ..detect.training import DetectorTraining
from ..detect.tsp3d.config import TSP3DConfig, preset
from ..detect.tsp3d.grounding_detector import TSP3DDetector
from ..detect.tsp3d.model import TSP3DModel
from ..detect.tsp3d.tsp3d_weights import save_weights
from ..learn import TrainRun, fit
from ..learn.network_files import WEIGHTS_FILE
from ..learn.precision import require_bfloat16
from ..learn.processes import network_device, process_group
from ..scene.files import write_json
from .device import set_threads
from .options import Common
from .result import finish
from .terminal_progress import TerminalProgress
from .training_run import check_bounds, keeper, last_lines, make_run_folder, outcome

BOXES_FILE = "boxes.json"
Part = Literal["pruning", "completion"]
Sentences = Literal["scanrefer", "nr3d", "sr3d"]
TextEncoder = Literal["roberta", "minilm", "words"]


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """Train TSP3D on scans with sentences: one box for "the chair left of the desk".

    Ctrl-C saves and stops; --resume goes on from there. Several GPUs: `torchrun --nproc-per-node N -m fewview detect
    train --task grounding ...`.
    """

    # This task.
    task: Literal["grounding"] = "grounding"
    # Folder of scenes in ScanNet's files, with ScanRefer/ or ReferIt3D/ in it.
    input: tyro.conf.Positional[Path]
    # The released network, or one that trains on two CPU cores.
    preset: Literal["paper", "tiny"] = "tiny"
    # Where the sentences are from.
    sentences: Sentences = "scanrefer"
    # Scenes to train on: train, val, or all.
    split: str = "train"
    # Scenes to measure on in the end; none unless given.
    val_split: str | None = None
    # Passes over the sentences; auto is the preset's.
    epochs: int | None = None
    # Sentences of one step of one process; auto is the preset's.
    batch_size: int | None = None
    # Parts to leave out, to see what they are worth.
    without: tuple[Part, ...] = ()
    # Encoder of sentences: auto is the preset's (RoBERTa of yours for paper, MiniLM out of a package for tiny).
    encoder: TextEncoder | None = None
    # Folder with the encoder's config.json, vocabulary and weights, where they are not in a package.
    text: Path | None = None
    # Go on from the newest checkpoint of the run, also with more --epochs than it was begun with.
    resume: bool = False
    # Epochs between weights that are kept in epochs/; 0 for those of the end alone.
    keep_every: int = 0
    # Processes that read scans ahead; auto is 0 on a CPU and 8 on a GPU.
    workers: int | None = None
    # Compute in bfloat16 where that is safe: about twice as fast on a GPU; also on processors with AVX512_BF16.
    mixed_precision: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bounds(self)

    def config(self) -> TSP3DConfig:
        chosen = {"epochs": self.epochs, "batch_size": self.batch_size, "text": self.encoder}
        changes: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
        changes |= {part: False for part in self.without}
        return replace(preset(self.preset), text_folder=str(self.text or ""), **changes)


def run(options: Options) -> None:
    device = network_device(options.device)
    if options.mixed_precision:
        require_bfloat16(device)
    set_threads(options.threads)
    samples = open_grounding_samples(options.input, options.split, options.sentences)
    config = replace(options.config(), names=samples.object_names)
    held_out = metric = None
    if options.val_split is not None:
        held_out = open_grounding_samples(options.input, options.val_split, options.sentences)
        metric = GroundingMetric.of(held_out)  # now, as it refuses what has no annotations
    folder = options.output or Path("runs") / f"{options.input.resolve().name}_tsp3d_{options.preset}"
    make_run_folder(folder, options.resume)
    with process_group(device) as (rank, processes), TerminalProgress(options.quiet or rank > 0) as progress:
        torch.manual_seed(options.seed)
        network = TSP3DModel(config)
        network.to(device)
        detector = TSP3DDetector(network)
        workers = options.workers if options.workers is not None else (8 if device.type == "cuda" else 0)
        training = DetectorTraining(detector, samples, options.seed, workers)
        keep = keeper(folder, options.keep_every, lambda path: save_weights(path, network))
        curve = LearningCurve(folder, training.order.steps_per_epoch, keep, rank == 0)
        plan = TrainRun(
            folder / "checkpoints",
            options.resume,
            mixed_precision=options.mixed_precision,
            may_differ=frozenset({"epochs"}),
            after_step=curve,
        )
        torch.manual_seed(options.seed + rank)  # dropout and drawn voxels differ between processes
        trained = fit(network, training, plan, progress)
        for note in trained.notes:
            progress.say(note)
        if rank > 0:
            return
        save_weights(folder / WEIGHTS_FILE, network)
        write_json(folder / "config.json", {"preset": options.preset, **training.settings()})
        result, lines = outcome(trained, folder, processes)
        if held_out is not None and metric is not None and result["finished"]:
            scores, found = measure(Predictor(detector, device), held_out, metric, progress)
            write_grounding_results(folder / BOXES_FILE, found)
            result["metrics"] = scores.summary()
            lines = [*scores.lines(), "", *lines]
        following = f"Next: fewview detect run --task grounding {options.input} --weights {folder}"
        lines = [*lines, *last_lines(result, folder, device, following)]
        write_json(folder / "metrics.json", result)
    finish(options, result, lines)
