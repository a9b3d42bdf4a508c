"""Volume overlap of upright boxes that are turned about their vertical axis."""

from __future__ import annotations

import torch
from torch import Tensor


def iou_3d(
    a: Tensor,  # [N, 7]
    b: Tensor,  # [M, 7]
) -> Tensor:
    """[N, M] in 0..1. Rows are x, y of the floor plane, height of the centre, length, width, height, yaw from x to y.

    Pairs whose circles on the floor or whose heights do not touch are left at 0; all others are done at once.
    """
    radius_a, radius_b = a[:, 3:5].norm(dim=1) / 2, b[:, 3:5].norm(dim=1) / 2
    low = torch.maximum((a[:, 2] - a[:, 5] / 2)[:, None], (b[:, 2] - b[:, 5] / 2)[None])
    high = torch.minimum((a[:, 2] + a[:, 5] / 2)[:, None], (b[:, 2] + b[:, 5] / 2)[None])
    near = (torch.cdist(a[:, :2], b[:, :2]) < radius_a[:, None] + radius_b[None]) & (high > low)
    i, j = near.nonzero(as_tuple=True)
    shared = rectangle_overlap(a[i][:, [0, 1, 3, 4, 6]], b[j][:, [0, 1, 3, 4, 6]]) * (high - low)[i, j]
    volumes = a[i, 3:6].prod(dim=1) + b[j, 3:6].prod(dim=1) - shared
    iou = torch.zeros(len(a), len(b), dtype=a.dtype, device=a.device)
    iou[i, j] = (shared / volumes.clamp_min(1e-9)).clamp(0, 1)
    return iou


def rectangle_overlap(
    a: Tensor,  # [P, 5] x, y, length, width, yaw
    b: Tensor,  # [P, 5]
) -> Tensor:
    """[P] areas of the intersections of pairs of rectangles.

    The intersection is convex. Its vertices are corners of one inside of the other, and crossings of edges: at most 24
    candidates, sorted by their angle about their mean, then the shoelace formula.
    """
    # In the frame of the mean of both centres: far from the origin float32 would lose the small differences.
    middle = (a[:, :2] + b[:, :2]) / 2
    corners_a, corners_b = _corners(a, middle), _corners(b, middle)
    crossings, crosses = _crossings(corners_a, corners_b)
    points = torch.cat([corners_a, corners_b, crossings], dim=1)  # [P, 24, 2]
    kept = torch.cat([_inside(corners_a, b, middle), _inside(corners_b, a, middle), crosses], dim=1)
    count = kept.sum(dim=1)
    mean = (points * kept[..., None]).sum(dim=1) / count.clamp_min(1)[:, None]
    offset = points - mean[:, None]
    angle = torch.atan2(offset[..., 1], offset[..., 0]).masked_fill(~kept, torch.inf)
    order = angle.argsort(dim=1)
    ring = offset.gather(1, order[..., None].expand_as(offset))
    # What is not kept comes last; put the first vertex in its place, which adds no area.
    last = torch.arange(24, device=a.device) >= count[:, None]
    ring = torch.where(last[..., None], ring[:, :1], ring)
    after = ring.roll(-1, dims=1)
    area = (ring[..., 0] * after[..., 1] - ring[..., 1] * after[..., 0]).sum(dim=1).abs() / 2
    return torch.where(count > 2, area, torch.zeros_like(area))


def _corners(boxes: Tensor, origin: Tensor) -> Tensor:
    """[P, 4, 2] counter-clockwise."""
    signs = boxes.new_tensor([[1, 1], [-1, 1], [-1, -1], [1, -1]])
    local = signs * boxes[:, None, 2:4] / 2
    cos, sin = boxes[:, 4:].cos(), boxes[:, 4:].sin()
    x = local[..., 0] * cos - local[..., 1] * sin
    y = local[..., 0] * sin + local[..., 1] * cos
    return torch.stack([x, y], dim=-1) + (boxes[:, :2] - origin)[:, None]


def _inside(points: Tensor, boxes: Tensor, origin: Tensor) -> Tensor:
    """bool [P, 4]: which points lie in or on their rectangle. The slack keeps shared corners, and adds no area."""
    offset = points - (boxes[:, :2] - origin)[:, None]
    cos, sin = boxes[:, 4:].cos(), boxes[:, 4:].sin()
    along = offset[..., 0] * cos + offset[..., 1] * sin
    across = offset[..., 1] * cos - offset[..., 0] * sin
    half = boxes[:, None, 2:4] / 2 + 1e-5 * boxes[:, None, 2:4].amax(dim=-1, keepdim=True)
    return (along.abs() <= half[..., 0]) & (across.abs() <= half[..., 1])


def _crossings(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """(points [P, 16, 2], bool [P, 16]) where edges of one rectangle cross edges of the other."""
    start_a, start_b = a[:, :, None], b[:, None]
    edge_a = (a.roll(-1, dims=1) - a)[:, :, None]
    edge_b = (b.roll(-1, dims=1) - b)[:, None]
    gap = start_b - start_a
    across = _cross(edge_a, edge_b)
    parallel = across.abs() < 1e-9
    across = across.masked_fill(parallel, 1)
    t, s = _cross(gap, edge_b) / across, _cross(gap, edge_a) / across
    meets = ~parallel & (t >= 0) & (t <= 1) & (s >= 0) & (s <= 1)
    points = start_a + t[..., None] * edge_a
    return points.flatten(1, 2), meets.flatten(1, 2)


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
