"""Image backbones of residual blocks: ResNet-50, and a light network for small images."""

from __future__ import annotations

import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock


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
