"""Prediction heads: a query to a class and to the ten numbers of a box."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..tasks.driving_task import CLASS_NAMES
from .layers import TokenBatchNorm, logit

BOX_PARTS = {"center": 2, "height": 1, "dim": 3, "rot": 2, "vel": 2}  # in the order of a LiDAR code
IMAGE_PARTS = {"center": 2, "depth": 1, "dim": 3, "rot": 2, "vel": 2}  # in the order of a camera code


@dataclass(frozen=True)
class Prediction:
    """The answer of one stage about its queries."""

    codes: Tensor  # [B, N, 10], see coder
    logits: Tensor  # [B, N, 10]

    def __getitem__(self, sample: int) -> tuple[Tensor, Tensor]:
        return self.codes[sample], self.logits[sample]


class BoxHeads(nn.ModuleDict):
    """Of the LiDAR, view and fusion stages; the centre is an offset from the query's position."""

    def __init__(self, channels: int, hidden: int) -> None:
        def head(outputs: int) -> nn.Sequential:
            first = nn.Linear(channels, hidden, bias=False)
            return nn.Sequential(first, TokenBatchNorm(hidden), nn.ReLU(), nn.Linear(hidden, outputs))

        parts = {**BOX_PARTS, "heatmap": len(CLASS_NAMES)}
        super().__init__({name: head(outputs) for name, outputs in parts.items()})

    def forward(
        self,
        queries: Tensor,  # [B, N, C]
        positions: Tensor,  # [B, N, 2] BEV cells
    ) -> Prediction:
        codes = torch.cat([self[name](queries) for name in BOX_PARTS], dim=-1)
        codes = torch.cat([codes[..., :2] + positions, codes[..., 2:]], dim=-1)
        return Prediction(codes.float(), self["heatmap"](queries).float())


class ImageHeads(nn.ModuleDict):
    """Of the image stage; u, v are sigmoids about the query's position, the depth is in metres as it comes out."""

    def __init__(self, channels: int, hidden: int) -> None:
        def head(outputs: int) -> nn.Sequential:
            layers = [nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()]
            return nn.Sequential(*layers, nn.Linear(hidden, outputs))

        classes = [nn.Linear(channels, hidden, bias=False), nn.LayerNorm(hidden), nn.ReLU()]
        parts: dict[str, nn.Module] = {name: head(outputs) for name, outputs in IMAGE_PARTS.items()}
        super().__init__({**parts, "cls": nn.Sequential(*classes, nn.Linear(hidden, len(CLASS_NAMES)))})

    def forward(
        self,
        queries: Tensor,  # [B, N, C]
        positions: Tensor,  # [B, N, 2] logits of u, v in 0..1
    ) -> tuple[Prediction, Tensor]:
        """The prediction, and the new positions [B, N, 2] as logits."""
        codes = torch.cat([self[name](queries) for name in IMAGE_PARTS], dim=-1).float()
        moved = codes[..., :2] + positions
        codes = torch.cat([moved.sigmoid(), codes[..., 2:]], dim=-1)
        return Prediction(codes, self["cls"](queries).float()), moved


def normalised_positions(cells: Tensor, width: int, height: int) -> Tensor:
    """Logits of positions [..., 2] in cells of a map over its size."""
    return logit(cells / cells.new_tensor([width, height]))
