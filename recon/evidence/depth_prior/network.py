"""The network: a frozen trunk that knows pictures, and a small decoder that says which way of filling depth is right.

At each pixel the decoder weighs the fills of `fills.py`, beginning with what `trial.py` found them to be worth on this
photograph, and moves their mean by no more than they differ: it has nothing to say where they agree. Only differences
of log-depth and distances in pixels enter, so that the result scales with the depth that it is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ....learn.efficientnet_lite0 import IMAGENET_MEAN, IMAGENET_STD, EfficientNetLite0
from .fills import NAMES

MULTIPLE = 32  # pixels: sides of pictures are multiples of it
STRIDES = (4, 8, 16, 32)  # of the trunk's output
COLORS = 48  # of the sixteen pixels that one of a quarter of the size stands for
FILLS = len(NAMES)
TOLD = 2 * FILLS + 8  # fills about their middle, and the others that `told_channels` names
WIDTHS = (48, 64, 80, 112)  # of the decoder at 1/4 to 1/32
POWER = 3.0  # at first, of one over a fill's error, by which it counts
SURE = -2.0  # logarithm at first of the uncertainty's scale
NARROWEST, WIDEST = -5.0, 1.0  # logarithms of the uncertainty's scale
DIFFERENT = 2.0  # log-depth, beyond which fills look equally different
RANGE = 4.0  # of log-depth about the median of what is known, beyond which all looks alike
MOVED = 1.0  # times the fills' spread by which their mean is moved at most


@dataclass(frozen=True)
class Prediction:
    """At half of the picture's size, h = H / 2 and w = W / 2."""

    log_depth: Tensor  # [B, h, w]
    log_scale: Tensor  # [B, h, w] logarithm of the scale of a Laplace distribution of its error
    shares: Tensor  # [B, FILLS, h, w] of the fills


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
        told: Tensor,  # as for `DepthDecoder.forward`
        fills: Tensor,
        errors: Tensor,
    ) -> Prediction:
        found: Prediction = self.decoder(images, self.features(images), told, fills, errors)
        return found


class DepthDecoder(nn.Module):
    """All that is trained."""

    def __init__(
        self,
        channels: tuple[int, ...],  # of the trunk's output
    ) -> None:
        super().__init__()
        first = COLORS + TOLD + channels[0]
        inputs = (first, *(w + t for w, t in zip(WIDTHS, channels[1:], strict=False)))
        self.down = nn.ModuleList(_block(before, after) for before, after in zip(inputs, WIDTHS, strict=True))
        self.halve = nn.ModuleList(nn.Conv2d(w, w, 3, 2, 1, groups=w) for w in WIDTHS[:-1])
        self.up = nn.ModuleList(_block(w + below, w) for w, below in pairwise(WIDTHS))
        self.head = nn.Conv2d(WIDTHS[0], FILLS + 2, 3, 1, 1)
        nn.init.zeros_(self.head.weight)  # at first fills count by their errors alone
        self.power = nn.Parameter(torch.tensor(POWER))
        self.head.bias = nn.Parameter(torch.tensor([0.0] * (FILLS + 1) + [SURE]))

    def forward(
        self,
        images: Tensor,  # [B, H, W, 3] uint8, sides multiples of 32
        features: list[Tensor],  # of the trunk
        told: Tensor,  # [B, TOLD, h, w] of `told_channels`, h = H / 2 and w = W / 2
        fills: Tensor,  # [B, FILLS, h, w] log-depth
        errors: Tensor,  # [B, FILLS] of log-depth, of `errors_of_fills`
    ) -> Prediction:
        colors = F.pixel_unshuffle(images.permute(0, 3, 1, 2).float() / 64 - 1.8, 4)
        x, skips = torch.cat([colors, F.avg_pool2d(told, 2), features[0]], 1), []
        for k, block in enumerate(self.down):
            if k:
                x = torch.cat([self.halve[k - 1](x), features[k]], 1)
            x = block(x)
            skips.append(x)
        for k in reversed(range(len(self.up))):
            x = self.up[k](torch.cat([_doubled(x), skips[k]], 1))
        out = _doubled(self.head(x))
        shares = (out[:, :FILLS] - self.power * errors.log()[..., None, None]).softmax(1)
        mean = (shares * fills).sum(1)
        spread = (shares * (fills - mean[:, None]).abs()).sum(1)
        moved = mean + MOVED * spread * out[:, FILLS].tanh()
        return Prediction(moved, out[:, FILLS + 1].clamp(NARROWEST, WIDEST), shares)


def told_channels(
    fills: Tensor,  # [B, FILLS, h, w] log-depth about that of what is known
    weight: Tensor,  # [B, h, w] of what is known, 0 elsewhere
    distance: Tensor,  # [B, h, w] from what is known
    place: Tensor,  # [B, 2, h, w] row and column, -1 to 1 over the picture
    errors: Tensor,  # [B, FILLS] of `errors_of_fills`
) -> Tensor:
    """The decoder's input [B, TOLD, h, w]; nothing in it depends on the unit of depth.

    Fills about their middle, their errors about the least, and: middle, known, weight, distance, row, column, spread,
    least error.
    """
    middle = fills.median(1).values
    least = errors.amin(1)
    relative = (errors / least[:, None]).log()
    different = (fills - middle[:, None]).clamp(-DIFFERENT, DIFFERENT)
    rest = [
        middle.clamp(-RANGE, RANGE), (weight > 0).float(), weight.log1p(), distance.log1p() / 2,
        place[:, 0], place[:, 1], different.abs().mean(1), (least.log() + 3).reshape(-1, 1, 1).expand_as(middle),
    ]  # fmt: skip
    return torch.cat([different, relative[..., None, None].expand_as(different), torch.stack(rest, 1)], 1)


def places(rows: int, columns: int) -> Tensor:
    """The rows and columns [2, rows, columns] of a picture's pixels, from -1 to 1."""
    return torch.stack(torch.meshgrid(torch.linspace(-1, 1, rows), torch.linspace(-1, 1, columns), indexing="ij"))


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


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
