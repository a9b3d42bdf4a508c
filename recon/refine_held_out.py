"""Held-out cameras fitted to a finished splat, so that it is measured where the photographs were taken.

Cameras that were estimated without the held-out photographs leave their poses open to the accuracy of matching; a
picture that is off by a pixel measures that, not the splat. Published figures of methods without cameras are
therefore taken after such an alignment (InstantSplat, Fan et al. 2024, section 4.1). The Gaussians do not change.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..render import render
from ..scene.gaussians import Gaussians
from ..scene.geometry import se3_exp
from ..scene.progress import Progress, silent
from .dataset import Dataset, View
from .optimizer import Adam, Parameters
from .train import one_thread


@dataclass(frozen=True)
class RefineConfig:
    """How long and how fast a camera is fitted."""

    steps: tuple[int, ...] = (100, 100, 200)  # At a quarter, at half and at the full size of the photograph.
    rotation_lr: float = 1e-3  # Radians a step at the end of the coarse levels; a level coarser is twice as fast.
    translation_lr: float = 3e-3  # The same in extents, how far the training cameras spread.
    final_lr: float = 0.05  # Factor on both at the end of each size, reached along a cosine.


@dataclass(frozen=True)
class RefinedCamera:
    """One camera, and how far the render was from the photograph."""

    cam_from_world: Tensor  # [4, 4]
    losses: tuple[float, ...]  # mean absolute error where something is rendered, at full size: first, then best so far


def refine_held_out(
    gaussians: Gaussians,
    dataset: Dataset,
    background: Tensor,  # [3]
    *,
    antialiased: bool = False,
    config: RefineConfig = RefineConfig(),
    progress: Progress = silent,
) -> Dataset:
    """The data set with each held-out camera where the render is nearest to its photograph; never further than now."""
    cam_from_world = dataset.cameras.cam_from_world.clone()
    with one_thread(cam_from_world.device):
        for done, index in enumerate(dataset.test):
            progress("aligning held-out cameras", done, len(dataset.test))
            refined = refine_camera(gaussians, dataset, index, background, antialiased=antialiased, config=config)
            cam_from_world[index] = refined.cam_from_world
    progress("aligning held-out cameras", len(dataset.test), len(dataset.test))
    return replace(dataset, cameras=replace(dataset.cameras, cam_from_world=cam_from_world))


def refine_camera(
    gaussians: Gaussians,
    dataset: Dataset,
    index: int,
    background: Tensor,  # [3]
    *,
    antialiased: bool = False,
    config: RefineConfig = RefineConfig(),
) -> RefinedCamera:
    """Fit one camera by Adam on a left-multiplied twist, coarse sizes first; the best at full size is kept."""
    frozen = gaussians.detach()
    camera = dataset.cameras[index]
    twist = Parameters(torch.zeros(1, 6, device=frozen.means.device), per_gaussian=False)
    best, kept, losses = math.inf, twist.tensor.detach().clone(), []
    for level in reversed(range(len(config.steps))):
        view = dataset.view(index, level)
        target = view.target(background)
        steps = config.steps[len(config.steps) - 1 - level]
        optimizer = Adam({"twist": twist})
        for step in range(steps + 1):
            moved = replace(
                camera,
                cam_from_world=se3_exp(twist.tensor[0]) @ camera.cam_from_world,
                K=view.K,
                width=torch.tensor(view.width),
                height=torch.tensor(view.height),
            )
            drawn = render(frozen, moved, background=background, antialiased=antialiased)
            loss = _covered_error(drawn.rgb, drawn.alpha, target, view)
            if level == 0:
                if float(loss) < best:
                    best, kept = float(loss), twist.tensor.detach().clone()
                losses.append(best)
            if step < steps:
                loss.backward()
                share = config.final_lr + (1 - config.final_lr) * (1 + math.cos(math.pi * step / steps)) / 2
                optimizer.step({"twist": _rates(config, dataset.extent, share * 2**level)})
    return RefinedCamera((se3_exp(kept[0]) @ camera.cam_from_world).detach(), tuple(losses))


def _covered_error(image: Tensor, alpha: Tensor, target: Tensor, view: View) -> Tensor:
    """Mean absolute error over the pixels where the splat shows something: no camera is drawn to what it lacks."""
    covered = alpha.detach() > 0
    if view.mask is not None:
        covered = covered & view.mask
    return ((image - target).abs() * covered[..., None]).sum() / (3 * covered.sum()).clamp(min=1)


def _rates(config: RefineConfig, extent: float, factor: float) -> Tensor:
    rates: Sequence[float] = [config.rotation_lr] * 3 + [config.translation_lr * extent] * 3
    return torch.tensor(rates) * factor
