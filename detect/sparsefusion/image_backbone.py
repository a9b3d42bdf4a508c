"""Image features: ResNet-50, Swin-T or a light network, and a feature pyramid on top."""

from __future__ import annotations

from collections import OrderedDict

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock
from torchvision.ops import FeaturePyramidNetwork

from .config import SparseFusionConfig


class ResNet50(nn.Module):
    """torchvision's, without its classifier; the names are those of every ResNet."""

    channels = (256, 512, 1024, 2048)

    def __init__(self, frozen: bool) -> None:
        super().__init__()
        net = torchvision.models.resnet50(weights=None)
        self.conv1, self.bn1, self.relu, self.maxpool = net.conv1, net.bn1, net.relu, net.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = net.layer1, net.layer2, net.layer3, net.layer4
        self.frozen = frozen
        if frozen:
            for part in (self.conv1, self.bn1, self.layer1):
                part.requires_grad_(False)

    def train(self, mode: bool = True) -> ResNet50:
        """Batch norms keep their stored statistics; their scales and shifts learn."""
        super().train(mode)
        if self.frozen:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def forward(self, images: Tensor) -> list[Tensor]:
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        outputs = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            outputs.append(x)
        return outputs


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


class Light(nn.Module):
    """A stem and four stages of one residual block each, for small images and random starting weights."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.channels = channels
        width = channels[0]
        stem = nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False)
        self.stem = nn.Sequential(stem, nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        self.stages = nn.ModuleList()
        for out in channels:
            shortcut = nn.Sequential(nn.Conv2d(width, out, 1, stride=2, bias=False), nn.BatchNorm2d(out))
            self.stages.append(BasicBlock(width, out, stride=2, downsample=shortcut))
            width = out

    def forward(self, images: Tensor) -> list[Tensor]:
        x, outputs = self.stem(images), []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
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
