"""Pixels of several depth maps that show the same as a more confident view (InstantSplat, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from ....scene.geometry import transform_points
from ...evidence import Stereo

Rule = Literal["projected", "normalised"]


def redundant_pixels(
    stereo: Stereo,
    threshold: float = 0.01,
    rule: Rule = "projected",
    shown: Sequence[Tensor] | None = None,  # for each view bool [H, W]: its pixels that count; all where not given
) -> tuple[Tensor, ...]:
    """For each view bool [H, W], True where a view of higher mean confidence shows the same surface.

    All points of all better views, those behind pixels that count, are projected into a view; a pixel is redundant when
    one of those that fall into it agrees in depth. The best view keeps everything. `projected` compares the depth of
    the projected point with the pixel's own, relative to the latter: |z - D| / D < threshold. `normalised` is what the
    released code does: the point's depth in its own view, and the pixel's, each min-max normalised over their maps, and
    no test that the point lies in front of the camera; it only means something where the views' depth ranges agree.
    """
    order = _by_confidence(stereo)
    counts = [torch.ones_like(m.depth, dtype=torch.bool) for m in stereo.maps] if shown is None else shown
    out: dict[int, Tensor] = {}
    for rank, view in enumerate(order):
        depth = stereo.maps[view].depth
        redundant = torch.zeros_like(depth, dtype=torch.bool)
        better = order[:rank]
        if any(counts[b].any() for b in better):
            points = torch.cat([stereo.points(b)[counts[b]] for b in better])
            own = torch.cat([stereo.maps[b].depth[counts[b]] for b in better])
            in_camera = transform_points(stereo.cameras.cam_from_world[view], points)
            hit, column, row = _pixels(in_camera, stereo, view, in_front=rule == "projected")
            if rule == "projected":
                reference = depth[row, column]
                agrees = (in_camera[hit, 2] - reference).abs() < threshold * reference
            else:
                agrees = (_normalised(own)[hit] - _normalised(depth)[row, column]).abs() < threshold
            redundant[row[agrees], column[agrees]] = True
        out[view] = redundant
    return tuple(out[view] for view in range(len(stereo)))


def _by_confidence(stereo: Stereo) -> list[int]:
    """Views, the one with the highest mean confidence first."""
    means = torch.stack([m.confidence.mean() for m in stereo.maps])
    return [int(v) for v in torch.argsort(means, descending=True, stable=True)]


def _pixels(
    in_camera: Tensor,  # [N, 3]
    stereo: Stereo,
    view: int,
    in_front: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Mask [N] of the points that fall into the view's picture, and the columns and rows [M] of their pixels."""
    z = in_camera[:, 2]
    usable = z > 1e-6 if in_front else z.abs() > 1e-6
    K = stereo.cameras.K[view]
    safe_z = torch.where(usable, z, torch.ones_like(z))
    x = K[0, 0] * in_camera[:, 0] / safe_z + K[0, 2]
    y = K[1, 1] * in_camera[:, 1] / safe_z + K[1, 2]
    height, width = stereo.maps[view].depth.shape
    hit = usable & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return hit, x[hit].long(), y[hit].long()


def _normalised(depth: Tensor) -> Tensor:
    """Depths [...] moved to [0, 1]."""
    low, high = depth.min(), depth.max()
    return (depth - low) / (high - low).clamp_min(1e-12)
