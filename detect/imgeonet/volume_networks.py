"""Residual networks over voxels: three scales down and up again, the occupancy network, and the neck."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import SCALES


def conv3(before: int, after: int, stride: int = 1) -> nn.Conv3d:
    return nn.Conv3d(before, after, 3, stride, padding=1, bias=False)


def normalised(conv: nn.Module, channels: int) -> nn.Sequential:
    return nn.Sequential(conv, nn.BatchNorm3d(channels), nn.ReLU(inplace=True))


class VolumeBlock(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = normalised(conv3(before, after, stride), after)
        self.second = nn.Sequential(conv3(after, after), nn.BatchNorm3d(after))
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1:
            self.shortcut = nn.Sequential(nn.Conv3d(before, after, 1, stride, bias=False), nn.BatchNorm3d(after))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(self.first(x)) + self.shortcut(x))


class ThreeScales(nn.Module):
    """Features of one to three scales, the finest first, of `outputs` channels each.

    Each coarser scale has twice the channels. What comes up is added to what went down.
    """

    def __init__(self, channels: int, outputs: int, scales_out: int) -> None:
        super().__init__()
        widths = [channels * 2**scale for scale in range(SCALES)]
        self.down = nn.ModuleList(
            VolumeBlock(widths[max(scale - 1, 0)], width, 2 if scale else 1) for scale, width in enumerate(widths)
        )
        self.up = nn.ModuleList(_up(widths[scale + 1], widths[scale]) for scale in range(SCALES - 1))
        # The release has outputs at all scales of the occupancy network, too, and uses the finest alone.
        self.out = nn.ModuleList(normalised(conv3(width, outputs), outputs) for width in widths[:scales_out])

    def forward(self, x: Tensor) -> list[Tensor]:
        levels = []
        for block in self.down:
            x = block(x)
            levels.append(x)
        for scale in reversed(range(SCALES - 1)):
            levels[scale] = levels[scale] + self.up[scale](levels[scale + 1])
        return [out(level) for out, level in zip(self.out, levels, strict=False)]


def _up(before: int, after: int) -> nn.Sequential:
    grown = normalised(nn.ConvTranspose3d(before, after, 2, stride=2, bias=False), after)
    return nn.Sequential(grown, normalised(conv3(after, after), after))


class OccupancyNet(nn.Module):
    """The logit of each voxel's being on a surface, from mean and variance over the views (section 3.2 of the paper).

    A surface looks alike from all sides, so that its features vary little.
    """

    def __init__(self, features: int, channels: int, outputs: int) -> None:
        super().__init__()
        self.before = nn.Sequential(nn.Conv3d(2 * features, channels, 3, padding=1), nn.LeakyReLU(0.01, inplace=True))
        self.net = ThreeScales(channels, outputs, scales_out=1)
        self.after = conv3(outputs, 1)

    def forward(
        self,
        mean: Tensor,  # [B, C, nx, ny, nz]
        variance: Tensor,  # [B, C, nx, ny, nz]
        seen: Tensor,  # bool [B, nx, ny, nz]
    ) -> Tensor:
        """[B, nx, ny, nz] logits, 0 where no view sees the voxel, as in the released code; features are 0 there."""
        x = self.before(torch.cat([mean, variance], dim=1))
        logits: Tensor = self.after(self.net(x)[0])[:, 0]
        return logits * seen
