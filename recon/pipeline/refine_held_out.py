"""Held-out cameras fitted to a finished splat, so that it is measured where the photographs were taken.

Cameras that were estimated without the held-out photographs leave their poses open to the accuracy of matching; a
picture that is off by a pixel measures that, not the splat. Published figures of methods without cameras are
therefore taken after such an alignment (InstantSplat, Fan et al. 2024, section 4.1). The Gaussians do not change.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...render import render
from ...scene.cameras import Cameras
from ...scene.geometry import se3_exp
from ...scene.progress import Progress, silent
from ...scene.splat import Splat, StaticSplat
from ..optimise.adam import Optimiser, update
from ..optimise.dataset import Dataset, View
from ..optimise.table import Column
from ..optimise.trainer import torch_threads

MIN_COVERED = 0.9  # of the pixels that the first pose shows: one that shows fewer is not taken


@dataclass(frozen=True)
class RefineConfig:
    """Steps and rates with which a camera is fitted."""

    steps: tuple[int, ...] = (60, 60, 100)  # At a quarter, at half and at the full size of the photograph.
    rotation_lr: float = 1e-3  # Radians a step at the end of the coarse levels; a level coarser is twice as fast.
    translation_lr: float = 3e-3  # The same in scene scales, how far the training cameras spread.
    final_lr: float = 0.05  # Factor on both at the end of each size, reached along a cosine.


@dataclass(frozen=True)
class RefinedCamera:
    """One camera, and how far the render was from the photograph."""

    cam_from_world: Tensor  # [4, 4]
    losses: tuple[float, ...]  # mean absolute error at full size: at first, then the best so far


def refine_held_out(
    splat: Splat,  # on the data set's device
    dataset: Dataset,
    *,
    config: RefineConfig = RefineConfig(),
    progress: Progress = silent,
) -> Dataset:
    """The data set with each held-out camera where the render is nearest to its photograph; never further than now."""
    cam_from_world = dataset.cameras.cam_from_world.clone()
    with torch_threads(1, cam_from_world.device):
        for done, index in enumerate(dataset.test):
            progress("aligning held-out cameras", done, len(dataset.test))
            refined = refine_camera(splat, dataset, index, config=config)
            cam_from_world[index] = refined.cam_from_world
    progress("aligning held-out cameras", len(dataset.test), len(dataset.test))
    return replace(dataset, cameras=replace(dataset.cameras, cam_from_world=cam_from_world))


def refine_camera(
    splat: Splat,
    dataset: Dataset,
    index: int,
    *,
    config: RefineConfig = RefineConfig(),
) -> RefinedCamera:
    """Fit one camera by Adam on a left-multiplied twist, coarse sizes first; the best at full size is kept."""
    camera = dataset.cameras[index]
    frozen = replace(splat.still(dataset.time_s(index)), gaussians=splat.at(dataset.time_s(index)).detach())
    kept = torch.zeros(1, 6, device=camera.K.device)
    twist = Column(kept)
    with torch.no_grad():
        full = dataset.view(index)
        start, covered_at_start = _error(frozen, _moved(camera, kept, full), full)
    best = float(start)
    losses = [best]
    for level in reversed(range(len(config.steps))):
        view = dataset.view(index, level)
        steps = config.steps[len(config.steps) - 1 - level]
        twist = Column(twist.tensor)  # moments start anew at each size
        optimiser = Optimiser(functools.partial(_rates, config, dataset.scene_scale, level, steps))
        for step in range(steps + 1):
            loss, covered = _error(frozen, _moved(camera, twist.tensor, view), view)
            if level == 0:
                if float(loss.detach()) < best and covered >= MIN_COVERED * covered_at_start:
                    best, kept = float(loss.detach()), twist.tensor.detach().clone()
                losses.append(best)
            if step < steps:
                loss.backward()
                update(twist, optimiser, step)
    return RefinedCamera((se3_exp(kept[0]) @ camera.cam_from_world).detach(), tuple(losses))


def _moved(camera: Cameras, twist: Tensor, view: View) -> Cameras:
    """A camera moved by a twist [1, 6], at the size of a view."""
    cam_from_world = se3_exp(twist[0]) @ camera.cam_from_world
    return replace(
        camera,
        cam_from_world=cam_from_world,
        K=view.K,
        width=torch.tensor(view.width),
        height=torch.tensor(view.height),
    )


def _error(splat: StaticSplat, camera: Cameras, view: View) -> tuple[Tensor, int]:
    """Mean absolute error over the pixels where the splat shows something, and how many they are.

    So no camera is drawn to what the splat lacks; the count tells one that has fled to where nothing is wrong because
    nothing is there.
    """
    background = torch.tensor(splat.background, device=view.K.device)
    drawn = render(splat.gaussians, camera, background=background, antialiased=splat.antialiased)
    covered = drawn.alpha.detach() > 0
    if view.mask is not None:
        covered = covered & view.mask
    difference = (drawn.rgb - view.target(background)).abs() * covered[..., None]
    return difference.sum() / (3 * covered.sum()).clamp(min=1), int(covered.sum())


def _rates(config: RefineConfig, scene_scale: float, level: int, steps: int, step: int) -> Tensor:
    """Learning rates [6] at a step of one size."""
    share = config.final_lr + (1 - config.final_lr) * (1 + math.cos(math.pi * step / steps)) / 2
    rates: Sequence[float] = [config.rotation_lr] * 3 + [config.translation_lr * scene_scale] * 3
    return torch.tensor(rates) * (share * 2**level)
