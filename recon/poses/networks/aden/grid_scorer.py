"""The rival that ADen is measured against: every rotation of a grid gets a score (RelPose++, arXiv 2305.04926).

Rotations alone: a grid over rotations and translations would be too large, which is ADen's reason to be.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .....scene.geometry import quat_multiply
from .model import PoseScorer

RELPOSE_GRID = 36_864  # rotations that RelPose and RelPose++ are trained with; RelPose++ is tested with 500,000
CHUNK = 65_536  # rotations scored at once


def spread_rotations(count: int) -> Tensor:
    """Quaternions [count, 4] spread evenly over all rotations, the same every time.

    The super-Fibonacci spiral (Alexa, CVPR 2022).
    """
    phi, psi = 2.0**0.5, 1.533751168755204288118041
    s = torch.arange(count, dtype=torch.float64) + 0.5
    t, d = s / count, 2 * torch.pi * s
    r, big = t.sqrt(), (1 - t).sqrt()
    a, b = d / phi, d / psi
    return torch.stack([r * a.sin(), r * a.cos(), big * b.sin(), big * b.cos()], dim=1).float()


class GridScorer(nn.Module):
    """Scores of rotations for a photograph's fused vector."""

    def __init__(self, fused: int, width: int, has_turn: bool = False) -> None:
        super().__init__()
        self.scorer = PoseScorer(fused, width, numbers=9, has_turn=has_turn)

    def loss(
        self,
        fused: Tensor,  # [V, fused]
        truth: Tensor,  # [V, 4] quaternions
        grid: Tensor,  # [m, 4]
    ) -> Tensor:
        """Mean cross-entropy of the truth among the rotations of a grid that is turned so that one of them hits it."""
        inverse = grid[:1] * grid.new_tensor([1, -1, -1, -1])
        turned = quat_multiply(truth[:, None], quat_multiply(inverse, grid)[None])
        return -self.scorer(fused, turned).float().log_softmax(-1)[:, 0].mean()

    @torch.no_grad()
    def best(
        self,
        fused: Tensor,  # [V, fused]
        grid: Tensor,  # [m, 4]
    ) -> Tensor:
        """The rotation [V, 4] of the grid with the highest score."""
        found = []
        for view in fused:
            scores = torch.cat([self.scorer(view[None], part)[0] for part in grid.split(CHUNK)])
            found.append(grid[scores.argmax()])
        return torch.stack(found)
