"""`fewview detect train`: a LiDAR-camera detector from a data set in the nuScenes format."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
import tyro

from ..detect.learning_curve import LearningCurve
from ..detect.measure import Predictor, measure
from ..detect.metrics.nuscenes_metric import NuScenesMetric
from ..detect.metrics.nuscenes_submission import used_modalities, write_submission
from ..detect.sparsefusion.config import SparseFusionConfig, preset
from ..detect.sparsefusion.driving_detector import SparseFusionDetector
from ..detect.sparsefusion.model import SparseFusionModel
from ..detect.sparsefusion.start_weights import frozen_at_random, start_from
from ..detect.sparsefusion.weight_files import save_weights
from ..detect.tasks.driving_samples import MAX_SWEEPS, NuScenesSamples
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

Part = Literal["images", "lidar", "semantic-transfer", "geometric-transfer"]
_FIELDS = {
    "images": "use_images",
    "lidar": "use_lidar",
    "semantic-transfer": "semantic_transfer",
    "geometric-transfer": "geometric_transfer",
}


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """Train SparseFusion on a data set in the nuScenes format.

    Ctrl-C saves and stops; --resume goes on from there. Several GPUs: `torchrun --nproc-per-node N -m fewview detect
    train ...`. Trained parts to start from, such as the LiDAR trunk of a run without images, are given with --start.
    """

    # driving: this network. indoor: ImGeoNet on rooms, grounding: TSP3D on sentences; see --task indoor --help.
    task: Literal["driving", "indoor", "grounding"] = "driving"
    # Folder in the nuScenes format.
    input: tyro.conf.Positional[Path]
    # The paper's network with ResNet-50, with Swin-T, or one that trains on two CPU cores.
    preset: Literal["paper", "paper-swin", "tiny"] = "tiny"
    # Scenes to train on: a split's name, a file with scene names, or all.
    split: str = "all"
    # Scenes to measure on in the end; none unless given.
    val_split: str | None = None
    # Passes over the data; auto is the preset's.
    epochs: int | None = None
    # Samples of one step of one process; auto is the preset's.
    batch_size: int | None = None
    # Parts to leave out, to see what they are worth.
    without: tuple[Part, ...] = ()
    # Weights to start from, part by part: a run of ours, released SparseFusion or TransFusion-L weights, a Mask R-CNN
    # of MMDetection, a ResNet-50. Files that are named later overwrite those named earlier.
    start: tuple[Path, ...] = ()
    # Go on from the newest checkpoint of the run, also with more --epochs than it was begun with.
    resume: bool = False
    # Epochs between weights that are kept in epochs/; 0 for those of the end alone.
    keep_every: int = 1
    # Processes that read samples ahead; auto is 0 on a CPU and 8 on a GPU.
    workers: int | None = None
    # LiDAR sweeps of a sample, the key sweep among them; auto is the preset's.
    sweeps: int | None = None
    # Compute in bfloat16 where that is safe: about twice as fast on a GPU; also on processors with AVX512_BF16.
    mixed_precision: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bounds(self, sweeps=(1, MAX_SWEEPS))

    def config(self) -> SparseFusionConfig:
        chosen = {"epochs": self.epochs, "batch_size": self.batch_size, "sweeps": self.sweeps}
        changes: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
        changes |= {_FIELDS[part]: False for part in self.without}
        if self.start:  # what starts from trained weights learns slower, in every preset
            changes["lidar_lr_factor"] = SparseFusionConfig.lidar_lr_factor
        return replace(preset(self.preset), **changes)


def run(options: Options) -> None:
    device = network_device(options.device)
    if options.mixed_precision:
        require_bfloat16(device)
    set_threads(options.threads)
    config = options.config()
    samples = _samples(options, options.split, config)
    if not samples.learnable_boxes:
        raise BadInputError(
            f"The split {options.split!r} of {options.input} has no annotation of the ten classes with a LiDAR point "
            "inside, as the official test split has none, so there is nothing to learn; choose another --split."
        )
    held_out = metric = None
    if options.val_split is not None:
        held_out = _samples(options, options.val_split, config)
        metric = NuScenesMetric.of(held_out)  # now, as it refuses what has no annotations
    folder = options.output or Path("runs") / f"{options.input.resolve().name}_{options.preset}"
    make_run_folder(folder, options.resume)
    with process_group(device) as (rank, processes), TerminalProgress(options.quiet or rank > 0) as progress:
        for note in samples.notes:
            progress.say(note)
        torch.manual_seed(options.seed)
        model = SparseFusionModel(config).to(device)
        _start(options, model, folder, progress)
        detector = SparseFusionDetector(model)
        workers = options.workers if options.workers is not None else (8 if device.type == "cuda" else 0)
        training = DetectorTraining(detector, samples, options.seed, workers)
        keep = keeper(folder, options.keep_every, lambda path: save_weights(path, model))
        curve = LearningCurve(folder, training.order.steps_per_epoch, keep, rank == 0)
        plan = TrainRun(
            folder / "checkpoints",
            options.resume,
            mixed_precision=options.mixed_precision,
            may_differ=frozenset({"epochs"}),
            after_step=curve,
        )
        torch.manual_seed(options.seed + rank)  # dropout differs between processes
        trained = fit(model, training, plan, progress)
        for note in trained.notes:
            progress.say(note)
        if rank > 0:
            return
        save_weights(folder / WEIGHTS_FILE, model)
        write_json(folder / "config.json", {"preset": options.preset, **training.settings()})
        result, lines = outcome(trained, folder, processes)
        if held_out is not None and metric is not None and trained.step == trained.steps:
            scores, found = measure(Predictor(detector, device), held_out, metric, progress)
            write_submission(folder / "submission.json", found, held_out.tokens, used_modalities(detector.inputs))
            result["metrics"] = scores.summary()
            lines = [*scores.lines(), "", *lines]
        following = f"Next: fewview detect run {options.input} --weights {folder}"
        lines = [*lines, *last_lines(result, folder, device, following)]
        write_json(folder / "metrics.json", result)
    finish(options, result, lines)


def _samples(options: Options, split: str, config: SparseFusionConfig) -> NuScenesSamples:
    return NuScenesSamples(options.input, split, sweeps=config.sweeps - 1, photographs=config.use_images)


def _start(options: Options, model: SparseFusionModel, folder: Path, progress: TerminalProgress) -> None:
    """Load what --start names. Raises BadInputError where parts are kept as they are that no file gave."""
    given: set[str] = set()
    for path in options.start:
        started = start_from(model, path)
        progress.say(started.line())
        given |= started.names
    random = frozen_at_random(model, given)
    if random and not (options.resume and has_checkpoint(folder)):
        parts = ", ".join(f"{part} ({numbers:,} numbers)" for part, numbers in random.items())
        raise BadInputError(
            f"--preset {options.preset} does not train these parts, and no --start gave them: {parts}. Add --start "
            "with released initial weights, or with those of a TransFusion-L (or a run with --without images) for the "
            "LiDAR's parts and of a ResNet-50 or Mask R-CNN for the image backbone."
        )
