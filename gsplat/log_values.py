"""`log_transform` and its inverse: numbers of any size brought near zero, by gsplat's names."""

from __future__ import annotations

from torch import Tensor


def log_transform(x: Tensor) -> Tensor:
    """sign(x) ln(1 + |x|), the same shape [...]."""
    return x.sign() * x.abs().log1p()


def inverse_log_transform(y: Tensor) -> Tensor:
    """sign(y) (exp |y| - 1), the same shape [...]."""
    return y.sign() * y.abs().expm1()
