"""`fewview detect train`: a LiDAR-camera detector from a data set in the nuScenes format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import tyro

from ..detect.detector import Detector
from ..detect.metrics.nuscenes_metric import NuScenesMetric
from ..detect.metrics.nuscenes_submission import used_modalities, write_submission
from ..detect.sparsefusion.config import SparseFusionConfig, preset
from ..detect.sparsefusion.driving_detector import SparseFusionDetector
from ..detect.sparsefusion.model import SparseFusionModel
from ..detect.sparsefusion.start_weights import frozen_at_random, start_from
from ..detect.sparsefusion.weight_files import save_weights
from ..detect.tasks.driving_samples import MAX_SWEEPS, NuScenesSamples
from ..scene.boxes import Boxes
from ..scene.errors import BadInputError
from .detector_training import HeldOut, Trainee, TrainOptions, train_detector
from .training_run import has_checkpoint, require_within

Part = Literal["images", "lidar", "semantic-transfer", "geometric-transfer"]
_FIELDS = {
    "images": "use_images",
    "lidar": "use_lidar",
    "semantic-transfer": "semantic_transfer",
    "geometric-transfer": "geometric_transfer",
}


@dataclass(frozen=True, kw_only=True)
class Options(TrainOptions):
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
    # Parts to leave out, to see what they are worth.
    without: tuple[Part, ...] = ()
    # Weights to start from, part by part: a run of ours, released SparseFusion or TransFusion-L weights, a Mask R-CNN
    # of MMDetection, a ResNet-50. Files that are named later overwrite those named earlier.
    start: tuple[Path, ...] = ()
    # Epochs between weights that are kept in epochs/; 0 for those of the end alone.
    keep_every: int = 1
    # LiDAR sweeps of a sample, the key sweep among them; auto is the preset's.
    sweeps: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require_within(self, {"sweeps": (1, MAX_SWEEPS)})

    def config(self) -> SparseFusionConfig:
        changes = self.lengths() | {_FIELDS[part]: False for part in self.without}
        if self.sweeps is not None:
            changes["sweeps"] = self.sweeps
        if self.start:  # what starts from trained weights learns slower, in every preset
            changes["lidar_lr_factor"] = SparseFusionConfig.lidar_lr_factor
        return replace(preset(self.preset), **changes)


def run(options: Options) -> None:
    device = options.begin()
    config = options.config()
    samples = _samples(options, options.split, config)
    if not samples.learnable_boxes:
        raise BadInputError(
            f"The split {options.split!r} of {options.input} has no annotation of the ten classes with a LiDAR point "
            "inside, as the official test split has none, so there is nothing to learn; choose another --split."
        )
    folder = options.output or Path("runs") / f"{options.input.resolve().name}_{options.preset}"
    trainee = Trainee(
        options.preset,
        samples,
        build=lambda say: _built(options, config, folder, say),
        save=save_weights,
        held_out=_held_out(options, config, folder),
        following=f"run {options.input}",
        notes=samples.notes,
    )
    train_detector(options, device, folder, trainee)


def _held_out(options: Options, config: SparseFusionConfig, folder: Path) -> HeldOut | None:
    if options.val_split is None:
        return None
    samples = _samples(options, options.val_split, config)

    def write(detector: Detector, found: Mapping[str, Boxes]) -> None:
        write_submission(folder / "submission.json", found, samples.tokens, used_modalities(detector.inputs))

    return HeldOut(samples, NuScenesMetric.of(samples), write)


def _samples(options: Options, split: str, config: SparseFusionConfig) -> NuScenesSamples:
    return NuScenesSamples(options.input, split, sweeps=config.sweeps - 1, photographs=config.use_images)


def _built(
    options: Options, config: SparseFusionConfig, folder: Path, say: Callable[[str], None]
) -> SparseFusionDetector:
    """The network with what --start names. Raises BadInputError where parts are kept as they are that no file gave."""
    model = SparseFusionModel(config)
    given: set[str] = set()
    for path in options.start:
        started = start_from(model, path)
        say(started.line())
        given |= started.names
    random = frozen_at_random(model, given)
    if random and not (options.resume and has_checkpoint(folder)):
        parts = ", ".join(f"{part} ({numbers:,} numbers)" for part, numbers in random.items())
        raise BadInputError(
            f"--preset {options.preset} does not train these parts, and no --start gave them: {parts}. Add --start "
            "with released initial weights, or with those of a TransFusion-L (or a run with --without images) for the "
            "LiDAR's parts and of a ResNet-50 or Mask R-CNN for the image backbone."
        )
    return SparseFusionDetector(model)
