"""The network that moves nodes: features of six planes over space and time, and a small head for each output.

Source: HexPlane (Cao and Johnson 2023) in the sizes of 4D Gaussian Splatting (Wu et al. 2024), as DreamMesh4D has it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ....scene.filled import filled

AXES = tuple(itertools.combinations(range(4), 2))  # x y, x z, x t, y z, y t, z t
TIME = 3
HEADS = {"translations": 3, "strains": 6, "turns": 4, "shares": 1}
SPATIAL_START = (0.1, 0.5)  # of the uniform distribution of planes over space; those over time start at 1


class HexPlane(nn.Module):
    """Products over six planes of bilinear features, for each of several resolutions."""

    def __init__(self, channels: int, resolution: int, time_resolution: int, scales: Sequence[int]) -> None:
        super().__init__()
        self.scales = len(scales)
        self.planes = nn.ParameterList()
        for scale, (a, b) in itertools.product(scales, AXES):
            sizes = [time_resolution if axis == TIME else scale * resolution for axis in (b, a)]
            plane = torch.ones(1, channels, *sizes)
            self.planes.append(nn.Parameter(plane if b == TIME else plane.uniform_(*SPATIAL_START)))

    @torch.no_grad()
    def hold(self, first: float, last: float) -> None:
        """Let features before and after two moments, within -1 and 1, be those at these."""
        for i, (_, b) in enumerate(AXES * self.scales):
            if b == TIME:
                rows = self.planes[i].shape[2]
                low, high = (0.5 * (moment + 1) * (rows - 1) for moment in (first, last))
                begin, end = max(0, math.floor(low)), min(rows - 1, math.ceil(high))
                self.planes[i][:, :, :begin] = self.planes[i][:, :, begin : begin + 1].clone()
                self.planes[i][:, :, end + 1 :] = self.planes[i][:, :, end : end + 1].clone()

    def forward(self, places: Tensor, moments: Tensor) -> Tensor:
        """[T, M, C * scales] at places [M, 3] and moments [T], all within -1 and 1; beyond, the border goes on."""
        T, M = len(moments), len(places)
        found = []
        for level in range(self.scales):
            product = places.new_ones(())
            for (a, b), plane in zip(AXES, self.planes[6 * level : 6 * level + 6], strict=True):
                across = places[:, a].expand(T, M)
                down = moments[:, None].expand(T, M) if b == TIME else places[:, b].expand(T, M)
                rows = slice(0, T if b == TIME else 1)  # of all moments alike where the plane knows no time
                grid = torch.stack([across[rows], down[rows]], dim=-1)[None]
                product = product * F.grid_sample(plane, grid, padding_mode="border", align_corners=True)[0]
            found.append(product.expand(-1, T, -1))
        return torch.cat(found).permute(1, 2, 0)


class _Head(nn.Module):
    """A residual block and a last layer that starts at zero."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.block, self.last = nn.Linear(width, width), nn.Linear(width, outputs)
        nn.init.xavier_uniform_(self.block.weight)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor) -> Tensor:
        moved: Tensor = self.last(x + self.block(torch.relu(x)))
        return moved


class NodeNetwork(nn.Module):
    """A motion of each node at each moment; at the start none moves."""

    def __init__(self, channels: int, resolution: int, time_resolution: int, scales: Sequence[int], width: int) -> None:
        super().__init__()
        self.planes = HexPlane(channels, resolution, time_resolution, scales)
        self.trunk = nn.Linear(channels * len(scales), width)
        nn.init.xavier_uniform_(self.trunk.weight)
        self.heads = nn.ModuleDict({name: _Head(width, outputs) for name, outputs in HEADS.items()})

    def forward(self, places: Tensor, moments: Tensor) -> dict[str, Tensor]:
        """By output [T, M, C]: translations, strains, unit quaternions wxyz, and shares of linear blending in (0, 1).

        Places [M, 3] and moments [T] lie within -1 and 1; translations are in the unit of the places.
        """
        features = self.trunk(self.planes(places, moments))
        said = {name: head(features) for name, head in self.heads.items()}
        still = filled((1.0, 0.0, 0.0, 0.0), features.device)
        said["turns"] = F.normalize(still + said["turns"], dim=-1)
        said["shares"] = said["shares"][..., 0].sigmoid()
        return said
