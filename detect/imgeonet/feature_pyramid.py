"""Photographs to maps of features with stride 4: a backbone, and of a feature pyramid the finest level alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...learn.efficientnet_lite0 import EfficientNetLite0
from ..common.resnets import Light, ResNet50
from .config import ImGeoNetConfig

MEAN_RGB = (123.675, 116.28, 103.53)  # ImageNet's
STD_RGB = (58.395, 57.12, 57.375)
STRIDE = 4  # pixels along the side of a cell


class FeaturePyramid(nn.Module):
    """The finest level of Lin et al. (CVPR 2017): coarser maps are enlarged and added, then one convolution smooths.

    Release and paper compute all four levels and use this one.
    """

    def __init__(self, config: ImGeoNetConfig) -> None:
        super().__init__()
        self.backbone, self.first_px = _backbone(config)
        self.frozen = config.image_frozen
        if config.image_frozen == "all":
            self.backbone.requires_grad_(False)
        width = config.feature_channels
        self.sideways = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in self.backbone.channels)
        self.smooth = nn.Conv2d(width, width, 3, padding=1)
        for conv in (*self.sideways, self.smooth):
            nn.init.kaiming_uniform_(conv.weight, a=1)
            nn.init.zeros_(conv.bias)

    def train(self, mode: bool = True) -> FeaturePyramid:
        """A backbone that is frozen keeps the statistics of its batch norms."""
        super().train(mode)
        if self.frozen == "all":
            self.backbone.eval()
        return self

    def forward(
        self,
        images: Tensor,  # uint8 [V, 3, H, W]
        valid_px: Tensor,  # [V, 2] width and height of the part that shows the world
    ) -> Tensor:
        """[V, C, H / 4, W / 4]"""
        x = normalised_images(images, valid_px)
        if x.device.type == "cpu":
            x = x.contiguous(memory_format=torch.channels_last)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.frozen != "all"):
            levels = self.backbone(x)
        x = self.sideways[-1](levels[-1])
        for conv, level in zip(reversed(self.sideways[:-1]), reversed(levels[:-1]), strict=True):
            x = conv(level) + F.interpolate(x, size=level.shape[-2:], mode="nearest")
        smooth: Tensor = self.smooth(x)
        return smooth


def _backbone(config: ImGeoNetConfig) -> tuple[ResNet50 | EfficientNetLite0 | Light, float]:
    """(backbone, the pixel, counted from 0, in the middle of what the first cell of its finest map looks at)."""
    if config.image_backbone == "resnet50":
        return ResNet50(config.image_frozen != "none"), 0.0
    if config.image_backbone == "light":
        return Light(config.light_channels), 0.0
    # TensorFlow pads even sizes below and to the right alone, so that each of the two halvings moves the middle.
    return EfficientNetLite0((4, 8, 16, 32)), 3.0


def normalised_images(images: Tensor, valid_px: Tensor) -> Tensor:
    """[V, 3, H, W] as ImageNet's, 0 in the padding, which is the mean colour."""
    mean, std = (torch.tensor(values, device=images.device).view(3, 1, 1) for values in (MEAN_RGB, STD_RGB))
    height, width = images.shape[-2:]
    shown = (torch.arange(width, device=images.device) < valid_px[:, None, None, 0]) & (
        torch.arange(height, device=images.device)[:, None] < valid_px[:, None, None, 1]
    )
    return (images - mean) / std * shown[:, None]
