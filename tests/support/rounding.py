"""Bounds on what a number format may lose, which hold on every processor: whatever the order of a sum, however wide the
vectors, with or without fused multiply-adds."""

from __future__ import annotations

from torch import Tensor

# The unit roundoff of a format with p significant bits, the leading one included, is 2^-p: two neighbours near 1 are
# 2^(1-p) apart, and rounding to nearest moves a number by half of that at most.
FLOAT32 = 2.0**-24
BFLOAT16 = 2.0**-8


def sum_error(terms: int, sizes: Tensor) -> Tensor:
    """Bound on the error of a float32 sum of products, like `sizes`: the exact sums of the products' absolute values.

    A sum of n products in any order is off by at most n u / (1 - n u) of that (Higham, Accuracy and Stability of
    Numerical Algorithms, 2nd edition, section 3.1).
    """
    return terms * FLOAT32 / (1 - terms * FLOAT32) * sizes


def assert_within(found: Tensor, exact: Tensor, bound: Tensor) -> None:
    """|found - exact| <= bound, element by element; `exact` and `bound` are float64."""
    assert found.shape == exact.shape
    off = (found.double() - exact).abs()
    inside = off <= bound
    assert bool(inside.all()), f"{int((~inside).sum())} of {inside.numel()} lie outside, by up to {(off / bound).max()}"
