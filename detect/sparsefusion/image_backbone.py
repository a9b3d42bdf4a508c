"""Image features: ResNet-50, Swin-T or a light network, and a feature pyramid on top."""

from __future__ import annotations

from collections import OrderedDict

import torch
import torchvision
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork

from ..common.resnets import Light, ResNet50
from .config import SparseFusionConfig


class SwinT(nn.Module):
    """torchvision's Swin-T with a layer norm on what each stage gives out, as detectors have it."""

    channels = (96, 192, 384, 768)

    def __init__(self) -> None:
        super().__init__()
        net = torchvision.models.SwinTransformer(
            patch_size=[4, 4],
            embed_dim=96,
            depths=[2, 2, 6, 2],
            num_heads=[3, 6, 12, 24],
            window_size=[7, 7],
            stochastic_depth_prob=0.2,
        )
        self.features = net.features
        self.norms = nn.ModuleList(nn.LayerNorm(c) for c in self.channels)

    def forward(self, images: Tensor) -> list[Tensor]:
        x, outputs = images, []
        for i, part in enumerate(self.features):
            x = part(x)
            if i % 2 == 1:  # parts 1, 3, 5, 7 are the stages, those between them halve the resolution
                outputs.append(self.norms[i // 2](x).permute(0, 3, 1, 2).contiguous())
        return outputs


class ImageTrunk(nn.Module):
    """Images [N, 3, H, W] to four maps [N, neck channels, H / s, W / s], s = 4, 8, 16, 32."""

    def __init__(self, config: SparseFusionConfig) -> None:
        super().__init__()
        self.backbone: ResNet50 | SwinT | Light
        if config.image_backbone == "resnet50":
            self.backbone = ResNet50(config.image_frozen)
        elif config.image_backbone == "swin_t":
            self.backbone = SwinT()
        else:
            self.backbone = Light(config.light_channels)
        self.neck = FeaturePyramidNetwork(list(self.backbone.channels), config.neck_channels)

    def forward(self, images: Tensor) -> list[Tensor]:
        if images.device.type == "cpu":
            images = images.contiguous(memory_format=torch.channels_last)
        levels = OrderedDict((str(i), x) for i, x in enumerate(self.backbone(images)))
        return list(self.neck(levels).values())
