"""Random raw Gaussians, and the ones that real files hold and formats stumble over."""

from __future__ import annotations

import math

import torch
from fewview.scene.gaussians import Gaussians


def random_gaussians(seed: int, count: int, degree: int) -> Gaussians:
    """Gaussians of the ranges that training ends in: sizes over five decades, colours beyond 0 to 1."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    sh = 0.1 * normal(count, (degree + 1) ** 2, 3)
    sh[:, 0] = 1.2 * normal(count, 3)
    return Gaussians(3 * normal(count, 3), normal(count, 4), 1.5 * normal(count, 3) - 4, 3 * normal(count), sh)


def odd_gaussians() -> Gaussians:
    """Eight that can be rendered though their numbers are odd, in this order: opacity +Inf, opacity -Inf, flat (one
    log-scale -Inf), zero quaternion, far away, quaternion of length 1e-20, opposite quaternion, the origin."""
    g = random_gaussians(5, 8, 3)
    g.opacity_logits[0], g.opacity_logits[1] = math.inf, -math.inf
    g.log_scales[2, 1] = -math.inf
    g.quats[3] = 0
    g.means[4] = torch.tensor([1e6, -2e7, 3e4])
    g.quats[5] *= 1e-20
    g.quats[6] = -g.quats[6]
    g.means[7] = 0
    return g
