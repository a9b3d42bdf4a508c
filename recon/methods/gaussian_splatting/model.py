"""3D Gaussian Splatting (Kerbl et al. 2023): Gaussians that learn from photographs with known cameras."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from ....learn.schedules import log_linear
from ....scene.errors import BadInputError
from ....scene.gaussians import SH_C0, Gaussians
from ....scene.point_cloud import PointCloud
from ....scene.splat import Splat, StaticSplat
from ...optimise.adam import Optimiser, Rate
from ...optimise.adaptive_density_control import AdaptiveDensityControl
from ...optimise.contract import Model, Stage
from ...optimise.dataset import Dataset
from ...optimise.mcmc_strategy import McmcStrategy
from ...optimise.step import Step
from ...optimise.table import Column, Table
from .config import GaussianSplattingConfig
from .fill_points import fill_points
from .initial_points import neighbour_distances, random_points

GAUSSIANS = "gaussians"  # the name of the table


class Densifier(Protocol):
    """Adds, moves and removes rows of a table of Gaussians while training runs."""

    wants_screen_gradient: bool  # whether the gradient of the projected means is to be kept

    def after_step(self, step: Step, table: Table, means_lr: float) -> None:
        """Called after the update, gradients of what `step` drew still in place."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Statistics that continuing needs."""
        ...

    def load_state(self, state: Mapping[str, Tensor]) -> None: ...


class FixedCount:
    """No densification: the Gaussians of the start stay, none comes and none goes."""

    wants_screen_gradient = False

    def after_step(self, step: Step, table: Table, means_lr: float) -> None: ...

    def state(self) -> dict[str, Tensor]:
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None: ...


class GaussianSplatting(Model):
    """A static scene of Gaussians that learn."""

    def __init__(
        self,
        gaussians: Gaussians,
        config: GaussianSplattingConfig,
        scene_scale: float,  # world units
        means_row_scale: Tensor | None = None,  # [N] factors on the means' learning rate
    ) -> None:
        """Raises BadInputError when there are more Gaussians than the config allows, or none."""
        if not 0 < len(gaussians) <= config.max_gaussians:
            raise BadInputError(
                f"Training cannot start from {len(gaussians)} Gaussians: 1 to max_gaussians = {config.max_gaussians} "
                "are expected."
            )
        self.config, self.scene_scale = config, scene_scale
        columns = vars(gaussians) | {
            "means": Column(gaussians.means, means_row_scale),
            "sh": Column(gaussians.sh, drawn_as_sh=True),
        }
        self.table = Table(columns)
        self.tables = {GAUSSIANS: self.table}
        self.modules = {}
        self.densifier = densifier_for(config, len(gaussians), scene_scale, gaussians.means.device)

    def stages(self) -> Sequence[Stage]:
        c = self.config
        rates: dict[str, Rate] = {
            "means": self._means_rate,
            "quats": lambda _: c.quat_lr,
            "log_scales": lambda _: c.scale_lr,
            "opacity_logits": lambda _: c.opacity_lr,
            "sh": lambda _: _sh_rates(self.table["sh"].shape[1], c.sh_lr, c.sh_rest_lr),
        }
        return [Stage(c.steps, {f"{GAUSSIANS}.{name}": Optimiser(rate) for name, rate in rates.items()})]

    def splat(self, time_s: float | None = None) -> Gaussians:
        return Gaussians(**self.table)

    def result(self) -> Splat:
        return StaticSplat(self.splat().detach(), self.config.antialiased, background=self.config.background)

    def before_step(self, step: Step) -> None:
        """Raise the degree when it is time. Coefficients of degrees not yet in use do not exist and cost nothing."""
        wanted = (self.config.degree_at(step.index) + 1) ** 2
        if self.table["sh"].shape[1] < wanted:
            self.table.widen("sh", wanted)

    def loss(self, step: Step) -> dict[str, Tensor]:
        """The image loss and the regularisers of the MCMC paper, section 3.5."""
        losses = super().loss(step)
        (drawn,) = step.renders.values()
        if self.densifier.wants_screen_gradient:
            drawn.info["means2d"].retain_grad()
        if self.config.opacity_weight > 0:
            losses["opacity"] = self.config.opacity_weight * drawn.opacities.mean()
        if self.config.scale_weight > 0:
            losses["scale"] = (self.config.scale_weight / self.scene_scale) * drawn.scales.mean()
        return losses

    def visible_rows(self, step: Step) -> Mapping[str, Tensor]:
        if not self.config.sparse_adam:
            return {}
        (drawn,) = step.renders.values()
        return {GAUSSIANS: drawn.visible()}

    def after_step(self, step: Step) -> None:
        self.densifier.after_step(step, self.table, self._means_rate(step.stage_step))

    def state(self) -> dict[str, Tensor]:
        return self.densifier.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.densifier.load_state(state)

    def _means_rate(self, step: int) -> float:
        c = self.config
        return log_linear(c.means_lr, c.means_lr_final, step / c.steps) * self.scene_scale


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
    return GaussianSplatting(
        gaussians_from_points(points, config, dataset.scene_scale).to(device), config, dataset.scene_scale
    )


def gaussians_from_points(points: PointCloud, config: GaussianSplattingConfig, scene_scale: float) -> Gaussians:
    """One round Gaussian of degree 0 at each point, as large as the gap to its neighbours."""
    count = len(points)
    distances = neighbour_distances(points.xyz, fallback=0.01 * scene_scale) * config.initial_scale
    logit = math.log(config.initial_opacity / (1 - config.initial_opacity))
    return Gaussians(
        means=points.xyz.float(),
        quats=torch.tensor([1.0, 0, 0, 0]).repeat(count, 1),
        log_scales=distances.log()[:, None].repeat(1, 3),
        opacity_logits=torch.full((count,), logit),
        sh=((points.rgb.float() / 255 - 0.5) / SH_C0)[:, None],
    )


@functools.lru_cache(maxsize=16)
def _sh_rates(coefficients: int, constant: float, rest: float) -> Tensor:
    """Learning rate of each column [3 * coefficients]."""
    rates = torch.full((coefficients * 3,), rest)
    rates[:3] = constant
    return rates


def densifier_for(config: GaussianSplattingConfig, count: int, scene_scale: float, device: torch.device) -> Densifier:
    if config.densification == "none":
        return FixedCount()
    if config.densification == "mcmc":
        return McmcStrategy(
            config.rounds,
            count=count,
            budget=config.max_gaussians,
            min_opacity=config.prune_opacity,
            noise_lr=config.noise_lr,
        )
    return AdaptiveDensityControl(
        config.rounds,
        count=count,
        budget=config.max_gaussians,
        scene_scale=scene_scale,
        grow_gradient=config.grow_gradient,
        split_scale=config.split_scale,
        prune_opacity=config.prune_opacity,
        prune_scale=config.prune_scale,
        opacity_resets=config.opacity_resets,
        device=device,
        budget_by_size=config.coarse_budget,
    )
