"""3D Gaussian Splatting (Kerbl et al. 2023) from sparse points, with schedules that fit runs of any length."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ....scene.errors import BadInputError
from ....scene.gaussians import SH_C0, Gaussians
from ....scene.point_cloud import PointCloud
from ...optimise.adam import Adam, Parameters
from ...optimise.adaptive_density_control import AdaptiveDensity, Rounds
from ...optimise.contract import Densifier, Drawn, FixedCount, TrainConfig, at_least, fraction
from ...optimise.dataset import Dataset
from ...optimise.mcmc_strategy import Sampling
from .fill_points import fill_points
from .initial_points import neighbour_distances, random_points

FEW_VIEWS = 48  # up to so many photographs starting points are filled in
PIXELS_PER_GAUSSIAN = 50  # of the training photographs; more Gaussians only memorise them


@dataclass(frozen=True)
class GaussianSplattingConfig(TrainConfig):
    """3DGS. Moments of the run are fractions of `steps`; lengths are in extents (how far the cameras spread)."""

    sh_degree: int = 3  # Highest degree of the view-dependent colour, 0 to 4.
    sh_every: float = 0.25  # Fraction of the run after which the degree rises by one; 0 for all at once.
    means_lr: float = 1.6e-4  # Learning rate of the means at the start, extents.
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
    grow_gradient: float = 2e-4  # default: mean screen gradient (per half-width) above which a Gaussian multiplies.
    split_scale: float = 0.01  # default: Gaussians larger than this (extents) split, smaller ones are copied.
    prune_opacity: float = 5e-3  # Gaussians below this opacity are removed (default) or moved (mcmc).
    prune_scale: float = 0.0  # default: Gaussians larger than this (extents) are removed; 0 for none.
    opacity_resets: int = 0  # default: how often, spread over the densification, all opacities drop to near nothing.
    noise_lr: float = 5e5  # mcmc: strength of the exploring noise, times the means' learning rate.
    opacity_weight: float = 0.0  # Weight of the mean opacity in the loss.
    scale_weight: float = 0.0  # Weight of the mean scale (extents) in the loss.

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


class GaussianSplatting:
    """A static scene of Gaussians that learn."""

    wants_depth = False

    def __init__(
        self,
        gaussians: Gaussians,
        config: GaussianSplattingConfig,
        extent: float,  # world units
        means_row_scale: Tensor | None = None,  # [N] factors on the means' learning rate
    ) -> None:
        """Raises BadInputError when there are more Gaussians than the config allows, or none."""
        if not 0 < len(gaussians) <= config.max_gaussians:
            raise BadInputError(
                f"Training cannot start from {len(gaussians)} Gaussians: 1 to max_gaussians = {config.max_gaussians} "
                "are expected."
            )
        self.config = config
        self.extent = extent
        self.groups = {
            "means": Parameters(gaussians.means, row_scale=means_row_scale),
            "quats": Parameters(gaussians.quats),
            "log_scales": Parameters(gaussians.log_scales),
            "opacity_logits": Parameters(gaussians.opacity_logits),
            "sh": Parameters(gaussians.sh),
        }
        self.densifier = _densifier(config, len(gaussians), extent, gaussians.means.device)

    def prepare(self, step: int, optimizer: Adam) -> None:
        """Raise the degree when it is time. Coefficients of degrees not yet in use do not exist and cost nothing."""
        wanted = (self.config.degree_at(step) + 1) ** 2
        if self.groups["sh"].tensor.shape[1] < wanted:
            optimizer.widen("sh", wanted)

    def gaussians(self, time: float | None = None) -> Gaussians:
        return Gaussians(**{name: group.tensor for name, group in self.groups.items()})

    def learning_rates(self, step: int) -> Mapping[str, float | Tensor]:
        c = self.config
        return {
            "means": log_linear(c.means_lr, c.means_lr_final, step / c.steps) * self.extent,
            "quats": c.quat_lr,
            "log_scales": c.scale_lr,
            "opacity_logits": c.opacity_lr,
            "sh": _sh_rates(self.groups["sh"].tensor.shape[1], c.sh_lr, c.sh_rest_lr),
        }

    def extra_loss(self, step: int, drawn: Drawn) -> Tensor | None:
        """The regularisers of the MCMC paper, section 3.5."""
        loss: Tensor | None = None
        if self.config.opacity_weight > 0:
            loss = self.config.opacity_weight * drawn.opacities.mean()
        if self.config.scale_weight > 0:
            scales = (self.config.scale_weight / self.extent) * drawn.scales.mean()
            loss = scales if loss is None else loss + scales
        return loss


def initialise(
    dataset: Dataset, config: GaussianSplattingConfig, device: torch.device | str = "cpu"
) -> GaussianSplatting:
    """Gaussians at the data set's points, or at random ones in the cameras' frusta where it has none."""
    generator = torch.Generator().manual_seed(config.seed)
    points = dataset.points
    if points is not None:
        points = points.to("cpu")
        points = points[points.xyz.isfinite().all(dim=-1)]
        filled = fill_points(dataset, config.fill_cells) if config.fill_cells > 0 else None
        if filled is not None:
            points = PointCloud(torch.cat([points.xyz, filled.xyz]), torch.cat([points.rgb, filled.rgb]))
    if points is None or len(points) == 0:
        points = random_points(dataset, min(config.random_points, config.max_gaussians), generator)
    if len(points) > config.max_gaussians:
        points = points[torch.randperm(len(points), generator=generator)[: config.max_gaussians].sort().values]
    return GaussianSplatting(gaussians_from_points(points, config, dataset.extent).to(device), config, dataset.extent)


def gaussians_from_points(points: PointCloud, config: GaussianSplattingConfig, extent: float) -> Gaussians:
    """One round Gaussian of degree 0 at each point, as large as the gap to its neighbours."""
    count = len(points)
    distances = neighbour_distances(points.xyz, fallback=0.01 * extent) * config.initial_scale
    logit = math.log(config.initial_opacity / (1 - config.initial_opacity))
    return Gaussians(
        means=points.xyz.float(),
        quats=torch.tensor([1.0, 0, 0, 0]).repeat(count, 1),
        log_scales=distances.log()[:, None].repeat(1, 3),
        opacity_logits=torch.full((count,), logit),
        sh=((points.rgb.float() / 255 - 0.5) / SH_C0)[:, None],
    )


def few_view_values(dataset: Dataset, most: int) -> dict[str, Any]:
    """Config values for as many training photographs as there are; `most` bounds the Gaussians.

    Found on 3, 6 and 12 photographs of one scene: with few of them Gaussians must be few and must learn behind one
    another (`drop_rate`), and starting points must cover what only one photograph shows (`fill_cells`).
    """
    views = len(dataset.train)
    pixels = sum(dataset.views[i].width * dataset.views[i].height for i in dataset.train)
    return {
        "max_gaussians": min(most, max(10_000, pixels // PIXELS_PER_GAUSSIAN)),
        "drop_rate": 0.3 if views <= 4 else 0.2 if views <= 8 else 0.0,
        "fill_cells": 40 if views <= FEW_VIEWS else 0,
    }


def log_linear(start: float, end: float, progress: float) -> float:
    """From start to end along an exponential; linear where one of them is zero."""
    if start <= 0 or end <= 0:
        return start + (end - start) * progress
    return start * (end / start) ** progress


@functools.lru_cache(maxsize=16)
def _sh_rates(coefficients: int, constant: float, rest: float) -> Tensor:
    """Learning rate of each column [3 * coefficients]."""
    rates = torch.full((coefficients * 3,), rest)
    rates[:3] = constant
    return rates


def _densifier(config: GaussianSplattingConfig, count: int, extent: float, device: torch.device) -> Densifier:
    if config.densification == "none":
        return FixedCount()
    if config.densification == "mcmc":
        return Sampling(
            config.rounds,
            count=count,
            budget=config.max_gaussians,
            min_opacity=config.prune_opacity,
            noise_lr=config.noise_lr,
        )
    return AdaptiveDensity(
        config.rounds,
        count=count,
        budget=config.max_gaussians,
        extent=extent,
        grow_gradient=config.grow_gradient,
        split_scale=config.split_scale,
        prune_opacity=config.prune_opacity,
        prune_scale=config.prune_scale,
        opacity_resets=config.opacity_resets,
        device=device,
    )
