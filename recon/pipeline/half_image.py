"""Half-image protocol: colours of a held-out photograph fitted on its left half, figures taken on its right half.

Where each training photograph had a colour transform of its own, nothing says which one a held-out photograph would
have; published figures of such methods fit it on the left half and are measured on the right one (NeRF in the Wild,
Martin-Brualla et al. 2021, section 4.2).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..optimise.appearance import CLIPPED_HIGH, CLIPPED_LOW

HOLD = 1e-5  # weight of staying at the identity, in squared colour: a half of one colour leaves the rest undetermined


def halves(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Masks [H, W] of the pixels that count in the left and in the right half; a middle column is right."""
    left = torch.zeros_like(counts)
    left[:, : counts.shape[1] // 2] = True
    return counts & left, counts & ~left


def fitted_colours(
    picture: Tensor,  # [H, W, 3] rendered
    alpha: Tensor,  # [H, W] its coverage
    target: Tensor,  # [H, W, 3] photograph
    counts: Tensor,  # [H, W] bool, pixels to fit to
    background: Tensor,  # [3] behind both
) -> Tensor:
    """Matrix and offset [3, 4] with which the picture is nearest to the photograph, in least squares.

    Clipped values of the photograph have no say. The identity where nothing is left.
    """
    identity = torch.eye(3, 4, dtype=torch.float64, device=picture.device)
    behind = (1 - alpha)[..., None] * background
    shown = torch.cat([picture - behind, alpha[..., None]], -1)[counts].double()  # [N, 4]
    wanted, found = (target - behind)[counts].double(), target[counts]
    rows = []
    for channel in range(3):
        known = (found[:, channel] > CLIPPED_LOW) & (found[:, channel] < CLIPPED_HIGH)
        x, y = shown[known], wanted[known, channel]
        normal = x.T @ x + (HOLD * len(x) + 1e-9) * torch.eye(4, dtype=torch.float64, device=x.device)
        rows.append(identity[channel] + torch.linalg.solve(normal, x.T @ (y - x @ identity[channel])))
    return torch.stack(rows).to(picture.dtype)
