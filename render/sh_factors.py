"""Gradients of spherical harmonics as their factors, for an optimiser that would read the large array only once.

The gradient of one Gaussian's K coefficients in a camera is the basis in the direction of view times that of its
colour: six numbers tell what 3 K say. Written out, read by Adam and dropped, those 3 K are most of a step's memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .. import _native

_KEPT = "kept_sh_factors"  # an attribute of the leaf


@dataclass(frozen=True)
class ShFactors:
    """The gradient of SH coefficients [N, K, 3], summed over C cameras: basis(direction) x colour gradient."""

    degree: int
    directions: Tensor  # [C, N, 3] from the cameras, of unit length
    v_colors: Tensor  # [C, N, 3] gradients of the colours, zeros where a camera does not see the Gaussian

    def dense(self, coefficients: int) -> Tensor:
        """The gradient written out, [N, K, 3] for K coefficients."""
        gradient = torch.empty(self.directions.shape[1], coefficients, 3)
        _native.sh_gradient(self.degree, self.directions.numpy(), self.v_colors.numpy(), gradient.numpy())
        return gradient


def keep_factors(leaf: Tensor) -> None:
    """Let the CPU renderer keep what it would add to `leaf.grad` [N, K, 3] as factors, until `take_factors`.

    Only for a leaf that is drawn as it is; whatever else it feeds still reaches `leaf.grad`.
    """
    leaf.__dict__[_KEPT] = []


def kept_factors(leaf: Tensor) -> list[ShFactors] | None:
    """The list that a renderer appends to; None where the leaf wants its gradient as usual."""
    return leaf.__dict__.get(_KEPT)


def take_factors(leaf: Tensor) -> list[ShFactors]:
    """Factors kept since the last call, one for each degree, the cameras of all pictures together."""
    kept = kept_factors(leaf)
    if not kept:
        return []
    taken = []
    for degree in sorted({factors.degree for factors in kept}):
        same = [factors for factors in kept if factors.degree == degree]
        if len(same) > 1:
            parts = [factors.directions for factors in same], [factors.v_colors for factors in same]
            same = [ShFactors(degree, torch.cat(parts[0]), torch.cat(parts[1]))]
        taken += same
    kept.clear()
    return taken
