"""Weights of other libraries in our layout, [Cout, k0, k1, k2, Cin] with the first spatial axis slowest (spconv 2).

spconv 1.x and 2.0-2.1: [k0, k1, k2, Cin, Cout]. MinkowskiEngine: [K, Cin, Cout] with the first spatial axis fastest,
[Cin, Cout] for a kernel of 1. Kernels of other numbers of axes alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from ...scene.errors import BadInputError

Layout = Literal["spconv2", "spconv1", "minkowski"]


def converted_weight(weight: Tensor, shape: Sequence[int], layout: Layout | None = None) -> Tensor:
    """`weight` as a tensor of `shape` (Cout, k0, k1, k2, Cin), its layout told from its shape where it is not given.

    The result is for the functions of this package; layers with a kernel of one cell read theirs as spconv 2 does, by
    `kernel()` in `conv_layers`. A shape that fits none or several layouts raises BadInputError; name the `layout` then.
    """
    out_channels, *kernel, in_channels = shape
    cells = math.prod(kernel)
    shapes: dict[Layout, list[tuple[int, ...]]] = {
        "spconv2": [tuple(shape)],
        "spconv1": [(*kernel, in_channels, out_channels)],
        "minkowski": [(cells, in_channels, out_channels)],
    }
    if cells == 1:
        shapes["minkowski"].append((in_channels, out_channels))
    fitting = [name for name, fits in shapes.items() if tuple(weight.shape) in fits and layout in (None, name)]
    if len(fitting) != 1:
        found = f"A weight of shape {list(weight.shape)} for a kernel [Cout, k0, k1, k2, Cin] of {list(shape)}"
        if not fitting:
            raise BadInputError(f"{found} has the layout of none of {', '.join([layout] if layout else shapes)}.")
        raise BadInputError(f"{found} may have the layout of {' or '.join(fitting)}; name which.")
    if fitting[0] == "spconv2":
        return weight
    if fitting[0] == "spconv1":
        return weight.movedim(-1, 0).contiguous()
    slowest_last = weight.reshape(*reversed(kernel), in_channels, out_channels)
    axes = range(len(kernel))
    return slowest_last.permute(len(kernel) + 1, *reversed(axes), len(kernel)).contiguous()
