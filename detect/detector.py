"""`Task` and `Detector`: the objects that are looked for, and the network that finds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn
from torch.optim import Optimizer

from ..scene.boxes import Boxes


@dataclass(frozen=True)
class BoxCode:
    """The numbers of a box that are predicted beside its centre and size."""

    yaw: bool = False  # the turn about the vertical axis; without it boxes are aligned to the axes
    velocity: bool = False  # along x and y, m/s


@dataclass(frozen=True)
class Task:
    """A kind of detection: the classes, how far away they count, and the form of their boxes."""

    name: str
    classes: tuple[str, ...]  # in the order of the labels; a single one where a sentence says what is looked for
    ranges_m: tuple[float, ...] | None  # for each class, from the sensor's carrier; None: wherever the scan reaches
    code: BoxCode


@dataclass(frozen=True)
class Inputs:
    """The parts of a sample that a detector looks at."""

    points: bool = True
    images: bool = False
    sentence: bool = False
    sweeps: int = 1  # LiDAR sweeps of a sample: the key sweep and those before it


@dataclass(frozen=True)
class TrainingPlan:
    """The length and the steps of a training."""

    epochs: int
    batch_size: int  # samples of one step of one process
    max_gradient_norm: float | None = None  # L2 over all parameters; larger gradients are scaled down
    balance_classes: bool = False  # samples with rare classes are seen more often


class Preparation(Protocol):
    """The way from samples to batches. It holds settings and no network, as it is sent to processes that read ahead."""

    def read(self, sample: Any) -> Any:
        """Decode and fit what does not depend on chance. The result has `nbytes`, its size; small ones are kept."""
        ...

    def prepare(self, read: Any, random: np.random.Generator | None = None) -> Any:
        """One sample of a batch; with `random`, changed by chance for training."""
        ...

    def collate(self, prepared: Sequence[Any]) -> Any:
        """A batch, which has `.to(device)`."""
        ...


class Detector(Protocol):
    """A network with weights, and what is around it on the way from samples to boxes."""

    @property
    def task(self) -> Task: ...

    @property
    def network(self) -> nn.Module:
        """The network, whose `forward` takes a batch of `preparation`; its output goes to `loss` and `decode`."""
        ...

    @property
    def inputs(self) -> Inputs: ...

    @property
    def preparation(self) -> Preparation: ...

    def decode(self, output: Any) -> list[Boxes]:
        """For each sample of the batch its boxes with scores, after NMS, in the frame of the sample's points."""
        ...

    # ---- training ----------------------------------------------------------------------------------------------------

    @property
    def plan(self) -> TrainingPlan: ...

    def settings(self) -> Mapping[str, Any]:
        """Every setting that decides the weights, as JSON has it."""
        ...

    def loss(self, output: Any, batch: Any) -> Mapping[str, Tensor]:
        """Weighted losses [] by name, whose sum is minimised."""
        ...

    def optimizer(self) -> Optimizer:
        """The optimiser of the network, on whatever device that is."""
        ...

    def set_rates(self, optimizer: Optimizer, step: int, steps: int) -> None:
        """Set learning rates and the like before one of `steps` steps."""
        ...
