"""`Model` and `Stage`: what a reconstruction method is to the trainer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...scene.gaussians import Gaussians
from ...scene.splat import Splat
from .adam import Optimiser
from .step import Step
from .table import Table


@dataclass(frozen=True)
class Stage:
    """A part of the run in which the same parameters learn."""

    steps: int
    # By TABLE.COLUMN, MODULE, or MODULE.PREFIX for the parameters whose names begin so; all else stands still.
    optimisers: Mapping[str, Optimiser]
    views_per_step: int = 1
    # By the step of the stage, how likely each training view is drawn; None for all in turn, each once in every round.
    view_weights: Callable[[int], Tensor] | None = None
    forgets: bool = False  # whether the moments of all that learns start anew
    name: str = "training"  # for the progress line


class Model:
    """A scene that learns. Methods derive from it; the trainer knows none of them by name.

    Nothing is required of tables and modules but that together they draw what `splat` gives. Where rows come and go
    the method's own `after_step` makes them do so; checkpoints bring back as many rows as there were.
    """

    tables: dict[str, Table]
    modules: dict[str, nn.Module]
    notes: Sequence[str] = ()  # sentences for the person about what it starts from
    torch_threads: int | None = 1  # CPU threads of PyTorch in training; None for all, where a network dominates

    def stages(self) -> Sequence[Stage]:
        """The parts of the run in their order."""
        raise TypeError(f"{type(self).__name__} has no stages()")

    def splat(self, time_s: float | None = None) -> Gaussians:
        """The Gaussians at a moment (the first when None), differentiable in all that learns."""
        raise TypeError(f"{type(self).__name__} has no splat()")

    def result(self) -> Splat:
        """The scene as it is now, detached."""
        raise TypeError(f"{type(self).__name__} has no result()")

    def begin_stage(self, index: int, generator: torch.Generator) -> None:
        """Make the tables and modules of a stage. A resumed run calls it for all stages up to its own, then loads."""

    def before_step(self, step: Step) -> None:
        """Change what must change before this step, e.g. the degree of the spherical harmonics."""

    def loss(self, step: Step) -> dict[str, Tensor]:
        """The losses of this step by name; the trainer minimises their sum."""
        return {"photometric": step.photometric()}

    def visible_rows(self, step: Step) -> Mapping[str, Tensor]:
        """By table, mask [N] of the rows that this step may move; tables that are not named move all."""
        return {}

    def after_step(self, step: Step) -> None:
        """Called after the update, gradients of what `step` drew still in place: the place for adding and removing."""

    def state(self) -> dict[str, Tensor]:
        """Tensors that continuing needs besides tables and modules, e.g. statistics of densification."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continue from what `state` gave. Raises KeyError or ValueError where it does not fit."""
