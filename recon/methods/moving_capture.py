"""Captures of things that move: their moments, the unit of their networks, and points to start from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...render.aim import focus_point
from ...scene.capture import Capture
from ...scene.errors import BadInputError
from ...scene.filled import filled
from ...scene.geometry import transform_points
from ...scene.point_cloud import PointCloud
from ..optimise.dataset import OPAQUE, Dataset
from ..optimise.step import Step
from .gaussian_splatting.config import GaussianSplattingConfig
from .gaussian_splatting.initial_points import random_points
from .method_contract import Inputs, Suitability

BOX = 1.3  # half the side of the box that places of the network lie in, as in the synthetic captures of NeRF
WINDOW = 8  # photographs that follow each other, in all of whose outlines a starting point lies
CANDIDATES = 200_000  # places in the box that are looked at


def require_times(capture: Capture, method: str) -> None:
    """Raise BadInputError where the photographs are not of different moments."""
    if capture.times_s is None:
        raise BadInputError(
            f"{method} follows what moves, and the photographs of {capture.source} have no times: say with --fps how "
            "many are taken in a second, give every frame a 'time' in its transforms.json, read a video, or take "
            "--method 3dgs."
        )
    if capture.duration_s == 0:
        raise BadInputError(
            f"{method} follows what moves, and all photographs of {capture.source} have one time; take --method 3dgs, "
            "which takes the scene as still."
        )


def suits_what_moves(inputs: Inputs, score: float, reason: str) -> Suitability:
    """Suitability of a method that follows what moves: none where nothing does."""
    if not inputs.moves:
        return Suitability(0.0, "the scene does not move")
    return Suitability(score, f"the photographs were taken at different times{reason}")


def is_synthetic(inputs: Inputs) -> bool:
    """True for cut-out photographs with exact cameras, as renderings have."""
    return not inputs.cameras_are_estimated and all(view.pixels.shape[-1] == 4 for view in inputs.dataset.views)


@dataclass(frozen=True)
class MovingFrame:
    """Places and moments as a network takes them: places within `BOX` of the origin, moments from 0 to 1."""

    center: Tensor  # [3], on the CPU
    unit: float  # world units of one unit of the network
    first_s: float
    last_s: float
    moments: int  # different ones

    @classmethod
    def of(cls, dataset: Dataset, points: Tensor) -> MovingFrame:
        """The frame of a data set with times, around most of its starting points [N, 3]."""
        assert dataset.cameras.times_s is not None
        times = dataset.cameras.times_s.double().unique()
        low, high = (torch.quantile(points[:: len(points) // 100_000 + 1], q, dim=0) for q in (0.01, 0.99))
        unit = float((high - low).max()) / (2 * BOX)
        return cls(((low + high) / 2).cpu(), unit or 1.0, float(times[0]), float(times[-1]), len(times))

    def places(self, points: Tensor) -> Tensor:
        """Points [N, 3] of the world to the network."""
        return (points - filled(self.center.tolist(), points.device).to(points.dtype)) / self.unit

    def moment(self, time_s: float | None) -> float:
        """A time to the network; the first one when None."""
        return 0.0 if time_s is None else (time_s - self.first_s) / (self.last_s - self.first_s)

    @property
    def interval(self) -> float:
        """Between two photographs, in the network's time."""
        return 1 / max(1, self.moments - 1)

    def kept_times_s(self, count: int) -> Tensor:
        """Times [T] float64 at which a motion is kept: `count`, or twice the photographs' own where it is 0."""
        count = count or max(2, min(2 * self.moments, 300))
        return torch.linspace(self.first_s, self.last_s, count, dtype=torch.float64)


def time_noise(step: Step, size: float, until: float) -> float:
    """A shift of a step's moment, of a normal distribution that narrows to zero at a fraction of the run.

    It smooths the motion over frames whose cameras are not exact (Deformable 3DGS, section 3.3).
    """
    width = size * (1 - step.index / (until * step.steps))
    if width <= 0:
        return 0.0
    return width * float(torch.randn((), generator=step.generator, device=step.generator.device))


def starting_points(dataset: Dataset, config: GaussianSplattingConfig, generator: torch.Generator) -> PointCloud:
    """The data set's points, or random ones in the outlines of cut-out photographs, else in the cameras' frusta."""
    points = dataset.points
    if points is not None and len(points) > 0:
        points = points.to("cpu")
        points = points[points.xyz.isfinite().all(dim=-1)]
    else:
        count = min(config.random_points, config.max_gaussians)
        points = _in_outlines(dataset, count, generator) or random_points(dataset, count, generator)
    if len(points) > config.max_gaussians:
        points = points[torch.randperm(len(points), generator=generator)[: config.max_gaussians].sort().values]
    return points


def _in_outlines(dataset: Dataset, count: int, generator: torch.Generator) -> PointCloud | None:
    """At most `count` grey points that lie within the outlines of photographs that follow each other; None for none.

    What moves leaves the outline of where it was, so only a few moments have to agree, whichever these are.
    """
    train = list(dataset.train)
    if any(dataset.views[i].pixels.shape[-1] != 4 for i in train):
        return None
    cameras = dataset.cameras[train].to("cpu")
    focus = focus_point(cameras).float()
    distance = (cameras.centers - focus).norm(dim=-1)
    half_view = torch.minimum(cameras.width / cameras.K[:, 0, 0], cameras.height / cameras.K[:, 1, 1]) / 2
    reach = float((distance * half_view).median())
    low, high = focus - reach, focus + reach
    for _ in range(2):  # first in all that the cameras look at, then in the box of what was found
        places = low + (high - low) * torch.rand(CANDIDATES, 3, generator=generator)
        places = places[_within_outlines(dataset, train, places)]
        if len(places) == 0:
            return None
        low, high = places.amin(0), places.amax(0)
        low, high = low - 0.05 * (high - low), high + 0.05 * (high - low)
    return PointCloud(places[:count], torch.full((len(places[:count]), 3), 128, dtype=torch.uint8))


def _within_outlines(dataset: Dataset, train: list[int], places: Tensor) -> Tensor:
    """Mask [N] of the places [N, 3] that lie in the outlines of `WINDOW` photographs that follow each other."""
    cameras = dataset.cameras[train].to("cpu")
    assert cameras.times_s is not None
    kept = torch.zeros(len(places), dtype=torch.bool)
    in_a_row = torch.zeros(len(places), dtype=torch.int16)
    for camera in cameras.times_s.argsort(stable=True).tolist():
        view = dataset.views[train[camera]]
        x, y, z = transform_points(cameras.cam_from_world[camera], places).unbind(-1)
        K = view.K.cpu()
        column, row = (K[0, 0] * x / z + K[0, 2]).long(), (K[1, 1] * y / z + K[1, 2]).long()
        within = (z > 0) & (column >= 0) & (row >= 0) & (column < view.width) & (row < view.height)
        opaque = torch.zeros_like(within)
        opaque[within] = view.pixels[row[within], column[within], 3].cpu() >= OPAQUE
        in_a_row = torch.where(opaque, in_a_row + 1, 0)
        kept |= in_a_row >= min(WINDOW, len(train))
    return kept
