"""Settings of 3D Gaussian Splatting, with schedules that fit runs of any length."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ....scene.errors import BadInputError
from ...optimise.dataset import Dataset
from ...optimise.rounds import Rounds
from ...optimise.train_config import TrainConfig, at_least, fraction
from ..method_contract import Inputs, background_of

STEPS_CPU, STEPS_CUDA = 1500, 7000
MAX_GAUSSIANS_CPU, MAX_GAUSSIANS_CUDA = 100_000, 1_000_000
FEW_VIEWS = 8  # up to so many Gaussians are left out of steps by chance
SOME_VIEWS = 16  # up to so many, and from more than FEW_VIEWS on, photographs begin halved
FILLED_VIEWS = 48  # up to so many photographs starting points are filled in
PIXELS_PER_GAUSSIAN = 50  # of the training photographs; more Gaussians only memorise them


@dataclass(frozen=True)
class GaussianSplattingConfig(TrainConfig):
    """3DGS. Moments of the run are fractions of `steps`; lengths are in scene scales (how far the cameras spread)."""

    sh_degree: int = 3  # Highest degree of the view-dependent colour, 0 to 4.
    sh_every: float = 0.25  # Fraction of the run after which the degree rises by one; 0 for all at once.
    means_lr: float = 1.6e-4  # Learning rate of the means at the start, scene scales.
    means_lr_final: float = 1.6e-6  # And at the end, reached log-linearly.
    sh_lr: float = 2.5e-3  # Learning rate of the constant colour.
    sh_rest_lr: float = 1.25e-4  # Learning rate of the view-dependent colour.
    opacity_lr: float = 5e-2  # Learning rate of the opacity logits.
    scale_lr: float = 5e-3  # Learning rate of the log-scales.
    quat_lr: float = 1e-3  # Learning rate of the quaternions.
    initial_opacity: float = 0.1  # Opacity of every Gaussian at the start.
    initial_scale: float = 1.0  # Scale at the start, in root mean square distances to the three nearest points.
    random_points: int = 10_000  # Gaussians at the start where the capture has no points.
    fill_cells: int = 0  # Further points at the start: a grid of this many cells along each photograph's longer side.
    max_gaussians: int = 100_000  # Never more than this many.
    densification: Literal["default", "mcmc", "none"] = "default"  # Gradient rules, sampling, or a fixed count.
    densify_from: float = 0.1  # Fraction of the run after which Gaussians are added.
    densify_until: float = 0.75  # Fraction of the run after which none is added any more.
    densify_every: int = 50  # Steps between two rounds; they collect statistics, so views count here, not the run.
    coarse_budget: bool = False  # default: a quarter of max_gaussians for each time that photographs are halved.
    grow_gradient: float = 2e-4  # default: mean screen gradient (per half-width) above which a Gaussian multiplies.
    split_scale: float = 0.01  # default: Gaussians larger than this (scene scales) split, smaller ones are copied.
    prune_opacity: float = 5e-3  # Gaussians below this opacity are removed (default) or moved (mcmc).
    prune_scale: float = 0.0  # default: Gaussians larger than this (scene scales) are removed; 0 for none.
    opacity_resets: int = 0  # default: how often, spread over the densification, all opacities drop to near nothing.
    noise_lr: float = 5e5  # mcmc: strength of the exploring noise, times the means' learning rate.
    sparse_adam: bool = False  # Update only the Gaussians that the step's view sees.
    opacity_weight: float = 0.0  # Weight of the mean opacity in the loss.
    scale_weight: float = 0.0  # Weight of the mean scale (scene scales) in the loss.

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.sh_degree <= 4:
            raise BadInputError(f"sh_degree is {self.sh_degree}; a degree from 0 to 4 is expected.")
        if self.densification not in ("default", "mcmc", "none"):
            raise BadInputError(f"densification is '{self.densification}'; default, mcmc or none is expected.")
        at_least(self, 1, "random_points", "max_gaussians", "densify_every")
        at_least(self, 0, "means_lr", "means_lr_final", "sh_lr", "sh_rest_lr", "opacity_lr", "scale_lr", "quat_lr")
        at_least(self, 0, "grow_gradient", "split_scale", "prune_scale", "opacity_resets", "noise_lr", "fill_cells")
        at_least(self, 0, "opacity_weight", "scale_weight")
        fraction(self, "sh_every", "densify_from", "densify_until")
        if not 0 < self.initial_opacity < 1 or not 0 <= self.prune_opacity < 0.5 or not self.initial_scale > 0:
            raise BadInputError(
                "initial_opacity in (0, 1), prune_opacity in [0, 0.5) and initial_scale above 0 are expected, found "
                f"{self.initial_opacity}, {self.prune_opacity} and {self.initial_scale}."
            )

    @classmethod
    def mcmc(cls, **changes: Any) -> GaussianSplattingConfig:
        """The values of the MCMC paper (Kheradmand et al. 2024) with gsplat's initial scale and opacity."""
        values: dict[str, Any] = {
            "densification": "mcmc", "initial_opacity": 0.5, "initial_scale": 0.1,
            "opacity_weight": 0.01, "scale_weight": 0.01,
        }  # fmt: skip
        return cls(**(values | changes))

    def degree_at(self, step: int) -> int:
        """Degree of the spherical harmonics at `step`."""
        interval = self.sh_every * self.steps
        return self.sh_degree if interval == 0 else min(self.sh_degree, int(step / interval))

    @property
    def rounds(self) -> Rounds:
        return Rounds(int(self.densify_from * self.steps), int(self.densify_until * self.steps), self.densify_every)


def configure(inputs: Inputs, asked: Mapping[str, Any]) -> GaussianSplattingConfig:
    """Config for some photographs: the fields that are asked for, and for the rest what suits them and the device."""
    values = values_by_view_count(inputs.dataset, MAX_GAUSSIANS_CPU if inputs.on_cpu else MAX_GAUSSIANS_CUDA)
    if inputs.on_cpu and asked.get("densification", "default") == "default":
        values |= small_photographs_first(len(inputs.dataset.train))
    values |= {"steps": STEPS_CPU if inputs.on_cpu else STEPS_CUDA, "background": background_of(inputs.dataset)}
    values |= asked
    if values.get("densification") == "mcmc":
        return GaussianSplattingConfig.mcmc(**values)
    return GaussianSplattingConfig(**values)


def values_by_view_count(dataset: Dataset, most: int) -> dict[str, Any]:
    """Config values for as many training photographs as there are; `most` bounds the Gaussians.

    Found on 3, 6 and 12 photographs of one scene: with few of them Gaussians must be few and must learn behind one
    another (`gaussian_dropout`), and starting points must cover what only one photograph shows (`fill_cells`).
    """
    views = len(dataset.train)
    pixels = sum(dataset.views[i].width * dataset.views[i].height for i in dataset.train)
    return {
        "max_gaussians": min(most, max(10_000, pixels // PIXELS_PER_GAUSSIAN)),
        "gaussian_dropout": 0.3 if views <= 4 else 0.2 if views <= FEW_VIEWS else 0.0,
        "fill_cells": 40 if views <= FILLED_VIEWS else 0,
    }


def small_photographs_first(views: int) -> dict[str, Any]:
    """Config values that begin with halved photographs, for as many of them as that is no worse for.

    A fifth of the training's time less on 12 photographs, and what is held out no worse; on 30 of the chair 0.3 dB
    less. Up to half of the run, or with the whole budget from the start, it is worse.
    """
    if not FEW_VIEWS < views <= SOME_VIEWS:
        return {}
    return {"coarse_levels": 2, "coarse_until": 0.3, "coarse_budget": True}
