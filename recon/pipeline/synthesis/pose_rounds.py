"""Cameras of one photograph moved by gradients to where a known object looks like it: many at once, in rounds.

SparseAGS, outlier correction: each round begins with the best of the one before and copies of them, moved a little at
random; in the end candidates are ranked by the sum of their ranks by squared error and by appearance. The released
schedule steps its learning rate inside of loops that also reset it; here each round has its own, falling to a tenth.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ....scene.cameras import Cameras
from ....scene.gaussians import Gaussians
from ....scene.geometry import se3_exp
from ...optimise.adam import Optimiser, update
from ...optimise.dataset import Dataset
from ...optimise.table import Column
from .appearance_distance import appearance_distance
from .joint_fit import draw, targets
from .pose_search import distinct


@dataclass(frozen=True)
class Round:
    """One round of the refinement."""

    noise: float  # standard deviation of the copies' twists, radians and lengths of the look-at frame
    steps: int
    rate: float  # of Adam, at the start


@dataclass(frozen=True)
class RoundsConfig:
    """Effort of the refinement; the released code has 128, 256 and 256 steps for hundreds of candidates."""

    rounds: tuple[Round, ...] = (Round(0.0, 30, 2e-2), Round(0.1, 30, 1e-2), Round(0.01, 40, 3e-3))
    survivors: int = 6  # candidates that each round but the first begins with
    modes: int = 3  # of them that differ by more than `mode_deg`: the other side of an object may look much like one
    mode_deg: float = 40.0
    copies: int = 3  # of each of them
    reconsidered: int = 8  # copies of a pose that may have been nearly right
    reconsidered_noise: float = 0.05  # of their twists; the released code has 64 copies with 0.001, which are all alike


@dataclass(frozen=True)
class FoundPoses:
    """Cameras that explain one photograph, the best first."""

    cam_from_world: Tensor  # [M, 4, 4]
    squared_error: Tensor  # [M] mean over colours, and alpha where there is one
    distance: Tensor  # [M] of appearance


class Photograph:
    """One picture at working size, and cameras that may have taken it."""

    def __init__(self, views: Dataset, view: int) -> None:
        colors, alpha = targets(views)
        self.colors, self.alpha = colors[view], None if alpha is None else alpha[view]
        self._camera = views.cameras[torch.tensor([view])]

    def squared_error(self, gaussians: Gaussians, poses: Tensor) -> Tensor:
        """Mean over pixels and channels [M] for poses [M, 4, 4]; differentiable in them."""
        return self._compared(gaussians, poses)[0]

    @torch.no_grad()
    def errors(self, gaussians: Gaussians, poses: Tensor) -> tuple[Tensor, Tensor]:
        """Squared error and distance of appearance [M] of poses [M, 4, 4]."""
        error, rgb = self._compared(gaussians, poses)
        return error, appearance_distance(rgb, self.colors)

    def _compared(self, gaussians: Gaussians, poses: Tensor) -> tuple[Tensor, Tensor]:
        rgb, alpha = draw(gaussians, self._cameras(poses))
        error = (rgb - self.colors).square().mean(dim=(1, 2, 3))
        if self.alpha is not None:
            error = (3 * error + (alpha - self.alpha).square().mean(dim=(1, 2))) / 4
        return error, rgb

    def _cameras(self, poses: Tensor) -> Cameras:
        return replace(self._camera[torch.zeros(len(poses), dtype=torch.int64)], cam_from_world=poses)


def refine_candidates(
    gaussians: Gaussians,
    photograph: Photograph,
    starts: Tensor,  # [M, 4, 4]
    config: RoundsConfig = RoundsConfig(),
    seed: int = 0,
) -> FoundPoses:
    """Candidates at the end of all rounds, ranked."""
    generator = torch.Generator().manual_seed(seed)
    poses = starts
    for number, part in enumerate(config.rounds):
        if number:
            error, _ = photograph.errors(gaussians, poses)
            poses = poses[_survivors(poses, error, config)]
            noise = torch.randn(config.copies * len(poses), 6, generator=generator) * part.noise
            poses = torch.cat([poses, poses.repeat(config.copies, 1, 1) @ se3_exp(noise)])
        poses = follow_gradient(gaussians, photograph, poses, part.steps, part.rate)
    return ranked(poses, *photograph.errors(gaussians, poses))


def _survivors(poses: Tensor, error: Tensor, config: RoundsConfig) -> Tensor:
    """Indices of the candidates that go on: of each of the best few modes the best ones, in turns."""
    order = error.argsort()
    leaders = distinct(poses[order], config.mode_deg)[: config.modes]
    cosine = torch.einsum("aij,bij->ab", poses[order, :3, :3], poses[order][leaders, :3, :3])
    nearest = cosine.argmax(1)  # mode of each candidate, in their order
    place = torch.zeros(len(order), dtype=torch.int64)  # of each within its mode
    for mode in range(len(leaders)):
        members = nearest == mode
        place[members] = torch.arange(int(members.sum()))
    return order[place.argsort(stable=True)[: config.survivors]]


def modes_of(poses: Tensor, config: RoundsConfig) -> list[int]:
    """Indices of the first pose of each mode among poses [M, 4, 4] that are ordered."""
    return distinct(poses, config.mode_deg)[: config.modes]


def reconsidered(
    gaussians: Gaussians,
    photograph: Photograph,
    pose: Tensor,  # [4, 4]
    config: RoundsConfig = RoundsConfig(),
    seed: int = 0,
) -> Tensor:
    """A pose [4, 4] that was given up, moved to where it is best near where it was."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(config.reconsidered, 6, generator=generator) * config.reconsidered_noise
    noise[0] = 0
    first = config.rounds[0]
    poses = follow_gradient(gaussians, photograph, pose @ se3_exp(noise), first.steps, first.rate)
    return poses[photograph.errors(gaussians, poses)[0].argmin()]


def ranked(poses: Tensor, squared_error: Tensor, distance: Tensor) -> FoundPoses:
    """Candidates [M] by the sum of their ranks in both errors, the least first; the squared error settles ties."""
    ranks = squared_error.argsort().argsort() + distance.argsort().argsort()
    by_error = squared_error.argsort(stable=True)
    order = by_error[ranks[by_error].argsort(stable=True)]
    return FoundPoses(poses[order], squared_error[order], distance[order])


def follow_gradient(gaussians: Gaussians, photograph: Photograph, starts: Tensor, steps: int, rate: float) -> Tensor:
    """Cameras [M, 4, 4] after so many steps of Adam on the squared error; of each one's way the best place."""
    column = Column(torch.zeros(len(starts), 6))
    optimiser = Optimiser(lambda step: rate * 0.1 ** (step / max(steps, 1)))
    least, poses = torch.full((len(starts),), torch.inf), starts
    for step in range(steps + 1):
        moved = starts @ se3_exp(column.tensor)
        error = photograph.squared_error(gaussians, moved)
        better = error.detach() < least
        least = torch.where(better, error.detach(), least)
        poses = torch.where(better[:, None, None], moved.detach(), poses)
        if step < steps:
            error.sum().backward()
            update(column, optimiser, step)
    return poses
