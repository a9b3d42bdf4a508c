"""Gaussian dropout: some Gaussians invisible in a step by chance, the others stronger to make up for it.

With few views, Gaussians behind others get no gradient and fit nothing; dropping those in front lets them learn
(DropGaussian, Park et al. 2025, equations 4 and 5).
"""

from __future__ import annotations

import torch
from torch import Tensor


def dropped_opacities(opacities: Tensor, rate: float, generator: torch.Generator) -> Tensor:
    """Opacities [N] of a step that drops each Gaussian with probability `rate`; as they are where it is 0."""
    if rate <= 0:
        return opacities
    kept = torch.rand(opacities.shape, generator=generator, device=opacities.device) >= rate
    return (opacities * (kept / (1 - rate))).clamp(max=1)
