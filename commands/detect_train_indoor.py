"""`fewview detect train --task indoor`: ImGeoNet from rooms with posed photographs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import tyro

from ..detect.imgeonet.config import ImGeoNetConfig, preset
from ..detect.imgeonet.imgeonet_detector import ImGeoNetDetector
from ..detect.imgeonet.imgeonet_weights import save_imgeonet, start_backbone
from ..detect.imgeonet.model import ImGeoNet
from ..detect.metrics.indoor_metric import IndoorMetric
from ..detect.metrics.indoor_results import write_indoor_results
from ..detect.tasks.indoor_samples import open_rooms
from ..scene.errors import BadInputError
from .detector_training import HeldOut, Trainee, TrainOptions, train_detector
from .training_run import has_checkpoint, require_within

ROOMS_FILE = "rooms.json"


@dataclass(frozen=True, kw_only=True)
class Options(TrainOptions):
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
    # Photographs of a room in a step; auto is the preset's.
    views: int | None = None
    # Parts to leave out: without geometry it is ImVoxelNet, which needs no depth.
    without: tuple[Literal["geometry"], ...] = ()
    # ImageNet weights of the image backbone, as torchvision has them; those of an installed package unless given.
    start: Path | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require_within(self, {"views": (1, 1000)})

    def config(self) -> ImGeoNetConfig:
        changes = self.lengths() if self.views is None else self.lengths() | {"train_views": self.views}
        return replace(preset(self.preset), geometry="geometry" not in self.without, **changes)


def run(options: Options) -> None:
    device = options.begin()
    config = options.config()
    samples = open_rooms(options.input, config.classes, options.split)
    if not any(len(boxes) for boxes in samples.truth().values()):
        raise BadInputError(
            f"The rooms of {options.input} ({options.split}) have no box of the {len(config.classes)} classes of "
            f"--preset {options.preset}, so there is nothing to learn."
        )
    folder = options.output or Path("runs") / f"{options.input.resolve().name}_imgeonet_{options.preset}"
    trainee = Trainee(
        options.preset,
        samples,
        build=lambda say: _built(options, config, folder, say),
        save=save_imgeonet,
        held_out=_held_out(options, config, folder),
        following=f"run --task indoor {options.input}",
        notes=samples.notes,
    )
    train_detector(options, device, folder, trainee)


def _built(options: Options, config: ImGeoNetConfig, folder: Path, say: Callable[[str], None]) -> ImGeoNetDetector:
    network = ImGeoNet(config)
    if not (options.resume and has_checkpoint(folder)):
        say(start_backbone(network, options.start))
    return ImGeoNetDetector(network)


def _held_out(options: Options, config: ImGeoNetConfig, folder: Path) -> HeldOut | None:
    if options.val_split is None:
        return None
    samples = open_rooms(options.input, config.classes, options.val_split)
    return HeldOut(
        samples,
        IndoorMetric(samples.truth(), config.yaw),
        lambda _, found: write_indoor_results(folder / ROOMS_FILE, found, config.classes),
    )
