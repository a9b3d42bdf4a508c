"""The bird's-eye-view backbone and neck (SECOND's): two resolutions, brought together at the finer one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .config import SparseFusionConfig
from .layers import conv_norm


class BevBackbone(nn.Module):
    """Block A keeps the resolution, block B halves it."""

    def __init__(self, inputs: int, config: SparseFusionConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        for channels, stride in zip(config.bev_channels, (1, 2), strict=True):
            layers = [*conv_norm(inputs, channels, stride)]
            for _ in range(config.bev_layers):
                layers += conv_norm(channels, channels)
            self.blocks.append(nn.Sequential(*layers))
            inputs = channels

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.blocks[0](x)
        return fine, self.blocks[1](fine)


class BevNeck(nn.Module):
    """Both blocks' maps to one of twice `bev_neck_channels` channels."""

    def __init__(self, config: SparseFusionConfig) -> None:
        super().__init__()
        out = config.bev_neck_channels
        up = nn.ConvTranspose2d(config.bev_channels[1], out, 2, stride=2, bias=False)
        norm = nn.BatchNorm2d(out, eps=1e-3, momentum=0.01)
        self.deblocks = nn.ModuleList(
            [
                nn.Sequential(*conv_norm(config.bev_channels[0], out, kernel=1)),
                nn.Sequential(up, norm, nn.ReLU(inplace=True)),
            ]
        )

    def forward(self, maps: tuple[Tensor, Tensor]) -> Tensor:
        """[B, 2 * bev_neck_channels, H, W]"""
        up = self.deblocks[1](maps[1])
        fine = self.deblocks[0](maps[0])
        return torch.cat([fine, up[..., : fine.shape[2], : fine.shape[3]]], dim=1)  # an odd side was rounded up
