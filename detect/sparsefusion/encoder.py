"""The sparse encoder: voxels to a dense bird's-eye-view map (SECOND's, with residual blocks)."""

from __future__ import annotations

from torch import Tensor, nn

from ..sparse import SparseConv3d, SparseConvTensor, SparseModule, SparseSequential, SubMConv3d
from .config import SparseFusionConfig
from .voxelize import Voxels

POINT_FEATURES = 5  # x, y, z, intensity, seconds before the key sweep


def _norm(channels: int) -> nn.BatchNorm1d:
    return nn.BatchNorm1d(channels, eps=1e-3, momentum=0.01)


class ResidualBlock(SparseModule):
    """Two submanifold convolutions around a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = SubMConv3d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = _norm(channels)
        self.conv2 = SubMConv3d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = _norm(channels)
        self.relu = nn.ReLU()

    def forward(self, x: SparseConvTensor) -> SparseConvTensor:
        if not len(x):
            return x
        y = self.conv1(x)
        y = self.conv2(y.replace_feature(self.relu(self.bn1(y.features))))
        return y.replace_feature(self.relu(self.bn2(y.features) + x.features))


class SparseEncoder(nn.Module):
    """Each stage has two residual blocks, and all but the last end in a convolution that halves the grid.

    z goes 41 - 21 - 11 - 5 - 2 in the paper's grid: one more than its voxels at first, no padding in the last halving,
    and a last convolution along z alone. What is left of z is folded into the channels, channel c of height d being
    2 c + d.
    """

    def __init__(self, config: SparseFusionConfig) -> None:
        super().__init__()
        channels = config.encoder_channels
        nx, ny, nz = config.grid
        self.shape = (nz + 1, ny, nx)
        self.conv_input = SparseSequential(
            SubMConv3d(POINT_FEATURES, channels[0], 3, padding=1, bias=False), _norm(channels[0]), nn.ReLU()
        )
        self.stages = nn.ModuleList()
        for i, width in enumerate(channels):
            layers: list[nn.Module] = [ResidualBlock(width), ResidualBlock(width)]
            if i + 1 < len(channels):
                padding = (0, 1, 1) if i + 2 == len(channels) else (1, 1, 1)
                down = SparseConv3d(width, channels[i + 1], 3, stride=2, padding=padding, bias=False)
                layers.append(SparseSequential(down, _norm(channels[i + 1]), nn.ReLU()))
            self.stages.append(SparseSequential(*layers))
        last = SparseConv3d(channels[-1], channels[-1], (3, 1, 1), stride=(2, 1, 1), bias=False)
        self.conv_out = SparseSequential(last, _norm(channels[-1]), nn.ReLU())

    def forward(self, voxels: Voxels, batch_size: int) -> Tensor:
        """[B, channels * depth, H, W]"""
        x = self.conv_input(SparseConvTensor(voxels.features, voxels.indices, self.shape, batch_size))
        for stage in self.stages:
            x = stage(x)
        return self.conv_out(x).dense().flatten(1, 2)

    @property
    def depths(self) -> list[int]:
        """Cells along z before each stage's convolution and at the end: 41, 21, 11, 5, 2 in the paper's grid."""
        depths = [self.shape[0]]
        for i in range(len(self.stages) - 1):
            padding = 0 if i + 2 == len(self.stages) else 1
            depths.append((depths[-1] + 2 * padding - 3) // 2 + 1)
        return [*depths, (depths[-1] - 3) // 2 + 1]

    @property
    def out_channels(self) -> int:
        return self.conv_out[0].out_channels * self.depths[-1]  # type: ignore[operator, return-value]
