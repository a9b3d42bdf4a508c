"""`DeformationNetwork`: where a canonical point is at a moment, and how it is turned (Deformable 3DGS, SC-GS)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...scene.control_points import RESIDUALS
from .moving_config import MovingConfig

SHIFTS, TURNS = "shifts", "turns"  # of control points; the residuals have the names of `ControlPointMotion`
# Channels of each output, and the standard deviation of its first weights: nothing moves when training begins.
HEADS = {SHIFTS: (3, 1e-5), TURNS: (4, 1e-4)}
HEADS |= {name: (channels, 1e-8 if name == "scale_residuals" else 1e-5) for name, channels in RESIDUALS.items()}
TIME_FEATURES, TIME_WIDTH = 30, 256  # of the small network for the time of synthetic captures


class DeformationNetwork(nn.Module):
    """A multilayer perceptron over encoded places and moments, its input fed in again half way."""

    def __init__(
        self,
        heads: Sequence[str],  # names in HEADS
        *,
        depth: int,
        width: int,
        position_bands: int,
        time_bands: int,
        time_network: bool,  # whether moments go through a network of their own, as for exact synthetic captures
    ) -> None:
        super().__init__()
        self.position_bands, self.time_bands = position_bands, time_bands
        time_size = 1 + 2 * time_bands
        self.time = None
        if time_network:
            self.time = nn.Sequential(nn.Linear(time_size, TIME_WIDTH), nn.ReLU(), nn.Linear(TIME_WIDTH, TIME_FEATURES))
            time_size = TIME_FEATURES
        size = 3 * (1 + 2 * position_bands) + time_size
        self.again = depth // 2  # the layer after which the input comes once more
        widths = [size] + [width + (size if layer == self.again else 0) for layer in range(depth - 1)]
        self.trunk = nn.ModuleList(nn.Linear(before, width) for before in widths)
        for layer in self.trunk:
            assert isinstance(layer, nn.Linear)
            nn.init.kaiming_uniform_(layer.weight, mode="fan_in", nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        self.heads = nn.ModuleDict({name: nn.Linear(width, HEADS[name][0]) for name in heads})
        for name, head in self.heads.items():
            assert isinstance(head, nn.Linear)
            nn.init.normal_(head.weight, std=HEADS[name][1])
            nn.init.zeros_(head.bias)

    def forward(self, points: Tensor, times: Tensor) -> dict[str, Tensor]:
        """By head [T, M, C], of points [M, 3] within about 1.3 of the origin and moments [T] in [0, 1]."""
        shape = len(times), len(points)
        moments = frequencies(times[:, None], self.time_bands)
        if self.time is not None:
            moments = self.time(moments)
        places = frequencies(points, self.position_bands)
        given = torch.cat([places.expand(*shape, -1), moments[:, None].expand(*shape, -1)], dim=-1)
        x = given
        for layer, linear in enumerate(self.trunk):
            x = torch.relu(linear(x))
            if layer == self.again and layer + 1 < len(self.trunk):
                x = torch.cat([given, x], dim=-1)
        return {name: head(x) for name, head in self.heads.items()}


def deformation_network(heads: Sequence[str], config: MovingConfig) -> DeformationNetwork:
    """The network of a config, whose first weights its seed decides."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return DeformationNetwork(
            heads,
            depth=config.net_depth,
            width=config.net_width,
            position_bands=config.position_bands,
            time_bands=config.time_bands,
            time_network=config.time_network,
        )


def frequencies(values: Tensor, bands: int) -> Tensor:
    """[..., C] -> [..., C (1 + 2 bands)]: the values, and their sines and cosines at 1, 2, 4, ... times (NeRF)."""
    scaled = values[..., None, :] * (2.0 ** torch.arange(bands, device=values.device))[:, None]
    return torch.cat([values, torch.stack([scaled.sin(), scaled.cos()], dim=-2).flatten(-3)], dim=-1)
