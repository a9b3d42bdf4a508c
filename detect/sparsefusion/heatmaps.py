"""Class heatmaps: their targets, and the choice of queries from them."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ..nuscenes.sample import CLASS_NAMES
from .batch import Targets, Views
from .coder import cells_from_metres
from .config import SparseFusionConfig

MIN_OVERLAP = 0.1  # of a box shifted by the Gaussian's radius with itself
MIN_RADIUS = 2  # cells
SMALL_CLASSES = tuple(CLASS_NAMES.index(name) for name in ("pedestrian", "traffic_cone"))
IMAGE_STRIDES = (4, 8, 16, 32)
LEVEL_LIMITS_PX = (48, 96, 192)  # longer sides from which the next coarser level is responsible


def local_maxima(
    scores: Tensor,  # [..., C, H, W] in 0..1
    exempt: tuple[int, ...] = (),
) -> Tensor:
    """The scores where they are the largest of their 3 x 3 neighbourhood, else 0; the border of one cell is all 0.

    Classes that are `exempt` stay whole: their objects stand closer together than the window is wide.
    """
    inner = F.max_pool2d(scores.flatten(0, -4), 3, stride=1)
    highest = F.pad(inner, (1, 1, 1, 1), value=-1.0).view_as(scores)
    kept = torch.where(scores == highest, scores, torch.zeros_like(scores))
    if exempt:
        index = list(exempt)
        kept[..., index, :, :] = scores[..., index, :, :]
    return kept


def top_queries(
    scores: Tensor,  # [B, C, L]
    count: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """(class [B, count], location [B, count], score [B, count]) of the highest over classes and locations."""
    values, flat = scores.flatten(1).topk(count, dim=1)
    return flat // scores.shape[-1], flat % scores.shape[-1], values


def bev_target(targets: Targets, config: SparseFusionConfig) -> Tensor:
    """[10, H, W] with a Gaussian of height 1 in the cell of each box's centre (CenterNet)."""
    nx, ny = config.bev_size
    heat = torch.zeros(len(CLASS_NAMES), ny, nx)
    boxes = targets.boxes
    centers = cells_from_metres(boxes.centers[:, :2], config).floor().long().tolist()
    sizes = (boxes.sizes[:, :2] / boxes.sizes.new_tensor(config.cell_m)).tolist()
    for (x, y), (length, width), label in zip(centers, sizes, boxes.labels.tolist(), strict=True):
        draw_gaussian(heat[label], x, y, max(MIN_RADIUS, int(gaussian_radius(length, width))))
    return heat.to(boxes.centers.device)


def image_targets(targets: Targets, views: Views, n_views: int) -> list[Tensor]:
    """One [V, 10, h, w] for each stride, with a Gaussian at the projected 3D centre on the level for the box's size."""
    heats = [torch.zeros(n_views, len(CLASS_NAMES), views.height_px // s, views.width_px // s) for s in IMAGE_STRIDES]
    seen = targets.sightings
    centers = (seen.codes[:, :2] * seen.codes.new_tensor([views.width_px, views.height_px])).tolist()
    columns = seen.views.tolist(), seen.labels.tolist(), seen.sizes_px.tolist()
    for (u, v), view, label, (width, height) in zip(centers, *columns, strict=True):
        level = sum(max(width, height) >= limit for limit in LEVEL_LIMITS_PX)
        stride = IMAGE_STRIDES[level]
        # The released code takes the radius at the finest level and divides it, so it can be 0 at the coarsest.
        finest = max(float(MIN_RADIUS), gaussian_radius(width / IMAGE_STRIDES[0], height / IMAGE_STRIDES[0]))
        draw_gaussian(heats[level][view, label], int(u // stride), int(v // stride), int(finest / 2**level))
    return [heat.to(seen.codes.device) for heat in heats]


def gaussian_radius(length: float, width: float) -> float:
    """Cells by which a box may be off and still overlap by MIN_OVERLAP, with the original's slip (/ 2, not / 2a)."""
    o, total, area = MIN_OVERLAP, length + width, length * width
    equations = (
        (1.0, total, area * (1 - o) / (1 + o)),
        (4.0, 2 * total, (1 - o) * area),
        (4 * o, -2 * o * total, (o - 1) * area),
    )
    return min((b + math.sqrt(b * b - 4 * a * c)) / 2 for a, b, c in equations)


def draw_gaussian(heat: Tensor, x: int, y: int, radius: int) -> None:
    """Raise `heat` [H, W] in place to a Gaussian of height 1 at cell (x, y), sigma (2 radius + 1) / 6."""
    height, width = heat.shape
    if not (0 <= x < width and 0 <= y < height):
        return
    left, right = min(x, radius), min(width - x, radius + 1)
    above, below = min(y, radius), min(height - y, radius + 1)
    sigma = (2 * radius + 1) / 6
    dx, dy = torch.arange(-left, right), torch.arange(-above, below)
    bump = (-(dx**2 + dy[:, None] ** 2) / (2 * sigma**2)).exp()
    window = heat[y - above : y + below, x - left : x + right]
    torch.maximum(window, bump, out=window)
