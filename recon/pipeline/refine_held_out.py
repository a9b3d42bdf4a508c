"""Held-out cameras fitted to a finished splat, so that it is measured where the photographs were taken.

Cameras that were estimated without the held-out photographs leave their poses open to the accuracy of matching; a
picture that is off by a pixel measures that, not the splat. Published figures of methods without cameras are
therefore taken after such an alignment (InstantSplat, Fan et al. 2024, section 4.1). The Gaussians do not change.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...render import Rendering, render
from ...scene.cameras import Cameras
from ...scene.geometry import se3_exp
from ...scene.progress import Progress, silent
from ...scene.splat import Splat, StaticSplat
from ...scene.torch_threads import torch_threads
from ..optimise.appearance import transformed
from ..optimise.dataset import Dataset, View
from .half_image import fitted_colours

MIN_COVERED = 0.9  # of the pixels that the first pose shows: one that shows fewer is not taken
HUBER = 1.5  # times the mean absolute difference: larger ones count less than their squares


@dataclass(frozen=True)
class RefineConfig:
    """Effort with which a camera is fitted."""

    linearisations: tuple[int, ...] = (8, 4, 2, 1)  # At most, from an eighth of the photograph's size to all of it.
    steps: int = 4  # At most with each: measuring how the picture changes takes twelve renders, a step one.
    difference_px: float = 0.5  # By which the picture is moved to measure that.
    least_px: float = 0.01  # A step that moves the picture by less is the last of its size.


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
    fit_colours: bool = False,
    progress: Progress = silent,
) -> Dataset:
    """The data set with each held-out camera where the render is nearest to its photograph; never further than now.

    With `fit_colours` the rendered colours follow each photograph, through a transform that is found with the camera.
    """
    cam_from_world = dataset.cameras.cam_from_world.clone()
    with torch_threads(1, cam_from_world.device):
        for done, index in enumerate(dataset.test):
            progress("aligning held-out cameras", done, len(dataset.test))
            refined = refine_camera(splat, dataset, index, config=config, fit_colours=fit_colours)
            cam_from_world[index] = refined.cam_from_world
    progress("aligning held-out cameras", len(dataset.test), len(dataset.test))
    return replace(dataset, cameras=replace(dataset.cameras, cam_from_world=cam_from_world))


def refine_camera(
    splat: Splat,
    dataset: Dataset,
    index: int,
    *,
    config: RefineConfig = RefineConfig(),
    fit_colours: bool = False,
) -> RefinedCamera:
    """Fit one camera by Gauss-Newton on a left-multiplied twist, coarse sizes first; the best is kept.

    How the picture changes with the six numbers is measured by moving the camera a little, and then used for several
    steps. Large differences count less than their squares (Huber 1964): they are what the splat lacks.
    """
    camera = dataset.cameras[index]
    frozen = replace(splat.still(dataset.time_s(index)), gaussians=splat.at(dataset.time_s(index)).detach())
    twist = start = torch.zeros(6, device=camera.K.device)
    losses: list[float] = []
    with torch.no_grad():
        depth = _median_depth(frozen, camera)
        for level in reversed(range(len(config.linearisations))):
            at = _Alignment(frozen, camera, dataset.view(index, level), depth, fit_colours)
            error, covered = at.error(start)
            best = error
            if bool(twist.any()):
                best = at.error_if_seen(twist, covered)
                # Coarser sizes may have led astray.
                twist, best = (start, error) if error < best else (twist, best)
            if level == 0:
                losses += [error, best]
            for _ in range(config.linearisations[len(config.linearisations) - 1 - level]):
                before = twist
                jacobian = at.jacobian(twist, config.difference_px)
                for _ in range(config.steps):
                    step, moved_px = at.step(twist, jacobian)
                    stepped = twist + step
                    found = at.error_if_seen(stepped, covered)
                    if found >= best:
                        break
                    twist, best = stepped, found
                    if level == 0:
                        losses.append(best)
                    if moved_px < config.least_px:
                        break
                if at.moved_px(twist - before) < config.least_px:
                    break
    return RefinedCamera((se3_exp(twist) @ camera.cam_from_world).detach(), tuple(losses))


@dataclass(frozen=True)
class _Picture:
    """A rendered picture as it is compared with the photograph."""

    rgb: Tensor  # [H, W, 3]
    covered: Tensor  # [H, W] bool, pixels that count
    drawn: Rendering  # before its colours were fitted
    background: Tensor  # [3]
    colours: Tensor | None = None  # [3, 4] that were fitted

    def by_colours(self) -> Tensor:
        """Changes of the colours [H * W * 3, 12] with the transform."""
        alpha = self.drawn.alpha[..., None]
        shown = torch.cat([self.drawn.rgb - (1 - alpha) * self.background, alpha], -1) * self.covered[..., None]
        changes = shown.new_zeros(len(shown.flatten(0, 1)), 3, 3, 4)
        for channel in range(3):
            changes[:, channel, channel] = shown.flatten(0, 1)
        return changes.reshape(-1, 12)


class _Alignment:
    """One photograph at one size, and the pictures of a splat from where a twist [6] moves its camera."""

    def __init__(self, splat: StaticSplat, camera: Cameras, view: View, depth: float, fit_colours: bool) -> None:
        self._splat, self._camera, self._view, self._fit_colours = splat, camera, view, fit_colours
        self._background = torch.tensor(splat.background, device=view.K.device)
        self._target = view.target(self._background)
        self._last: tuple[Tensor, _Picture] | None = None
        focal_px = float(view.K[0, 0] + view.K[1, 1]) / 2
        # What moves the picture by about a pixel: radians, and the same seen across the scene's depth.
        self._unit = torch.tensor([1 / focal_px] * 3 + [depth / focal_px] * 3, device=view.K.device)

    def error(self, twist: Tensor) -> tuple[float, int]:
        """Mean absolute difference where the splat shows something, and how many pixels that is.

        So no camera is drawn to what the splat lacks.
        """
        drawn = self._draw(twist)
        covered = drawn.covered
        difference = (drawn.rgb - self._target).abs() * covered[..., None]
        return float(difference.sum()) / (3 * max(int(covered.sum()), 1)), int(covered.sum())

    def error_if_seen(self, twist: Tensor, covered_at_start: int) -> float:
        """The same error; infinite for a camera that has fled to where nothing is wrong because nothing is there."""
        error, covered = self.error(twist)
        return error if covered >= MIN_COVERED * covered_at_start else math.inf

    def moved_px(self, twist: Tensor) -> float:
        """Pixels by which a small twist moves the picture, about."""
        return float((twist / self._unit).abs().max())

    def jacobian(self, twist: Tensor, difference_px: float) -> Tensor:
        """Changes of the colours [H * W * 3, 6] with the twist, by pixels of movement; zero where nothing is drawn."""
        columns, colours = [], self._draw(twist).colours
        for axis in range(6):
            offset = torch.zeros_like(twist)
            offset[axis] = difference_px * self._unit[axis]
            ahead, behind = self._picture(twist + offset, colours), self._picture(twist - offset, colours)
            change = (ahead.rgb - behind.rgb) * (ahead.covered & behind.covered)[..., None]
            columns.append(change.flatten() / (2 * difference_px))
        return torch.stack(columns, -1)

    def step(self, twist: Tensor, jacobian: Tensor) -> tuple[Tensor, float]:
        """A change [6] of the twist, and by about how many pixels it moves the picture."""
        drawn = self._draw(twist)
        covered = drawn.covered
        residual = ((drawn.rgb - self._target) * covered[..., None]).flatten()
        if self._fit_colours:  # or they would take back what the camera should explain
            jacobian = torch.cat([jacobian, drawn.by_colours()], -1)
        size = residual.abs()
        threshold = HUBER * float(size.sum()) / (3 * max(int(covered.sum()), 1))
        weight = threshold / size.clamp(min=max(threshold, 1e-6))
        weighted = jacobian * weight[:, None]
        normal, gradient = (weighted.T @ jacobian).double(), (weighted.T @ residual).double()
        normal += torch.eye(len(normal), dtype=torch.float64, device=normal.device) * (
            1e-6 * normal[:6, :6].diagonal().max() + 1e-12
        )
        change = -torch.linalg.solve(normal, gradient)[:6].to(twist.dtype) * self._unit
        return change, self.moved_px(change)

    def _draw(self, twist: Tensor) -> _Picture:
        """The picture from there in its best colours; the last twist that was tried is often where one stands."""
        if self._last is None or self._last[0] is not twist:
            self._last = twist, self._picture(twist, None)
        return self._last[1]

    def _picture(self, twist: Tensor, colours: Tensor | None) -> _Picture:
        """The picture from there, in given colours [3, 4] where some are."""
        drawn = self._render(twist)
        covered = drawn.alpha > 0
        if self._view.mask is not None:
            covered = covered & self._view.mask
        if not self._fit_colours:
            return _Picture(drawn.rgb, covered, drawn, self._background)
        if colours is None:
            colours = fitted_colours(drawn.rgb, drawn.alpha, self._target, covered, self._background)
        rgb = transformed(colours, drawn.rgb, drawn.alpha, self._background)
        return _Picture(rgb, covered, drawn, self._background, colours)

    def _render(self, twist: Tensor) -> Rendering:
        moved = _moved(self._camera, twist, self._view)
        return render(self._splat.gaussians, moved, background=self._background, antialiased=self._splat.antialiased)


def _median_depth(splat: StaticSplat, camera: Cameras) -> float:
    """Median distance along the optical axis of the Gaussians in front of a camera; 1 where there are none."""
    m = camera.cam_from_world
    z = splat.gaussians.means @ m[2, :3] + m[2, 3]
    ahead = z[z > 0]
    return float(ahead.median()) if len(ahead) else 1.0


def _moved(camera: Cameras, twist: Tensor, view: View) -> Cameras:
    """A camera moved by a twist [6], at the size of a view."""
    cam_from_world = se3_exp(twist) @ camera.cam_from_world
    return replace(
        camera,
        cam_from_world=cam_from_world,
        K=view.K,
        width=torch.tensor(view.width),
        height=torch.tensor(view.height),
    )
