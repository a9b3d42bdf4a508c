"""Deformable 3D Gaussians (Yang et al. 2024, arXiv 2309.13101): canonical Gaussians, each moved by one network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ....learn.schedules import log_linear
from ....scene.control_points import with_residuals
from ....scene.filled import filled
from ....scene.frame_motion import FrameMotion
from ....scene.gaussians import Gaussians
from ....scene.splat import MovingSplat
from ...optimise.adam import Optimiser
from ...optimise.contract import Stage
from ...optimise.dataset import Dataset
from ...optimise.step import Step
from ..deformation_network import SHIFTS, deformation_network
from ..gaussian_splatting.model import GaussianSplatting, gaussians_from_points
from ..moving_capture import MovingFrame, starting_points, time_noise
from .config import DeformableGaussiansConfig


class DeformableGaussians(GaussianSplatting):
    """Canonical Gaussians, and the network that says where each is when."""

    config: DeformableGaussiansConfig
    torch_threads = None  # the network dominates

    def __init__(
        self, gaussians: Gaussians, config: DeformableGaussiansConfig, frame: MovingFrame, scene_scale: float
    ) -> None:
        super().__init__(gaussians, config, scene_scale)
        self.frame = frame
        self.network = deformation_network((SHIFTS, "quat_residuals", "scale_residuals"), config).to(
            gaussians.means.device
        )
        self.modules = {"deformation": self.network}
        self._noise, self._moves = 0.0, True

    def stages(self) -> Sequence[Stage]:
        c = self.config
        (still,) = super().stages()

        def rate(step: int) -> float:
            return log_linear(c.network_lr, c.network_lr_final, step / c.steps)

        return [Stage(c.steps, {**still.optimisers, "deformation": Optimiser(rate)})]

    def splat(self, time_s: float | None = None) -> Gaussians:
        canonical = super().splat()
        if not self._moves:
            return canonical
        return self._moved(canonical, self.frame.moment(time_s) + self._noise)

    def _moved(self, canonical: Gaussians, moment: float) -> Gaussians:
        places = self.frame.places(canonical.means.detach())
        said = {name: values[0] for name, values in self.network(places, filled([moment], places.device)).items()}
        said["scale_residuals"] = self.frame.unit * said["scale_residuals"]
        means = canonical.means + self.frame.unit * said.pop(SHIFTS)
        return with_residuals(replace(canonical, means=means), said)

    def before_step(self, step: Step) -> None:
        super().before_step(step)
        self._moves = step.index >= int(self.config.still * step.steps)
        self._noise = time_noise(step, self.config.time_noise * self.frame.interval, until=0.5)

    def after_step(self, step: Step) -> None:
        self._noise, self._moves = 0.0, True
        super().after_step(step)

    @torch.no_grad()
    def result(self) -> MovingSplat:
        times_s = self.frame.kept_times_s(self.config.result_moments)
        canonical = super().splat().detach()
        moments = [self._moved(canonical, self.frame.moment(float(t))) for t in times_s]

        def stacked(name: str) -> Tensor:
            return torch.stack([getattr(g, name) for g in moments])

        motion = FrameMotion(times_s, stacked("means"), stacked("quats"), stacked("log_scales"))
        return MovingSplat(canonical, self.config.antialiased, background=self.config.background, motion=motion)


def initialise(
    dataset: Dataset, config: DeformableGaussiansConfig, device: torch.device | str = "cpu"
) -> DeformableGaussians:
    """Gaussians at the data set's points, or at random ones, and a network that moves none of them yet."""
    generator = torch.Generator().manual_seed(config.seed)
    points = starting_points(dataset, config, generator)
    gaussians = gaussians_from_points(points, config, dataset.scene_scale).to(device)
    return DeformableGaussians(gaussians, config, MovingFrame.of(dataset, points.xyz), dataset.scene_scale)
