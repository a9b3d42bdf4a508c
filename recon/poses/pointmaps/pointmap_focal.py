"""The focal length that a pointmap in its own camera's frame implies."""

from __future__ import annotations

import torch
from torch import Tensor

REWEIGHTINGS = 10
MIN_RESIDUAL_PX = 1e-8


def focal_of_pointmap(
    points: Tensor,  # [H, W, 3] in the frame of the view's own camera
) -> float:
    """Focal length in pixels, principal point at the centre: the least sum of pixel distances (Weiszfeld).

    Starts from the closed form for squared distances; pixels with z <= 0 do not count. With no pixel left the longer
    side is returned, a field of view of 53 degrees.
    """
    height, width = points.shape[:2]
    x = torch.arange(width, dtype=torch.float64) + 0.5 - width / 2
    y = torch.arange(height, dtype=torch.float64) + 0.5 - height / 2
    pixels = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).reshape(-1, 2)
    flat = points.reshape(-1, 3).double()
    in_front = flat[:, 2] > 0
    pixels, slopes = pixels[in_front], flat[in_front, :2] / flat[in_front, 2:]
    product, square = (pixels * slopes).sum(1), slopes.square().sum(1)
    if not float(product.sum()) > 0:
        return float(max(width, height))
    focal = product.sum() / square.sum()
    for _ in range(REWEIGHTINGS):
        weights = 1 / (pixels - focal * slopes).norm(dim=1).clamp_min(MIN_RESIDUAL_PX)
        focal = (weights * product).sum() / (weights * square).sum()
    return float(focal)
