"""Derivatives by central differences, and how near two gradients are."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def central_differences(function: Callable[[], Tensor], leaf: Tensor, step: float = 1e-5) -> Tensor:
    """d function() / d leaf, float64 and shaped as leaf; each element of leaf is moved in place and put back.

    With a step of 1e-5 on values of order 1 the truncation error is near 1e-10 and the rounding error near 1e-11.
    """
    gradient = torch.zeros_like(leaf)
    with torch.no_grad():
        for i in range(leaf.numel()):
            element, out = leaf.view(-1)[i : i + 1], gradient.view(-1)[i : i + 1]
            value = element.clone()
            element.copy_(value + step)
            above = function()
            element.copy_(value - step)
            out.copy_((above - function()) / (2 * step))
            element.copy_(value)
    return gradient


def relative_error(found: Tensor, expected: Tensor) -> float:
    """|found - expected| / |expected| in the L2 norm over all elements."""
    found = found.to(expected)
    return float((found - expected).norm() / expected.norm().clamp_min(1e-300))


def cosine(found: Tensor, expected: Tensor) -> float:
    """The cosine of the angle between two gradients taken as vectors."""
    return float(torch.cosine_similarity(found.to(expected).flatten(), expected.flatten(), dim=0, eps=1e-300))
