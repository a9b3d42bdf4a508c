"""Selections: boolean masks [N] of points by where they are in the world or on the screen.

All functions take the means of Gaussians, or any points. What is not finite is never selected.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from ..cameras import Cameras
from ..errors import BadInputError
from ..geometry import transform_points

Mode = Literal["replace", "add", "remove", "intersect"]
MODES: tuple[Mode, ...] = ("replace", "add", "remove", "intersect")


def combined(
    before: Tensor,  # [N] bool
    new: Tensor,  # [N] bool
    mode: Mode = "replace",
) -> Tensor:
    """The selection [N] after `new` has been taken into the one before."""
    if mode == "replace":
        return new.clone()
    if mode == "add":
        return before | new
    return before & new if mode == "intersect" else before & ~new


def in_box(
    means: Tensor,  # [N, 3] world
    world_from_box: Tensor,  # [4, 4] rigid motion or similarity
    half_sizes: Tensor,  # [3] in the box's own frame
) -> Tensor:
    """Mask [N] of the points inside of an oriented box, its faces included."""
    axes = torch.linalg.inv(world_from_box[:3, :3].double()).to(means)
    local = (means - world_from_box[:3, 3].to(means)) @ axes.T
    return (local.abs() <= half_sizes.to(means)).all(-1)


def in_sphere(
    means: Tensor,  # [N, 3] world
    center: Tensor,  # [3] world
    radius: float,
) -> Tensor:
    """Mask [N] of the points inside of a sphere, its surface included."""
    return (means - center.to(means)).square().sum(-1) <= radius * radius


def in_rectangle(
    means: Tensor,  # [N, 3] world
    camera: Cameras,  # batch shape []
    corner_px: Sequence[float],  # (x, y) of any corner
    opposite_px: Sequence[float],  # (x, y) of the other one
    max_depth: float = math.inf,  # world units along the viewing direction
) -> Tensor:
    """Mask [N] of the points before the camera that it sees inside of a rectangle of its picture."""
    xy, in_front = _on_screen(means, camera, max_depth)
    corners = torch.tensor([list(corner_px), list(opposite_px)], dtype=xy.dtype)
    low, high = corners.min(0).values, corners.max(0).values
    return in_front & ((xy >= low) & (xy <= high)).all(-1)


def in_lasso(
    means: Tensor,  # [N, 3] world
    camera: Cameras,  # batch shape []
    polygon_px: Tensor,  # [M, 2] corners in order; the last is joined to the first
    max_depth: float = math.inf,  # world units along the viewing direction
) -> Tensor:
    """Mask [N] of the points before the camera that it sees inside of a polygon, by the even-odd rule.

    Raises BadInputError for a polygon of fewer than three corners.
    """
    if polygon_px.ndim != 2 or len(polygon_px) < 3:
        raise BadInputError(f"A lasso needs at least three corners, found {len(polygon_px)}; click some more.")
    selected = in_rectangle(
        means, camera, polygon_px.min(0).values.tolist(), polygon_px.max(0).values.tolist(), max_depth
    )
    candidates = selected.nonzero()[:, 0]  # most points of a large splat lie beyond the polygon's own rectangle
    xy, _ = _on_screen(means[candidates], camera, max_depth)
    selected[candidates] = _even_odd(xy.double(), polygon_px.double())
    return selected


def _on_screen(means: Tensor, camera: Cameras, max_depth: float) -> tuple[Tensor, Tensor]:
    """(pixels [N, 2], mask [N] of those in front of the camera and no deeper than `max_depth`)."""
    cam = transform_points(camera.cam_from_world.to(means), means)
    z = cam[:, 2]
    K = camera.K.to(means)
    return (cam @ K[:2].T) / z[:, None], (z > 0) & (z <= max_depth)


def _even_odd(xy: Tensor, polygon: Tensor) -> Tensor:
    """Mask [N]: a ray to the right crosses the polygon's edges an odd number of times."""
    x, y = xy.unbind(-1)
    inside = torch.zeros(len(xy), dtype=torch.bool)
    for (ax, ay), (bx, by) in zip(polygon.tolist(), polygon.roll(-1, 0).tolist(), strict=True):
        if ay != by:
            inside ^= ((y < ay) != (y < by)) & (x < ax + (y - ay) * ((bx - ax) / (by - ay)))
    return inside
