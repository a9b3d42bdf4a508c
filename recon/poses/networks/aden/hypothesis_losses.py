"""Losses of ADen: the best of many poses is pulled to the truth, and the truth is told from the others."""

from __future__ import annotations

import math

import torch
from torch import Tensor

SOFT_DEG = 10.0  # e-folding angle of the positives of robust mode
SHIFT_WEIGHT = 0.5  # radians that a translation error of one unit counts for there


def rotation_distance(a: Tensor, b: Tensor) -> Tensor:
    """Angle in radians [...] in [0, pi] between unit quaternions [..., 4]; blind to their signs.

    Twice the arctangent of the relative quaternion's parts: unlike the arccosine it has finite slopes at 0 and pi.
    """
    w = (a * b).sum(-1)
    # The vector part of conj(a) b, by its parts so that a = b gives exactly zero.
    vector = a[..., :1] * b[..., 1:] - b[..., :1] * a[..., 1:] - torch.linalg.cross(*torch.broadcast_tensors(
        a[..., 1:], b[..., 1:])
    )  # fmt: skip
    return 2 * torch.atan2(vector.square().sum(-1).clamp_min(1e-14).sqrt(), w.abs())


def winner_loss(
    winners: Tensor,  # [V, k, 7] the nearest first
    truth: Tensor,  # [V, 7]
    others: float = 0.0,  # weight shared by the winners after the first
) -> Tensor:
    """Mean over views of d_rot + |t - t*| of the nearest poses; k = 1 is the paper's winner-take-all."""
    rotation = rotation_distance(winners[..., :4], truth[:, None, :4])
    errors = rotation + (winners[..., 4:] - truth[:, None, 4:]).norm(dim=-1)
    if errors.shape[1] == 1:
        return errors.mean()
    return (1 - others) * errors[:, 0].mean() + others * errors[:, 1:].mean()


def contrastive_loss(
    logits: Tensor,  # [V, c]
) -> Tensor:
    """Mean of -log softmax of the first candidate, which is the truth (the paper's discriminator loss)."""
    return -logits.float().log_softmax(-1)[:, 0].mean()


def soft_contrastive_loss(
    logits: Tensor,  # [V, c]
    truth: Tensor,  # [V, 7]
    poses: Tensor,  # [V, c, 7]
) -> Tensor:
    """Cross-entropy between the candidates, each right by exp(-d / 10 degrees), d its angle plus half its shift.

    The truth is none of the candidates. Where it is one, it can be told from what a generator makes without a look at
    the photographs, and that is all that a discriminator learns in a short training; and it is not there at test.
    """
    distance = rotation_distance(poses[..., :4], truth[:, None, :4])
    distance = distance + SHIFT_WEIGHT * (poses[..., 4:] - truth[:, None, 4:]).norm(dim=-1)
    share = (-distance / math.radians(SOFT_DEG)).softmax(-1)
    return -(share * logits.float().log_softmax(-1)).sum(1).mean()
