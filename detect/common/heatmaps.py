"""Class heatmaps with a peak for each object, as CornerNet and CenterNet have them: targets, loss, and local maxima."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

MIN_OVERLAP = 0.1  # of a box shifted by the Gaussian's radius with itself
HEATMAP_CLIP = 1e-4  # of probabilities in the loss


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


def gaussian_focal(
    logits: Tensor,
    target: Tensor,  # 1 at peaks, falling to 0 around them
    counts: Tensor | None = None,  # bool, which cells do
) -> Tensor:
    """The heatmap loss of CornerNet (Law and Deng, ECCV 2018, equation 1), over the number of peaks."""
    p = logits.float().sigmoid().clamp(HEATMAP_CLIP, 1 - HEATMAP_CLIP)
    peak = target == 1
    at_peaks = -((1 - p) ** 2) * p.log() * peak
    elsewhere = -(p**2) * (1 - target) ** 4 * (1 - p).log() * ~peak
    loss = at_peaks + elsewhere
    if counts is not None:
        loss, peak = loss * counts, peak & counts
    return loss.sum() / peak.sum().clamp_min(1)


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
