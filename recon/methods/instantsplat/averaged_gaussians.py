"""Gaussians of a fixed number whose result is their mean over the last steps of training.

Rates that do not fall to nothing, and other Gaussians left out of each step, keep them moving around the values that
suit all photographs; the mean lies nearer to these than any step does (Polyak and Juditsky 1992).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ....scene.gaussians import Gaussians
from ....scene.splat import Splat, StaticSplat
from ...optimise.step import Step
from ..gaussian_splatting.model import GaussianSplatting
from .config import InstantSplatConfig

COUNT, SUM = "averaged", "sum_"  # names in the state


class AveragedGaussians(GaussianSplatting):
    """3D Gaussian Splatting whose result is a mean, from `average_from` of the run on."""

    def __init__(
        self,
        gaussians: Gaussians,
        config: InstantSplatConfig,
        scene_scale: float,  # world units
        means_row_scale: Tensor | None = None,  # [N] factors on the means' learning rate
    ) -> None:
        super().__init__(gaussians, config, scene_scale, means_row_scale)
        self._from_step = config.average_from * config.steps
        self._count = 0
        self._sums: dict[str, Tensor] = {}

    @torch.no_grad()
    def after_step(self, step: Step) -> None:
        super().after_step(step)
        if step.index < self._from_step:
            return
        now = {name: column.detach() for name, column in self.table.items()}
        if any(name not in self._sums or self._sums[name].shape != value.shape for name, value in now.items()):
            self._count, self._sums = 0, {name: torch.zeros_like(value) for name, value in now.items()}  # a new degree
        for name, value in now.items():
            self._sums[name] += value
        self._count += 1

    def result(self) -> Splat:
        last = super().result()
        if self._count == 0:
            return last
        assert isinstance(last, StaticSplat)
        return replace(last, gaussians=Gaussians(**{name: s / self._count for name, s in self._sums.items()}))

    def state(self) -> dict[str, Tensor]:
        sums = {f"{SUM}{name}": value for name, value in self._sums.items()}
        return super().state() | {COUNT: torch.tensor([self._count])} | sums

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        super().load_state(state)
        device = self.table["means"].device
        self._count = int(state[COUNT])
        self._sums = {key[len(SUM) :]: value.to(device) for key, value in state.items() if key.startswith(SUM)}
