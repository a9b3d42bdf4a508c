"""What a reconstruction method is to the trainer: a config, and a model that answers its questions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol

import torch
from torch import Tensor

from ...scene.errors import BadInputError
from ...scene.gaussians import Gaussians
from .adam import Adam, Parameters


@dataclass(frozen=True)
class TrainConfig:
    """What every method's training has. A method adds its own fields in a subclass, so that all stay flat."""

    steps: int = 1000  # Optimisation steps in all, one photograph each.
    seed: int = 0  # Of every random choice.
    dssim_weight: float = 0.2  # Share of 1 - SSIM in the image loss, the rest is L1; in [0, 1].
    background: tuple[float, float, float] = (0.0, 0.0, 0.0)  # Colour behind everything, sRGB in [0, 1].
    random_background: bool = False  # A new background colour at every step, so that nothing can hide in it.
    antialiased: bool = False  # Compensate opacities for the screen-space blur (Mip-Splatting's 2D filter).
    drop_rate: float = 0.0  # Share of Gaussians left out of a step by chance, rising linearly to this at the end.
    sparse_adam: bool = False  # Update only the Gaussians that the step's view sees.
    coarse_levels: int = 0  # How many times the photographs are halved when training begins.
    coarse_until: float = 0.5  # Fraction of the run after which they have their full size.
    refine_poses: bool = False  # Optimise the training cameras together with the Gaussians.
    pose_rotation_lr: float = 1e-3  # Learning rate of the cameras' rotations, radians.
    pose_translation_lr: float = 1e-3  # Learning rate of the cameras' translations, in units of the scene's extent.
    pose_lr_final: float = 0.01  # Factor on both at the end of the run, reached log-linearly.
    checkpoint_every_s: float = 60.0  # Seconds between checkpoints; 0 for none by time.
    checkpoint_every_steps: int = 0  # Steps between checkpoints; 0 for none by count.

    def __post_init__(self) -> None:
        at_least(self, 1, "steps")
        at_least(self, 0, "coarse_levels", "pose_rotation_lr", "pose_translation_lr")
        at_least(self, 0, "checkpoint_every_s", "checkpoint_every_steps")
        fraction(self, "dssim_weight", "coarse_until", "pose_lr_final", "drop_rate")
        if len(self.background) != 3 or not all(0 <= c <= 1 for c in self.background):
            raise BadInputError(f"background is {self.background}; three numbers from 0 to 1 are expected.")

    def coarse_level(self, step: int) -> int:
        """How many times the photographs are halved at `step`; the levels share the coarse part equally."""
        coarse_steps = self.coarse_until * self.steps
        if self.coarse_levels == 0 or step >= coarse_steps:
            return 0
        return self.coarse_levels - int(step / coarse_steps * self.coarse_levels)


# What may change between the parts of an interrupted run without changing its result.
OUTSIDE_THE_RESULT = ("checkpoint_every_s", "checkpoint_every_steps")


def settings(config: TrainConfig) -> dict[str, Any]:
    """The fields that decide the result, as JSON values, with the method's name."""
    values = {f.name: getattr(config, f.name) for f in fields(config) if f.name not in OUTSIDE_THE_RESULT}
    return {"method": type(config).__name__} | {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


def at_least(config: TrainConfig, low: float, *names: str) -> None:
    """Raises BadInputError for the first named field under `low`, or that is not finite."""
    for name in names:
        if not low <= getattr(config, name) < float("inf"):
            raise BadInputError(f"{name} is {getattr(config, name)}; a number of at least {low} is expected.")


def fraction(config: TrainConfig, *names: str) -> None:
    """Raises BadInputError for the first named field outside [0, 1]."""
    for name in names:
        if not 0 <= getattr(config, name) <= 1:
            raise BadInputError(f"{name} is {getattr(config, name)}; a number from 0 to 1 is expected.")


@dataclass(frozen=True)
class Drawn:
    """What one step drew."""

    view: int  # index into the data set
    gaussians: Gaussians  # what was drawn
    opacities: Tensor  # [N] as drawn, so that losses need not compute them again
    scales: Tensor  # [N, 3] likewise
    rgb: Tensor  # [H, W, 3]
    alpha: Tensor  # [H, W]
    depth: Tensor | None  # [H, W] expected depth, where the model asks for it
    info: dict[str, Any]  # the rasteriser's own: means2d [1, N, 2], radii [1, N, 2], width, height

    def visible(self) -> Tensor:
        """[N] bool: the Gaussians that reach a pixel of this view."""
        return (self.info["radii"][0] > 0).all(dim=-1)


class Densifier(Protocol):
    """What adds, moves and removes Gaussians while training runs."""

    wants_screen_gradient: bool  # whether `info["means2d"].grad` is to be kept

    def after_step(self, step: int, drawn: Drawn, optimizer: Adam, means_lr: float, generator: torch.Generator) -> None:
        """Called after the optimiser's step, gradients of `drawn` still in place."""
        ...

    def state(self) -> dict[str, Tensor]:
        """What continuing needs."""
        ...

    def load_state(self, state: Mapping[str, Tensor]) -> None: ...


class FixedCount:
    """No densification: the Gaussians of the start stay, none comes and none goes."""

    wants_screen_gradient = False

    def after_step(
        self, step: int, drawn: Drawn, optimizer: Adam, means_lr: float, generator: torch.Generator
    ) -> None: ...

    def state(self) -> dict[str, Tensor]:
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None: ...


class Model(Protocol):
    """A method's answers. The trainer knows no method by name.

    `groups` are the parameters; the group `means` is there always. The optimiser replaces their tensors.
    """

    groups: dict[str, Parameters]
    densifier: Densifier
    extent: float  # world units: how far the cameras spread
    wants_depth: bool  # whether `Drawn.depth` is to be rendered

    def prepare(self, step: int, optimizer: Adam) -> None:
        """Change what must change before this step, e.g. the degree of the spherical harmonics."""
        ...

    def gaussians(self, time: float | None = None) -> Gaussians:
        """Which Gaussians there are at a time in [0, 1]; differentiable in the parameters."""
        ...

    def learning_rates(self, step: int) -> Mapping[str, float | Tensor]:
        """For every group one rate, or one for each column [D] of its rows."""
        ...

    def extra_loss(self, step: int, drawn: Drawn) -> Tensor | None:
        """What is added to the image loss at this step."""
        ...
