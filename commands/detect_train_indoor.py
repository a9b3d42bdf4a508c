"""`fewview detect train --task indoor`: ImGeoNet from rooms with posed photographs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
import tyro

from ..detect.imgeonet.config import ImGeoNetConfig, preset
from ..detect.imgeonet.imgeonet_detector import ImGeoNetDetector
from ..detect.imgeonet.imgeonet_weights import save_imgeonet, start_backbone
from ..detect.imgeonet.model import ImGeoNet
from ..detect.learning_curve import LearningCurve
from ..detect.measure import Predictor, measure
from ..detect.metrics.indoor_metric import IndoorMetric
from ..detect.metrics.indoor_results import write_indoor_results
from ..detect.tasks.indoor_samples import open_rooms
from ..detect.training import DetectorTraining
from ..learn import TrainRun, fit
from ..learn.network_files import WEIGHTS_FILE
from ..learn.precision import require_bfloat16
from ..learn.processes import network_device, process_group
from ..scene.errors import BadInputError
from ..scene.files import write_json
from .device import set_threads
from .options import Common
from .result import finish
from .terminal_progress import TerminalProgress
from .training_run import check_bounds, has_checkpoint, keeper, last_lines, make_run_folder, outcome

ROOMS_FILE = "rooms.json"


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """Train ImGeoNet on rooms with posed photographs: boxes of furniture, without a scan.

    Photographs need depth in training, not afterwards. Ctrl-C saves and stops; --resume goes on from there. Several
    GPUs: `torchrun --nproc-per-node N -m fewview detect train --task indoor ...`.
    """

    # This task.
    task: Literal["indoor"] = "indoor"
    # Folder of scenes in ScanNet's files.
    input: tyro.conf.Positional[Path]
    # The paper's network for ScanNet, for ARKitScenes, or one that trains on two CPU cores.
    preset: Literal["paper", "paper-arkit", "tiny"] = "tiny"
    # Rooms to train on: train, val, test, or all.
    split: str = "train"
    # Rooms to measure on in the end; none unless given.
    val_split: str | None = None
    # Passes over the rooms; auto is the preset's.
    epochs: int | None = None
    # Rooms of one step of one process; auto is the preset's.
    batch_size: int | None = None
    # Photographs of a room in a step; auto is the preset's.
    views: int | None = None
    # Parts to leave out: without geometry it is ImVoxelNet, which needs no depth.
    without: tuple[Literal["geometry"], ...] = ()
    # ImageNet weights of the image backbone, as torchvision has them; those of an installed package unless given.
    start: Path | None = None
    # Go on from the newest checkpoint of the run, also with more --epochs than it was begun with.
    resume: bool = False
    # Epochs between weights that are kept in epochs/; 0 for those of the end alone.
    keep_every: int = 0
    # Processes that read rooms ahead; auto is 0 on a CPU and 8 on a GPU.
    workers: int | None = None
    # Compute in bfloat16 where that is safe: about twice as fast on a GPU; also on processors with AVX512_BF16.
    mixed_precision: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bounds(self, views=(1, 1000))

    def config(self) -> ImGeoNetConfig:
        chosen = {"epochs": self.epochs, "batch_size": self.batch_size, "train_views": self.views}
        changes: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
        return replace(preset(self.preset), geometry="geometry" not in self.without, **changes)


def run(options: Options) -> None:
    device = network_device(options.device)
    if options.mixed_precision:
        require_bfloat16(device)
    set_threads(options.threads)
    config = options.config()
    samples = open_rooms(options.input, config.classes, options.split)
    if not any(len(boxes) for boxes in samples.truth().values()):
        raise BadInputError(
            f"The rooms of {options.input} ({options.split}) have no box of the {len(config.classes)} classes of "
            f"--preset {options.preset}, so there is nothing to learn."
        )
    held_out = metric = None
    if options.val_split is not None:
        held_out = open_rooms(options.input, config.classes, options.val_split)
        metric = IndoorMetric(held_out.truth(), config.yaw)  # now, as it refuses what has no annotations
    folder = options.output or Path("runs") / f"{options.input.resolve().name}_imgeonet_{options.preset}"
    make_run_folder(folder, options.resume)
    with process_group(device) as (rank, processes), TerminalProgress(options.quiet or rank > 0) as progress:
        for note in samples.notes:
            progress.say(note)
        torch.manual_seed(options.seed)
        network = ImGeoNet(config)
        if not (options.resume and has_checkpoint(folder)):
            progress.say(start_backbone(network, options.start))
        network.to(device)
        detector = ImGeoNetDetector(network)
        workers = options.workers if options.workers is not None else (8 if device.type == "cuda" else 0)
        training = DetectorTraining(detector, samples, options.seed, workers)
        keep = keeper(folder, options.keep_every, lambda path: save_imgeonet(path, network))
        curve = LearningCurve(folder, training.order.steps_per_epoch, keep, rank == 0)
        plan = TrainRun(
            folder / "checkpoints",
            options.resume,
            mixed_precision=options.mixed_precision,
            may_differ=frozenset({"epochs"}),
            after_step=curve,
        )
        trained = fit(network, training, plan, progress)
        for note in trained.notes:
            progress.say(note)
        if rank > 0:
            return
        save_imgeonet(folder / WEIGHTS_FILE, network)
        write_json(folder / "config.json", {"preset": options.preset, **training.settings()})
        result, lines = outcome(trained, folder, processes)
        if held_out is not None and metric is not None and result["finished"]:
            scores, found = measure(Predictor(detector, device), held_out, metric, progress)
            write_indoor_results(folder / ROOMS_FILE, found, config.classes)
            result["metrics"] = scores.summary()
            lines = [*scores.lines(), "", *lines]
        following = f"Next: fewview detect run --task indoor {options.input} --weights {folder}"
        lines = [*lines, *last_lines(result, folder, device, following)]
        write_json(folder / "metrics.json", result)
    finish(options, result, lines)
