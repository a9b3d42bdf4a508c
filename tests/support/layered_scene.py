"""One picture of flat layers before each other, and features that tell them apart: what relative depth is about."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

CELL = 8
DEPTHS = (2.0, 3.0, 4.5, 8.0)


@dataclass(frozen=True)
class LayeredScene:
    rgb: Tensor  # [H, W, 3]
    inverse: Tensor  # [H, W] true inverse depth
    layer: Tensor  # [H, W] which of them, whole cells
    cell_layer: Tensor  # [N]
    features: Tensor  # [N, 4] one direction for each layer


def layered_scene(rows: int = 8, columns: int = 12) -> LayeredScene:
    """Four vertical stripes of cells; each layer has a colour, a little grain, and a depth of its own."""
    g = torch.Generator().manual_seed(3)
    cells = (torch.arange(columns) * len(DEPTHS) // columns).expand(rows, columns)
    layer = cells.repeat_interleave(CELL, 0).repeat_interleave(CELL, 1)
    colors = torch.tensor([[0.8, 0.2, 0.2], [0.2, 0.7, 0.3], [0.2, 0.3, 0.9], [0.6, 0.6, 0.5]])
    rgb = (colors[layer] + 0.02 * torch.randn(*layer.shape, 3, generator=g)).clamp(0, 1)
    return LayeredScene(
        rgb, 1 / torch.tensor(DEPTHS)[layer], layer, cells.flatten(), torch.eye(len(DEPTHS))[cells.flatten()]
    )
