"""Volume overlap of upright boxes that are turned about their vertical axis, and overlap of their floors."""

from __future__ import annotations

import torch
from torch import Tensor

_STILL = 1e-12  # metres; the square of a smaller divisor could vanish in the gradient


def iou_3d(
    a: Tensor,  # [N, 7]
    b: Tensor,  # [M, 7]
) -> Tensor:
    """[N, M] in 0..1. Rows are x, y of the floor plane, height of the centre, length, width, height, yaw from x to y.

    Pairs whose circles on the floor or whose heights do not touch are left at 0; all others are done at once.
    """
    low = torch.maximum((a[:, 2] - a[:, 5] / 2)[:, None], (b[:, 2] - b[:, 5] / 2)[None])
    high = torch.minimum((a[:, 2] + a[:, 5] / 2)[:, None], (b[:, 2] + b[:, 5] / 2)[None])
    i, j = (_near(a, b) & (high > low)).nonzero(as_tuple=True)
    iou = torch.zeros(len(a), len(b), dtype=a.dtype, device=a.device)
    iou[i, j] = paired_iou_3d(a[i], b[j])
    return iou


def paired_iou_3d(
    a: Tensor,  # [P, 7] as in `iou_3d`
    b: Tensor,  # [P, 7]
) -> Tensor:
    """[P] in 0..1: each box of `a` with the same row of `b`. Differentiable by both."""
    low = torch.maximum(a[:, 2] - a[:, 5] / 2, b[:, 2] - b[:, 5] / 2)
    high = torch.minimum(a[:, 2] + a[:, 5] / 2, b[:, 2] + b[:, 5] / 2)
    shared = rectangle_overlap(_floor(a), _floor(b)) * (high - low).clamp_min(0)
    return _over_union(shared, a[:, 3:6].prod(dim=1), b[:, 3:6].prod(dim=1))


def floor_iou(
    a: Tensor,  # [N, 7] as in `iou_3d`
    b: Tensor,  # [M, 7]
) -> Tensor:
    """[N, M] in 0..1: overlap as seen from above."""
    i, j = _near(a, b).nonzero(as_tuple=True)
    shared = rectangle_overlap(_floor(a[i]), _floor(b[j]))
    iou = torch.zeros(len(a), len(b), dtype=a.dtype, device=a.device)
    iou[i, j] = _over_union(shared, a[i, 3:5].prod(dim=1), b[j, 3:5].prod(dim=1))
    return iou


def aligned_iou_3d(
    a: Tensor,  # [..., 6] centre, size
    b: Tensor,  # [..., 6], broadcast with `a`
) -> Tensor:
    """[...] in 0..1 of boxes along the axes. Differentiable by both."""
    low = torch.maximum(a[..., :3] - a[..., 3:] / 2, b[..., :3] - b[..., 3:] / 2)
    high = torch.minimum(a[..., :3] + a[..., 3:] / 2, b[..., :3] + b[..., 3:] / 2)
    return _over_union((high - low).clamp_min(0).prod(dim=-1), a[..., 3:].prod(dim=-1), b[..., 3:].prod(dim=-1))


def _near(a: Tensor, b: Tensor) -> Tensor:
    """bool [N, M], true for pairs whose circles on the floor touch."""
    radius_a, radius_b = a[:, 3:5].norm(dim=1) / 2, b[:, 3:5].norm(dim=1) / 2
    return torch.cdist(a[:, :2], b[:, :2]) <= radius_a[:, None] + radius_b[None]


def _floor(boxes: Tensor) -> Tensor:
    return boxes[:, [0, 1, 3, 4, 6]]


def _over_union(shared: Tensor, a: Tensor, b: Tensor) -> Tensor:
    union = a + b - shared
    return torch.where(union > 0, shared / torch.where(union > 0, union, 1.0), 0.0).clamp(0, 1)


def rectangle_overlap(
    a: Tensor,  # [P, 5] x, y, length, width, yaw
    b: Tensor,  # [P, 5]
) -> Tensor:
    """[P] areas of the intersections of pairs of rectangles.

    In the frame of b, where that is the box |x| <= X, |y| <= Y, the area is the integral of clamp(y, -Y, Y) dx along
    the border of a where |x| <= X (Green's theorem). Each edge of a is cut where it crosses +-X and +-Y; between the
    cuts the integrand is linear, so the trapezoid rule is exact. Nothing is decided by a tolerance, and where edges
    coincide or corners touch the result is continuous.
    """
    x_limit, y_limit = b[:, None, 2] / 2, b[:, None, 3] / 2  # [P, 1]
    corners = _corners_in(a, b)
    start, edge = corners, corners.roll(-1, dims=1) - corners
    first, last = _cuts(start[..., 0], edge[..., 0], x_limit, torch.zeros_like(x_limit), torch.ones_like(x_limit))
    cuts = torch.stack([first, *_cuts(start[..., 1], edge[..., 1], y_limit, first, last), last])  # [4, P, 4]
    y = (start[..., 1] + cuts * edge[..., 1]).clamp(-y_limit, y_limit)
    area = ((y[1:] + y[:-1]) / 2 * (cuts[1:] - cuts[:-1]) * edge[..., 0]).sum(dim=(0, 2))
    return area.abs()


def _corners_in(boxes: Tensor, frames: Tensor) -> Tensor:
    """[P, 4, 2] counter-clockwise corners of rectangles, each in the frame of a rectangle of `frames`."""
    signs = boxes.new_tensor([[1, 1], [-1, 1], [-1, -1], [1, -1]])
    local = signs * boxes[:, None, 2:4] / 2
    # Differences first: far from the origin float32 would lose the small ones.
    middle = _turned(boxes[:, None, :2] - frames[:, None, :2], -frames[:, 4:])
    return _turned(local, boxes[:, 4:] - frames[:, 4:]) + middle


def _turned(points: Tensor, angle: Tensor) -> Tensor:
    """[P, K, 2] points turned by angles [P, 1]."""
    cos, sin = angle.cos(), angle.sin()
    return torch.stack(
        [points[..., 0] * cos - points[..., 1] * sin, points[..., 0] * sin + points[..., 1] * cos], dim=-1
    )


def _cuts(start: Tensor, step: Tensor, limit: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Parts [P, 4] of edges, within `low` and `high`, at which start + part * step is -limit and +limit, ascending.

    An edge that does not move along the axis is cut at `low`, which changes nothing: along x it adds no area, and along
    y it is on one side of both limits.
    """
    still = step.abs() < _STILL
    safe = torch.where(still, 1.0, step)
    a, b = (torch.where(still, low, ((side - start) / safe).clamp(low, high)) for side in (-limit, limit))
    return torch.minimum(a, b), torch.maximum(a, b)
