"""`TrainConfig`: the settings that the training of every method has."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from ...scene.errors import BadInputError


@dataclass(frozen=True)
class TrainConfig:
    """Settings of every method's training. A method adds its own fields in a subclass, so that all stay flat."""

    steps: int = 1000  # Optimisation steps in all.
    seed: int = 0  # Of every random choice.
    dssim_weight: float = 0.2  # Share of 1 - SSIM in the image loss, the rest is L1; in [0, 1].
    background: tuple[float, float, float] = (0.0, 0.0, 0.0)  # Colour behind everything, sRGB in [0, 1].
    random_background: bool = False  # A new background colour at every step, so that nothing can hide in it.
    antialiased: bool = False  # Compensate opacities for the screen-space blur (Mip-Splatting's 2D filter).
    gaussian_dropout: float = 0.0  # Share of Gaussians left out of a step by chance, rising linearly to this.
    coarse_levels: int = 0  # How many times the photographs are halved when training begins.
    coarse_until: float = 0.5  # Fraction of the run after which they have their full size.
    refine_poses: bool = False  # Optimise the training cameras together with the scene.
    pose_rotation_lr: float = 1e-3  # Learning rate of the cameras' rotations, radians.
    pose_translation_lr: float = 1e-3  # Learning rate of the cameras' translations, in units of the scene scale.
    pose_lr_final: float = 0.01  # Factor on both at the end of the run, reached log-linearly.
    appearance: Literal["auto", "on", "off"] = "auto"  # Colour transforms of photographs; auto where they disagree.
    appearance_lr: float = 1e-2  # Learning rate of those transforms at the start; it falls to a tenth.
    transient_masks: bool = False  # Leave out what stands in one photograph alone, such as people, by its residual.
    transient_share: float = 0.2  # Share of a photograph that is left out at most.
    transient_from: float = 0.5  # Fraction of the run after which it is.
    checkpoint_every_s: float = 60.0  # Seconds between checkpoints; 0 for none by time.
    checkpoint_every_steps: int = 0  # Steps between checkpoints; 0 for none by count.

    def __post_init__(self) -> None:
        at_least(self, 1, "steps")
        at_least(self, 0, "coarse_levels", "pose_rotation_lr", "pose_translation_lr", "appearance_lr")
        at_least(self, 0, "checkpoint_every_s", "checkpoint_every_steps")
        fraction(self, "dssim_weight", "coarse_until", "pose_lr_final", "gaussian_dropout")
        fraction(self, "transient_share", "transient_from")
        if self.appearance not in ("auto", "on", "off"):
            raise BadInputError(f"appearance is '{self.appearance}'; auto, on or off is expected.")
        if len(self.background) != 3 or not all(0 <= c <= 1 for c in self.background):
            raise BadInputError(f"background is {self.background}; three numbers from 0 to 1 are expected.")

    def coarse_level(self, step: int) -> int:
        """Number of times that the photographs are halved at `step`; the levels share the coarse part equally."""
        coarse_steps = self.coarse_until * self.steps
        if self.coarse_levels == 0 or step >= coarse_steps:
            return 0
        return self.coarse_levels - int(step / coarse_steps * self.coarse_levels)


# May change between the parts of an interrupted run without changing its result.
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
