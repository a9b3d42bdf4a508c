"""`farthest_points`: a spread-out choice among points of any dimension."""

from __future__ import annotations

import torch
from torch import Tensor


def farthest_points(points: Tensor, count: int) -> Tensor:
    """Numbers int64 [count] of points [N, D], each the farthest from those before it; the first from their mean.

    All of them, in this order, where there are no more. Ties go to the lower number, so that a choice repeats.
    """
    points = points.detach()
    chosen = torch.zeros(min(count, len(points)), dtype=torch.int64, device=points.device)
    nearest = (points - points.mean(0)).square().sum(-1)  # squared distance to the choice so far
    for i in range(len(chosen)):
        chosen[i] = nearest.argmax()
        distance = (points - points[chosen[i]]).square().sum(-1)
        nearest = distance if i == 0 else torch.minimum(nearest, distance)
        nearest[chosen[i]] = -1  # where points coincide, none comes twice
    return chosen
