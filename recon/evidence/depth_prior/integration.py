"""Depth from predicted differences: weighted least squares over several resolutions, with gradients to all inputs.

OMNI-DC (Zuo et al., ICCV 2025) integrates predicted gradients of log-depth at several resolutions together with the
sparse depth. Here the unknown is a correction of a plain interpolation, and what ties neighbours is predicted, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

HOLD = 1e-4  # pull to zero, so that the system has one solution where nothing is known


@dataclass(frozen=True)
class Differences:
    """Expected change of a correction between neighbours, at one resolution [B, h, w]."""

    right: Tensor  # [B, h, w - 1] change to the right
    down: Tensor  # [B, h - 1, w]
    right_tie: Tensor  # [B, h, w - 1] >= 0, weight of each
    down_tie: Tensor  # [B, h - 1, w]


def integrate(
    levels: Sequence[Differences],  # at the resolution of the result, half of it, a quarter, ...
    pull: Tensor,  # [B, h, w] >= 0, weight of the correction being zero; positive where depth is known
    iterations: int,
) -> Tensor:
    """The correction r [B, h, w] with the least sum of squares, by conjugate gradients from zero.

    Minimises sum of pull r^2 + sum over levels k and neighbours of 4^k tie (D P_k r - step)^2, where P_k averages
    blocks of 2^k pixels a side and D takes differences. h and w are multiples of 2^(levels - 1). Gradients are those of
    the exact minimum, from a second system of the same kind.
    """
    flat = [t for level in levels for t in (level.right, level.down, level.right_tie, level.down_tie)]
    found: Tensor = _Integrate.apply(iterations, pull, *flat)
    return found


class _Integrate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, iterations: int, pull: Tensor, *flat: Tensor) -> Tensor:
        levels = [Differences(*flat[i : i + 4]) for i in range(0, len(flat), 4)]
        right_side = _gather([(v.right * v.right_tie, v.down * v.down_tie) for v in levels])
        found = _solve(levels, pull, right_side, iterations)
        ctx.iterations = iterations
        ctx.save_for_backward(pull, found, *flat)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        pull, found, *flat = ctx.saved_tensors
        levels = [Differences(*flat[i : i + 4]) for i in range(0, len(flat), 4)]
        adjoint = _solve(levels, pull, gradients[0].contiguous(), ctx.iterations)
        out: list[Tensor] = []
        for k, level in enumerate(levels):
            scale = 4.0**k
            (ar, ad), (fr, fd) = _differences(_averaged(adjoint, k)), _differences(_averaged(found, k))
            out += [scale * level.right_tie * ar, scale * level.down_tie * ad]
            out += [scale * ar * (level.right - fr), scale * ad * (level.down - fd)]
        return None, -adjoint * found, *out


def _averaged(r: Tensor, level: int) -> Tensor:
    return r if level == 0 else F.avg_pool2d(r[:, None], 2**level)[:, 0]


def _differences(r: Tensor) -> tuple[Tensor, Tensor]:
    return r[:, :, 1:] - r[:, :, :-1], r[:, 1:] - r[:, :-1]


def _gather(flows: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Sum over levels k of 4^k P_k^T D^T of (right, down): the transpose of all that `integrate` compares."""
    total: Tensor | None = None
    for right, down in reversed(flows):
        here = F.pad(right, (1, 0)) - F.pad(right, (0, 1)) + F.pad(down, (0, 0, 1, 0)) - F.pad(down, (0, 0, 0, 1))
        if total is not None:
            # The average's transpose divides by four, and the next level's weight multiplies by four.
            here = here + F.interpolate(total[:, None], scale_factor=2, mode="nearest")[:, 0]
        total = here
    assert total is not None
    return total


def _system(levels: Sequence[Differences], pull: Tensor, r: Tensor) -> Tensor:
    flows, coarse = [], r
    for k, level in enumerate(levels):
        coarse = coarse if k == 0 else F.avg_pool2d(coarse[:, None], 2)[:, 0]
        right, down = _differences(coarse)
        flows.append((level.right_tie * right, level.down_tie * down))
    return (pull + HOLD) * r + _gather(flows)


def _diagonal(levels: Sequence[Differences], pull: Tensor) -> Tensor:
    total: Tensor | None = None
    for level in reversed(levels):
        right, down = level.right_tie, level.down_tie
        here = F.pad(right, (1, 0)) + F.pad(right, (0, 1)) + F.pad(down, (0, 0, 1, 0)) + F.pad(down, (0, 0, 0, 1))
        if total is not None:  # squares of 1/4 for each step down, times 4
            here = here + F.interpolate(total[:, None], scale_factor=2, mode="nearest")[:, 0] / 4
        total = here
    assert total is not None
    return total + pull + HOLD


def _solve(levels: Sequence[Differences], pull: Tensor, right_side: Tensor, iterations: int) -> Tensor:
    inverse = 1 / _diagonal(levels, pull)
    found = torch.zeros_like(right_side)
    residual = right_side
    scaled = inverse * residual
    direction = scaled
    energy = (residual * scaled).sum((1, 2), keepdim=True)
    for _ in range(iterations):
        moved = _system(levels, pull, direction)
        length = energy / (direction * moved).sum((1, 2), keepdim=True).clamp_min(1e-30)
        found = found + length * direction
        residual = residual - length * moved
        scaled = inverse * residual
        before, energy = energy, (residual * scaled).sum((1, 2), keepdim=True)
        direction = scaled + energy / before.clamp_min(1e-30) * direction
    return found
