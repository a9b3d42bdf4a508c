"""Frozen backbones: a photograph's crop becomes a grid of tokens that know what is where."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .....learn.efficientnet_lite0 import EfficientNetLite0, lite0_state
from .....learn.foreign_weights import check_weights, read_weights
from .config import Backbone


class ImageEncoder(nn.Module):
    """A backbone without its classifier, in inference mode for good."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        if backbone == "efficientnet-lite0":
            trunk = EfficientNetLite0()
            self.trunk: nn.Module = trunk
            self.channels = sum(trunk.channels)
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


def read_backbone(path: Path, backbone: Backbone) -> ImageEncoder:
    """An encoder with ImageNet weights from a file: Lite0's `.pth` of the package, or torchvision's ResNet-50.

    Raises BadInputError when the file is not whole, not safe or of another network.
    """
    state, _ = read_weights(path)
    encoder = ImageEncoder(backbone)
    plain = dict(_without_classifier(state, backbone))
    for name, tensor in encoder.trunk.state_dict().items():  # some files lack the counters, which nothing reads
        if name.endswith("num_batches_tracked"):
            plain.setdefault(name, tensor)
    encoder.trunk.load_state_dict(check_weights(plain, encoder.trunk, path, f"ImageNet weights of {backbone}"))
    return encoder


def _without_classifier(state: Mapping[str, Tensor], backbone: Backbone) -> dict[str, Tensor]:
    if backbone == "resnet50":
        return {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    return lite0_state(state)
