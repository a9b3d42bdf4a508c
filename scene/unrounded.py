"""Double precision behind single: places as a file gives them, for what must not depend on the file's unit."""

from __future__ import annotations

import torch
from torch import Tensor


def unrounded(
    rounded: Tensor,  # [...] float32
    exact: Tensor | None,  # [...] float64, what it was rounded from
) -> Tensor:
    """Float64 [...]: `exact` where it still rounds to `rounded`, which may have been replaced, and else the latter."""
    if exact is not None and exact.shape == rounded.shape and torch.equal(exact.to(rounded), rounded):
        return exact
    return rounded.double()
