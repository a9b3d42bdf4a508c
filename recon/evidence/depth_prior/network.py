"""The network: a frozen trunk that knows pictures, and a small decoder that says how depth goes on between known ones.

The decoder predicts, at four resolutions, the change of log-depth between neighbours and how much that is worth; their
integration with the known pixels is the depth (OMNI-DC, Zuo et al., ICCV 2025, section 3). It starts as the plain
interpolation that it is given, and learns how that is wrong. Only differences of log-depth and distances in pixels
enter, so that the result scales with the depth that it is given.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ....learn.efficientnet_lite0 import IMAGENET_MEAN, IMAGENET_STD, EfficientNetLite0
from .integration import Differences, integrate
from .sparse_input import TOLD

MULTIPLE = 32  # pixels: sides of pictures are multiples of it
STRIDES = (4, 8, 16, 32)  # of the trunk's output
COLORS = 12  # of the four pixels that one of the half size stands for
WIDTHS = (16, 32, 64, 96, 128)  # of the decoder at 1/2 to 1/32
LEVELS = 4  # resolutions at which differences are predicted, from 1/2 on
STEP = 0.1  # log-depth that an output of one stands for, at the finest of them
KNOWN_PULL = 5.0  # of a known pixel, before its predicted factor
KEPT_BASE = -3.0  # logit at first of the share of the interpolation's own steps that is taken back
SURE = -2.0  # logarithm at first of the uncertainty's scale
STRONGEST, WEAKEST = 3.0, -7.0  # logarithms that ties and factors stay between
NARROWEST, WIDEST = -5.0, 1.0  # logarithms of the uncertainty's scale


@dataclass(frozen=True)
class Prediction:
    """At half of the picture's size, [B, h, w] each."""

    correction: Tensor  # of the given base, log-depth
    log_scale: Tensor  # logarithm of the scale of a Laplace distribution of the error of log-depth
    edge: Tensor  # logit of a jump of depth here


class DepthPrior(nn.Module):
    """Trunk and decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = EfficientNetLite0(STRIDES)
        self.decoder = DepthDecoder(self.trunk.channels)
        self.trunk.requires_grad_(False)
        self.trunk.eval()

    def train(self, mode: bool = True) -> DepthPrior:
        """The trunk stays in inference mode: the statistics of its batch norms are ImageNet's."""
        super().train(mode)
        self.trunk.eval()
        return self

    @torch.no_grad()
    def features(
        self,
        images: Tensor,  # [B, H, W, 3] uint8
    ) -> list[Tensor]:
        """The trunk's output at 1/4 to 1/32 of the size."""
        mean, std = (torch.tensor(v, device=images.device) for v in (IMAGENET_MEAN, IMAGENET_STD))
        found: list[Tensor] = self.trunk(((images.float() / 255 - mean) / std).permute(0, 3, 1, 2))
        return found

    def forward(
        self,
        images: Tensor,  # [B, H, W, 3] uint8, sides multiples of 32
        told: Tensor,  # as for `DepthDecoder.forward`, and all that follows
        base: Tensor,
        known: Tensor,
        iterations: int,
    ) -> Prediction:
        found: Prediction = self.decoder(images, self.features(images), told, base, known, iterations)
        return found


class DepthDecoder(nn.Module):
    """All that is trained."""

    def __init__(
        self,
        channels: tuple[int, ...],  # of the trunk's output
    ) -> None:
        super().__init__()
        inputs = (COLORS + TOLD, *(w + t for w, t in zip(WIDTHS, channels, strict=False)))
        self.down = nn.ModuleList(_block(before, after) for before, after in zip(inputs, WIDTHS, strict=True))
        self.halve = nn.ModuleList(nn.Conv2d(w, w, 3, 2, 1, groups=w) for w in WIDTHS[:-1])
        self.up = nn.ModuleList(_block(WIDTHS[k + 1] + WIDTHS[k], WIDTHS[k]) for k in range(LEVELS))
        self.heads = nn.ModuleList(_head(WIDTHS[k], (0.0, 0.0, 0.0, 0.0, KEPT_BASE, KEPT_BASE)) for k in range(LEVELS))
        self.rest = _head(WIDTHS[0], (0.0, SURE, 0.0))

    def forward(
        self,
        images: Tensor,  # [B, H, W, 3] uint8, sides multiples of 32
        features: list[Tensor],  # of the trunk
        told: Tensor,  # [B, TOLD, h, w] of `SparseInput`, h = H / 2 and w = W / 2
        base: Tensor,  # [B, h, w] log-depth
        known: Tensor,  # [B, h, w] bool
        iterations: int,  # of conjugate gradients
    ) -> Prediction:
        colors = F.pixel_unshuffle(images.permute(0, 3, 1, 2).float() / 64 - 1.8, 2)
        x, skips = torch.cat([colors, told], 1), []
        for k, block in enumerate(self.down):
            if k:
                x = torch.cat([self.halve[k - 1](x), features[k - 1]], 1)
            x = block(x)
            skips.append(x)
        levels: list[Differences] = []
        for k in reversed(range(LEVELS)):
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = self.up[k](torch.cat([x, skips[k]], 1))
            levels.insert(0, _differences(self.heads[k](x), F.avg_pool2d(base[:, None], 2**k)[:, 0], k))
        rest = self.rest(x)
        correction = integrate(levels, known * KNOWN_PULL * _weight(rest[:, 0]), iterations)
        return Prediction(correction, rest[:, 1].clamp(NARROWEST, WIDEST), rest[:, 2])


def _weight(logarithm: Tensor) -> Tensor:
    return logarithm.clamp(WEAKEST, STRONGEST).exp()


def _differences(output: Tensor, base: Tensor, level: int) -> Differences:
    """Of outputs [B, 6, h, w]: steps, ties, and shares of the base's own steps that are taken back."""
    step = STEP * 2**level * output[:, :2]
    tie, back = _weight(output[:, 2:4]), output[:, 4:].sigmoid()
    right = step[:, 0, :, :-1] - back[:, 0, :, :-1] * (base[:, :, 1:] - base[:, :, :-1])
    down = step[:, 1, :-1] - back[:, 1, :-1] * (base[:, 1:] - base[:, :-1])
    return Differences(right, down, tie[:, 0, :, :-1], tie[:, 1, :-1])


def _block(before: int, after: int) -> nn.Sequential:
    """Two convolutions."""
    return nn.Sequential(
        nn.Conv2d(before, after, 3, 1, 1),
        nn.GroupNorm(8, after),
        nn.ReLU(inplace=True),
        nn.Conv2d(after, after, 3, 1, 1),
        nn.GroupNorm(8, after),
        nn.ReLU(inplace=True),
    )


def _head(before: int, bias: tuple[float, ...]) -> nn.Conv2d:
    """A convolution that at first gives its bias whatever it sees: there is no correction yet."""
    head = nn.Conv2d(before, len(bias), 3, 1, 1)
    nn.init.zeros_(head.weight)
    head.bias = nn.Parameter(torch.tensor(bias))
    return head
