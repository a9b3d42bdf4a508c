"""The training curve of a run: loss and PSNR over the steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from ...render import render
from ...render.metrics import psnr
from ...scene.splat import Splat
from ..optimise.contract import Model
from ..optimise.dataset import Dataset
from .evaluate import MAX_PSNR_DB

CURVE_POINTS = 40  # each costs one more rendered view


class TrainingCurve:
    """A callback of the trainer that keeps [step, loss, PSNR in dB] of one view, the held-out one in the middle."""

    def __init__(self, dataset: Dataset, model: Model, earlier: Sequence[Sequence[float]]) -> None:
        views = dataset.test or dataset.train
        self._index = views[len(views) // 2]
        self._dataset = dataset
        self._steps = sum(stage.steps for stage in model.stages())
        self._every = max(1, self._steps // CURVE_POINTS)
        self.points: list[list[float]] = [list(p) for p in earlier]

    def __call__(self, step: int, model: Model, figures: Mapping[str, float | int]) -> None:
        if step % self._every and step != self._steps:
            return
        self.points = [p for p in self.points if p[0] < step]
        self.points.append([step, float(figures["loss"]), self._psnr(model.result())])

    @torch.no_grad()
    def _psnr(self, splat: Splat) -> float:
        background = torch.tensor(splat.background, device=splat.gaussians.means.device)
        gaussians, camera = splat.at(self._dataset.time_s(self._index)), self._dataset.cameras[self._index]
        image = render(gaussians, camera, background=background, antialiased=splat.antialiased).rgb
        return min(psnr(image.clamp(0, 1), self._dataset.view(self._index).target(background)), MAX_PSNR_DB)
