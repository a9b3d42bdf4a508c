"""Geometric transfer: LiDAR depths go into the image features."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from .config import SparseFusionConfig
from .driving_batch import Views

DEPTH_MEAN_M, DEPTH_VARIANCE_M2 = 14.41, 156.89  # of nuScenes, as the released model has them
DEPTH_STRIDE = 4
MIN_DEPTH_M = 1e-4
BORDER_PX = 1.0  # of the images in which no depth counts, as in the released code
LEVELS = 4


@torch.no_grad()
def sparse_depth(points: list[Tensor], views: Views) -> Tensor:
    """[B, V, 2, H / 4, W / 4]: depth of the nearest point, normalised, and 1 where there is one; else both 0.

    Only points of the key sweep: the others may be of things that have moved since.
    """
    height, width = views.height_px // DEPTH_STRIDE, views.width_px // DEPTH_STRIDE
    maps = []
    for b, all_points in enumerate(points):
        pixels, depths, inside = views.project(b, all_points[all_points[:, 4] == 0, :3], MIN_DEPTH_M, BORDER_PX)
        view, row = inside.nonzero(as_tuple=True)
        cell = (pixels[view, row] / DEPTH_STRIDE).floor().long()
        flat = (view * height + cell[:, 1]) * width + cell[:, 0]
        nearest = depths.new_full((len(pixels) * height * width,), math.inf)
        maps.append(nearest.scatter_reduce(0, flat, depths[view, row], "amin").view(-1, height, width))
    depth = torch.stack(maps)
    there = depth.isfinite()
    normalised = (depth - DEPTH_MEAN_M) / math.sqrt(DEPTH_VARIANCE_M2)
    return torch.stack([torch.where(there, normalised, torch.zeros_like(depth)), there.to(depth.dtype)], dim=2)


class GeometricTransfer(nn.Module):
    """A small ResNet over the depth map that takes in the image features of each level as it comes to it."""

    def __init__(self, config: SparseFusionConfig) -> None:
        super().__init__()
        d = config.hidden_channels
        self.conv_depth = nn.Sequential(nn.Conv2d(2, d, 3, padding=1), nn.BatchNorm2d(d), nn.ReLU())
        self.layers = nn.ModuleList()
        self.fuse_layers = nn.ModuleList()
        for level in range(LEVELS):
            stride = 1 if level == 0 else 2
            shortcut = nn.Sequential(nn.Conv2d(d, d, 1, stride=stride), nn.BatchNorm2d(d)) if level else None
            self.layers.append(nn.Sequential(BasicBlock(d, d, stride=stride, downsample=shortcut)))
            self.fuse_layers.append(nn.Conv2d(d + config.neck_channels, d, 3, padding=1))

    def forward(
        self,
        depth: Tensor,  # [N, 2, H / 4, W / 4]
        levels: list[Tensor],  # [N, neck channels, h, w] each
    ) -> list[Tensor]:
        """[N, d, h, w] for each level"""
        x, outputs = self.conv_depth(depth), []
        for layer, fuse, image in zip(self.layers, self.fuse_layers, levels, strict=True):
            x = fuse(torch.cat([layer(x), image], dim=1))
            outputs.append(x)
        return outputs


class NoTransfer(nn.Module):
    """In its place without geometric transfer: one convolution, the same for all levels."""

    def __init__(self, config: SparseFusionConfig) -> None:
        super().__init__()
        self.shared_conv_img = nn.Conv2d(config.neck_channels, config.hidden_channels, 3, padding=1)

    def forward(self, depth: Tensor | None, levels: list[Tensor]) -> list[Tensor]:
        return [self.shared_conv_img(x) for x in levels]
