"""The head: each voxel of three scales tells how central it is, its box, and its class."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .config import SCALES, ImGeoNetConfig
from .volume_networks import conv3

PRIOR = 0.01  # of each class, before training
START_STD = 0.01  # of all weights
MAX_LOG_M = 5.0  # an untrained distance must not overflow


@dataclass(frozen=True)
class ScaleOutput:
    """The answers of N voxels of one scale, in the order of `Grid.points`."""

    centerness: Tensor  # [B, N] logits
    distances: Tensor  # [B, N, 3, 2] metres, see face_distances
    yaws: Tensor  # [B, N] radians, 0 for boxes along the axes
    classes: Tensor  # [B, N, C] logits


class VoxelHead(nn.Module):
    """Three convolutions, the same for all scales, but for a factor of the logarithmic distances."""

    def __init__(self, config: ImGeoNetConfig) -> None:
        super().__init__()
        width = config.head_channels
        self.centerness = conv3(width, 1)
        self.box = conv3(width, 7 if config.yaw else 6)
        self.classes = nn.Conv3d(width, len(config.classes), 3, padding=1)
        self.scales = nn.Parameter(torch.ones(SCALES))
        for conv in (self.centerness, self.box, self.classes):
            nn.init.normal_(conv.weight, std=START_STD)
        assert self.classes.bias is not None
        nn.init.constant_(self.classes.bias, -math.log((1 - PRIOR) / PRIOR))

    def forward(self, levels: list[Tensor]) -> list[ScaleOutput]:
        outputs = []
        for factor, level in zip(self.scales, levels, strict=True):
            middle, box, classes = (
                conv(level).float().flatten(2).transpose(1, 2) for conv in (self.centerness, self.box, self.classes)
            )
            distances = (factor * box[..., :6]).clamp(-MAX_LOG_M, MAX_LOG_M).exp().unflatten(2, (3, 2))
            yaws = box[..., 6] if box.shape[2] == 7 else torch.zeros_like(middle[..., 0])
            outputs.append(ScaleOutput(middle[..., 0], distances, yaws, classes))
        return outputs
