"""`CoherentDecoder`: an image for each view out of nothing but its number, so that neighbours change together."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ....scene.filled import filled

BANDS = 10  # sines and cosines of the view's number
WIDTHS = (16, 16, 16, 8, 8, 8)  # channels after each doubling, times the capacity; 4 after all others
LAST_WIDTH = 4
SLOPE, DEVIATION = 0.2, 0.02  # of the leaky rectifier, and of the first weights


class CoherentDecoder(nn.Module):
    """A convolutional decoder from one pixel up to the size of the views (CoherentGS, section 3.1)."""

    codes: Tensor  # [V, 2 * BANDS, 1, 1]

    def __init__(self, views: int, height: int, width: int, channels: int, capacity: int) -> None:
        super().__init__()
        self.height, self.width = height, width
        self.register_buffer("codes", _codes(views), persistent=False)
        doublings = max(1, int(math.log2(max(height, width))))
        # Sizes are the leading binary digits of the height and the width.
        self.sizes = [(max(1, height >> below), max(1, width >> below)) for below in range(doublings - 1, -1, -1)]
        widths = [capacity * w for w in (*WIDTHS, *[LAST_WIDTH] * doublings)[:doublings]]
        inputs = [2 * BANDS, *widths[:-1]]
        if doublings > 1:
            inputs[1] += 2  # coordinates join after the first doubling
        self.steps = nn.ModuleList(
            nn.Conv2d(before, after, 1 if k == 0 else 3)
            for k, (before, after) in enumerate(zip(inputs, widths, strict=True))
        )
        self.last = nn.Conv2d(widths[-1] + (2 if doublings == 1 else 0), channels, 3)
        for layer in (*self.steps, self.last):
            assert isinstance(layer, nn.Conv2d)
            assert layer.bias is not None
            nn.init.normal_(layer.weight, std=DEVIATION)
            nn.init.zeros_(layer.bias)

    def forward(self) -> Tensor:
        """[V, channels, H, W], not bounded, and almost 0 at first."""
        x = self.codes
        for k, (size, convolution) in enumerate(zip(self.sizes, self.steps, strict=True)):
            x = F.leaky_relu(convolution(_padded(_grown(x, size), convolution)), SLOPE)
            if k == 0:
                corners = filled((-1.0, 1.0, -1.0), x.device)  # reflected where the first size is 3
                places = torch.stack([corners[: size[1]].expand(*size), corners[: size[0], None].expand(*size)])
                x = torch.cat([x, places.expand(len(x), 2, *size)], dim=1)
        return self.last(_padded(x, self.last))


def _codes(views: int) -> Tensor:
    """[V, 2 * BANDS, 1, 1]: sines, then cosines, of 2^k v with v evenly spaced from 0 to 1."""
    angles = torch.linspace(0, 1, views)[:, None] * 2.0 ** torch.arange(BANDS)
    return torch.cat([angles.sin(), angles.cos()], dim=1)[..., None, None]


def _grown(x: Tensor, size: tuple[int, int]) -> Tensor:
    """[..., h, w] doubled along each axis that is smaller than `size`, and reflected into an odd last row or column."""
    doubled = [2 * now if wanted > now else now for now, wanted in zip(x.shape[-2:], size, strict=True)]
    if tuple(doubled) != tuple(x.shape[-2:]):
        x = F.interpolate(x, doubled, mode="bilinear", align_corners=True)
    return F.pad(x, (0, size[1] - doubled[1], 0, size[0] - doubled[0]), mode="reflect") if tuple(doubled) != size else x


def _padded(x: Tensor, convolution: nn.Module) -> Tensor:
    """Reflected so far that a convolution keeps the size; repeated along axes of one pixel, which reflect nothing."""
    assert isinstance(convolution, nn.Conv2d)
    rim = convolution.kernel_size[0] // 2
    if rim == 0:
        return x
    rows, columns = ("replicate" if n == 1 else "reflect" for n in x.shape[-2:])
    return F.pad(F.pad(x, (rim, rim, 0, 0), mode=columns), (0, 0, rim, rim), mode=rows)
