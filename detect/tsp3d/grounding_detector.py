"""`TSP3DDetector`: TSP3D as a detector of the grounding task."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer

from ...learn.schedules import set_step_rates
from ...scene.boxes import Boxes
from ..detector import Inputs, TrainingPlan
from ..tasks.grounding_task import GROUNDING
from .config import Preset, TSP3DConfig, preset
from .grounding_losses import losses
from .grounding_prepare import GroundingPreparation
from .model import Output, TSP3DModel
from .scene_batch import Batch
from .tsp3d_weights import load_model

LONGEST_M = 20.0  # of a box that is given out; a size is the exponential of a number


class TSP3DDetector:
    """The network with its config's inputs, losses, training and box."""

    task = GROUNDING
    inputs = Inputs(points=True, sentence=True)

    def __init__(self, network: TSP3DModel) -> None:
        config = network.config
        self.network, self.config = network, config
        self.preparation = GroundingPreparation(config)
        self.plan = TrainingPlan(config.epochs, config.batch_size, config.max_gradient_norm)

    def decode(self, output: Output) -> list[Boxes]:
        """The box of the best voxel of each sentence; none for a scan without voxels."""
        return [best_box(output, sentence, self.config) for sentence in range(output.sentences)]

    def settings(self) -> dict[str, Any]:
        return settings(self.config)

    def loss(self, output: Output, batch: Batch) -> Mapping[str, Tensor]:
        return losses(output, batch, self.config)

    def optimizer(self) -> Optimizer:
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        config = self.config
        group = {"params": parameters, "base_lr": config.learning_rate}
        return AdamW([group], lr=config.learning_rate, weight_decay=config.weight_decay)

    def set_rates(self, optimizer: Optimizer, step: int, steps: int) -> None:
        set_step_rates(optimizer, step / max(steps, 1), self.config.milestones)
        rising = self.config.warm_up * steps
        if step < rising:
            for group in optimizer.param_groups:
                group["lr"] *= (step + 1) / (rising + 1)


def best_box(output: Output, sentence: int, config: TSP3DConfig) -> Boxes:
    """The box of the best-scoring voxel for a sentence, [1] or, where its scan has no voxels, [0]."""
    rows = (output.voxels[:, 0] == sentence).nonzero()[:, 0]
    if len(rows) == 0:
        return Boxes.empty(GROUNDING.classes)
    best = rows[output.logits[rows].argmax()][None]
    points = output.voxels[best, 1:].float() * config.voxel_m
    sizes = output.log_sizes[best].exp().clamp(max=LONGEST_M)
    label, yaw = torch.zeros(1, dtype=torch.int64, device=best.device), points.new_zeros(1)
    scores = output.logits[best].sigmoid()
    return Boxes.upright(points + output.offsets[best], sizes, yaw, label, GROUNDING.classes, scores=scores)


def settings(config: TSP3DConfig) -> dict[str, Any]:
    """The config as JSON has it."""
    table: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return table


def new(name: Preset) -> TSP3DDetector:
    """A detector with random weights, of the text encoder apart."""
    return TSP3DDetector(TSP3DModel(preset(name)))


def load(path: Path) -> TSP3DDetector:
    """A trained one, from a run folder, our own weights or a released checkpoint. Raises BadInputError."""
    return TSP3DDetector(load_model(path))
