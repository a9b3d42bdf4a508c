"""The joint fit: Gaussians made from nothing but the photographs, and the cameras moved to where they agree with them.

SparseAGS (Zhao and Tulsiani 2024), stage 1: every step draws all photographs over white, none of the cameras is
anchored, and the losses grow linearly over the run. A camera moves by a twist on the world's side of its pose,
cam_from_world exp(twist): a turn about the object, which keeps it in the picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ....learn.schedules import log_linear
from ....render import rasterization
from ....scene.cameras import Cameras
from ....scene.gaussians import SH_C0, Gaussians
from ....scene.geometry import se3_exp
from ....scene.splat import StaticSplat
from ...evidence.view_prior import ViewPrior, distillation_loss
from ...optimise.adam import Optimiser, Rate
from ...optimise.contract import Model, Stage
from ...optimise.dataset import Dataset
from ...optimise.mcmc_strategy import relocate_dead
from ...optimise.step import Step
from ...optimise.table import Table
from ...optimise.train_config import TrainConfig, at_least, fraction
from ...optimise.trainer import fit
from .novel_views import novel_camera
from .object_views import object_radius

WHITE = (1.0, 1.0, 1.0)
DEAD_OPACITY = 0.01  # as the released code prunes
RELOCATE_EVERY, RELOCATE_UNTIL = 50, 0.8  # steps, share of the run


@dataclass(frozen=True)
class JointFitConfig(TrainConfig):
    """Settings of the joint fit. Lengths are in the look-at frame, where cameras are 1.85 from the object.

    Rates are those of the released code but for the cameras', which has 2.5e-4 over 500 steps.
    """

    steps: int = 400  # Each draws all photographs.
    background: tuple[float, float, float] = WHITE  # Of the splat that comes out; photographs are always over white.
    gaussians: int = 2000  # Their number stays; the released code begins with 25,000.
    rgb_weight: float = 10_000.0  # Of the squared error of colours at the end of the run.
    alpha_weight: float = 1_000.0  # Of the squared error of alpha.
    means_lr: float = 1e-2  # Learning rate of positions, lengths.
    means_lr_final: float = 2e-4  # At the end, reached log-linearly.
    quat_lr: float = 0.005  # Learning rate of rotations.
    scale_lr: float = 0.005  # Learning rate of log-scales.
    opacity_lr: float = 0.05  # Learning rate of opacity logits.
    color_lr: float = 0.01  # Learning rate of colours, sRGB in [0, 1].
    camera_lr: float = 2.5e-3  # Learning rate of the cameras' twists, radians and lengths.
    camera_lr_final: float = 2.5e-4  # At the end, reached log-linearly.
    camera_warm_up: float = 0.2  # Share of the run in which the cameras' rate rises: the object is still a grey ball.

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "gaussians")
        fraction(self, "camera_warm_up")


@dataclass(frozen=True)
class JointResult:
    """An object, and the cameras that agree with it."""

    gaussians: Gaussians
    cam_from_world: Tensor  # [N, 4, 4] of all views; those that were not fitted are as they were


def fit_jointly(
    views: Dataset,  # square pictures in the look-at frame
    chosen: Sequence[int],  # views that are fitted
    config: JointFitConfig = JointFitConfig(),
    *,
    view_prior: ViewPrior | None = None,
) -> JointResult:
    """Make the object from the chosen views, from scratch, and move their cameras with it."""
    fitted = replace(views, train=tuple(chosen))
    generator = torch.Generator().manual_seed(config.seed)
    model = JointFit(grey_ball(config.gaussians, object_radius(views, chosen), generator), fitted, config, view_prior)
    fit(model, fitted, config)
    return JointResult(model.splat().detach(), model.poses().detach())


def grey_ball(count: int, radius: float, generator: torch.Generator) -> Gaussians:
    """Mid-grey Gaussians uniform in a ball around the origin, each as wide as its share of the volume."""
    direction = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    distance = radius * torch.rand(count, 1, generator=generator) ** (1 / 3)
    spacing = radius * (4 / 3 * math.pi / count) ** (1 / 3)
    quats = torch.tensor([1.0, 0, 0, 0]).repeat(count, 1)
    opacity_logits = torch.full((count,), math.log(0.1 / 0.9))
    return Gaussians(
        direction * distance, quats, torch.full((count, 3), math.log(spacing)), opacity_logits, torch.zeros(count, 1, 3)
    )


class JointFit(Model):
    """Gaussians of one colour from all sides, and a twist for each camera."""

    def __init__(
        self, gaussians: Gaussians, views: Dataset, config: JointFitConfig, view_prior: ViewPrior | None = None
    ) -> None:
        self.config, self._views, self._view_prior = config, views, view_prior
        self.table = Table(vars(gaussians))
        self.twists = Table({"twists": torch.zeros(len(views), 6)})
        self.tables = {"gaussians": self.table, "cameras": self.twists}
        self.modules = {}
        self._targets: dict[int, tuple[Tensor, Tensor | None]] = {}

    def stages(self) -> Sequence[Stage]:
        c = self.config
        rates: dict[str, Rate] = {
            "gaussians.means": lambda step: log_linear(c.means_lr, c.means_lr_final, step / c.steps),
            "gaussians.quats": lambda _: c.quat_lr,
            "gaussians.log_scales": lambda _: c.scale_lr,
            "gaussians.opacity_logits": lambda _: c.opacity_lr,
            "gaussians.sh": lambda _: c.color_lr / SH_C0,
            "cameras.twists": self._camera_rate,
        }
        optimisers = {name: Optimiser(rate) for name, rate in rates.items()}
        return [Stage(c.steps, optimisers, views_per_step=len(self._views.train), name="object and cameras")]

    def _camera_rate(self, step: int) -> float:
        c, progress = self.config, step / self.config.steps
        rise = min(1.0, progress / c.camera_warm_up) if c.camera_warm_up > 0 else 1.0
        return rise * log_linear(c.camera_lr, c.camera_lr_final, progress)

    def splat(self, time_s: float | None = None) -> Gaussians:
        return Gaussians(**self.table)

    def result(self) -> StaticSplat:
        return StaticSplat(self.splat().detach(), background=self.config.background)

    def poses(self) -> Tensor:
        """cam_from_world [N, 4, 4] of all views as they are now."""
        return self._views.cameras.cam_from_world @ se3_exp(self.twists["twists"])

    def loss(self, step: Step) -> dict[str, Tensor]:
        chosen = sorted(step.views)
        cameras = replace(self._views.cameras, cam_from_world=self.poses())[torch.tensor(chosen)]
        side = step.dataset.view(chosen[0], step.level).width
        rgb, alpha = draw(self.splat(), cameras.resized(side, side))
        target, target_alpha = self._target(step.level)
        ramp, c = (step.index + 1) / step.steps, self.config
        losses = {"rgb": c.rgb_weight * ramp * len(chosen) * (rgb - target[chosen]).square().mean()}
        if target_alpha is not None:
            losses["alpha"] = c.alpha_weight * ramp * len(chosen) * (alpha - target_alpha[chosen]).square().mean()
        if self._view_prior is not None:
            losses["prior"] = self._prior_loss(step, cameras.resized(side, side), target[chosen])
        return losses

    def _prior_loss(self, step: Step, cameras: Cameras, photographs: Tensor) -> Tensor:
        """A scalar whose gradient by a picture from a random side is the view prior's."""
        assert self._view_prior is not None
        novel = novel_camera(cameras, step.generator)
        image, _ = draw(self.splat(), novel)
        known = replace(cameras, cam_from_world=cameras.cam_from_world.detach())
        gradient = self._view_prior.gradient(image[0].detach(), novel[0], photographs, known, step.index / step.steps)
        return distillation_loss(image[0], gradient)

    def after_step(self, step: Step) -> None:
        done = step.index + 1
        if done % RELOCATE_EVERY == 0 and done <= RELOCATE_UNTIL * step.steps:
            relocate_dead(self.table, DEAD_OPACITY, step.generator)

    def _target(self, level: int) -> tuple[Tensor, Tensor | None]:
        if level not in self._targets:
            self._targets[level] = targets(self._views, level)
        return self._targets[level]


def targets(views: Dataset, level: int = 0) -> tuple[Tensor, Tensor | None]:
    """Colours over white [N, H, W, 3] and alpha [N, H, W] (None without silhouettes), halved so often."""
    pictures = [views.view(i, level) for i in range(len(views))]
    colors = torch.stack([picture.target(torch.tensor(WHITE)) for picture in pictures])
    if pictures[0].pixels.shape[-1] == 3:
        return colors, None
    return colors, torch.stack([picture.pixels[..., 3].float() / 255 for picture in pictures])


def draw(gaussians: Gaussians, cameras: Cameras) -> tuple[Tensor, Tensor]:
    """Colours over white [C, H, W, 3] and alpha [C, H, W] in cameras [C] of one size; differentiable in both."""
    rgb, alpha, _ = rasterization(
        gaussians.means,
        gaussians.quats,
        gaussians.scales,
        gaussians.opacities,
        gaussians.sh,
        cameras.cam_from_world,
        cameras.K,
        int(cameras.width[0]),
        int(cameras.height[0]),
        sh_degree=gaussians.sh_degree,
        packed=False,
        backgrounds=torch.tensor(WHITE).expand(len(cameras), 3),
    )
    return rgb, alpha[..., 0]
