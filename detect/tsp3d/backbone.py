"""The sparse residual backbone: MinkowskiEngine's strides, without bounds, axes x, y, z."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..sparse import SparseConvTensor, generative_conv, max_pool, strided_conv, submanifold_conv, transposed_conv_onto
from ..sparse.coordinates import CoordinateSet
from .config import TSP3DConfig


class VoxelNorm(nn.BatchNorm1d):
    """Batch normalisation over all voxels of all scenes; a single voxel, of which there are no statistics, uses the
    running ones."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and len(x) < 2:
            mean, variance = self.running_mean, self.running_var
            return nn.functional.batch_norm(x, mean, variance, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x)


class VoxelConv(nn.Module):
    """Convolution without bias, weight [Cout, k, k, k, Cin]: onto the same voxels, or by strides onto floor(c / s) s.

    Started as MinkowskiEngine does, in U(-b, b) with b = 1 / sqrt(inputs under the kernel).
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        bound = 1 / math.sqrt(in_channels * kernel**3)
        self.weight = nn.Parameter(
            torch.empty(out_channels, kernel, kernel, kernel, in_channels).uniform_(-bound, bound)
        )

    def forward(self, x: SparseConvTensor) -> SparseConvTensor:
        if self.stride == 1:
            return submanifold_conv(x, self.weight)
        return strided_conv(x, self.weight, stride=self.stride, rule="minkowski")


class GrowingConv(VoxelConv):
    """Generative transposed convolution: every voxel gives to the 27 around it at the half tensor stride."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, 2)

    def forward(self, x: SparseConvTensor, onto: CoordinateSet | None = None) -> SparseConvTensor:
        """The voxels under the kernel, or only those of the set `onto`."""
        if onto is not None:
            return transposed_conv_onto(x, self.weight, None, onto)
        return generative_conv(x, self.weight, stride=2)


class ConvNorm(nn.Module):
    """A convolution, its norm, and ReLU unless an addition comes first."""

    def __init__(self, conv: VoxelConv, relu: bool = True) -> None:
        super().__init__()
        self.conv, self.norm, self.relu = conv, VoxelNorm(conv.weight.shape[0]), relu

    def forward(self, x: SparseConvTensor, onto: CoordinateSet | None = None) -> SparseConvTensor:
        x = self.conv(x) if onto is None else self.conv(x, onto)
        features = self.norm(x.features)
        return x.replace_feature(features.relu() if self.relu else features)


class BasicBlock(nn.Module):
    """Two convolutions of size 3 beside a shortcut, which is a convolution where stride or width changes."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.first = ConvNorm(VoxelConv(in_channels, channels, 3, stride))
        self.second = ConvNorm(VoxelConv(channels, channels, 3), relu=False)
        changes = stride != 1 or in_channels != channels
        self.shortcut = ConvNorm(VoxelConv(in_channels, channels, 1, stride), relu=False) if changes else None

    def forward(self, x: SparseConvTensor) -> SparseConvTensor:
        beside = x if self.shortcut is None else self.shortcut(x)
        out = self.second(self.first(x))
        return out.replace_feature((out.features + beside.features).relu())


class Backbone(nn.Module):
    """Stem and four stages, each of which halves the resolution."""

    def __init__(self, config: TSP3DConfig) -> None:
        super().__init__()
        self.pools = config.stem_strides == 4
        self.stem = ConvNorm(VoxelConv(6, config.stem_channels, 3, 2 if self.pools else 1))
        self.stages = nn.ModuleList()
        width = config.stem_channels
        for count, channels in zip(config.blocks, config.stage_channels, strict=True):
            blocks = [BasicBlock(width if i == 0 else channels, channels, 2 if i == 0 else 1) for i in range(count)]
            self.stages.append(nn.Sequential(*blocks))
            width = channels

    def forward(self, x: SparseConvTensor) -> list[SparseConvTensor]:
        """The outputs of the last three stages, finest first (tensor strides 16, 32, 64 of the released model)."""
        x = self.stem(x)
        if self.pools:
            x = max_pool(x, 2, 2, rule="minkowski")
        levels = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        return levels[1:]
