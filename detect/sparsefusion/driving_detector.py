"""`SparseFusionDetector`: SparseFusion as a detector of the driving task."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from ...learn.schedules import OneCycle
from ...scene.boxes import Boxes
from ..detector import Inputs, TrainingPlan
from ..tasks.driving_task import DRIVING
from .config import Preset, SparseFusionConfig, preset
from .decode import detections
from .driving_batch import Batch
from .model import Output, SparseFusionModel
from .parameter_groups import make_optimizer
from .prepare import SparseFusionPreparation
from .stage_losses import losses
from .weight_files import load_model


class SparseFusionDetector:
    """The network with its config's inputs, losses, training and boxes."""

    task = DRIVING

    def __init__(self, network: SparseFusionModel) -> None:
        config = network.config
        self.network, self.config = network, config
        self.inputs = Inputs(points=config.use_lidar, images=config.use_images, sweeps=config.sweeps)
        self.preparation = SparseFusionPreparation(config)
        self.plan = TrainingPlan(config.epochs, config.batch_size, config.max_gradient_norm, config.balance_classes)

    def decode(self, output: Output) -> list[Boxes]:
        return detections(output, self.config)

    def settings(self) -> dict[str, Any]:
        return settings(self.config)

    def loss(self, output: Output, batch: Batch) -> Mapping[str, Tensor]:
        return losses(output, batch, self.config)

    def optimizer(self) -> Optimizer:
        return make_optimizer(self.network, self.config)

    def set_rates(self, optimizer: Optimizer, step: int, steps: int) -> None:
        OneCycle(self.config.peak_lr_factor).set_rates(optimizer, step, steps)


def settings(config: SparseFusionConfig) -> dict[str, Any]:
    """The config as JSON has it."""
    table: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return table


def new(name: Preset) -> SparseFusionDetector:
    """A detector with random weights."""
    return SparseFusionDetector(SparseFusionModel(preset(name)))


def load(path: Path) -> SparseFusionDetector:
    """A trained one, from a run folder, our own weights or a released checkpoint. Raises BadInputError."""
    return SparseFusionDetector(load_model(path))
