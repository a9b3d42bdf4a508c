"""`ImGeoNetDetector`: ImGeoNet as a detector of the indoor task."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.optim import AdamW, Optimizer

from ...learn.schedules import set_step_rates
from ...scene.boxes import Boxes
from ..detector import BoxCode, Inputs, Task, TrainingPlan
from ..tasks.indoor_task import INDOOR
from .config import Preset, preset
from .imgeonet_weights import load_imgeonet
from .model import ImGeoNet, Output
from .room_batch import RoomBatch
from .room_losses import losses
from .room_preparation import RoomPreparation
from .voxel_decode import detections


class ImGeoNetDetector:
    """The network with its config's inputs, losses, training and boxes."""

    inputs = Inputs(points=False, images=True)

    def __init__(self, network: ImGeoNet) -> None:
        config = network.config
        self.network, self.config = network, config
        self.task = Task(INDOOR.name, config.classes, None, BoxCode(yaw=config.yaw))
        self.preparation = RoomPreparation(config)
        self.plan = TrainingPlan(config.epochs, config.batch_size, config.max_gradient_norm)

    def decode(self, output: Output) -> list[Boxes]:
        return detections(output, self.config)

    def settings(self) -> dict[str, Any]:
        table: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self.config)))
        return table

    def loss(self, output: Output, batch: RoomBatch) -> Mapping[str, Tensor]:
        return losses(output, batch, self.config)

    def optimizer(self) -> Optimizer:
        """AdamW; the image backbone learns slower than what is new."""
        config, backbone = self.config, self.network.pyramid.backbone
        slow = {id(p) for p in backbone.parameters()}
        learned = [p for p in self.network.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in learned if (id(p) in slow) == is_slow], "lr": rate, "base_lr": rate}
            for is_slow, rate in (
                (False, config.learning_rate), (True, config.learning_rate * config.backbone_lr_factor)
            )
        ]  # fmt: skip
        return AdamW([group for group in groups if group["params"]], weight_decay=config.weight_decay)

    def set_rates(self, optimizer: Optimizer, step: int, steps: int) -> None:
        set_step_rates(optimizer, step / steps, self.config.rate_drops)


def new(name: Preset) -> ImGeoNetDetector:
    """A detector with random weights."""
    return ImGeoNetDetector(ImGeoNet(preset(name)))


def load(path: Path) -> ImGeoNetDetector:
    """A trained one, from a run folder or its weights. Raises BadInputError."""
    return ImGeoNetDetector(load_imgeonet(path))
