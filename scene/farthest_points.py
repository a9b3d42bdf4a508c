"""`farthest_points`: a few of many points that are spread out over them all."""

from __future__ import annotations

import torch
from torch import Tensor


def farthest_points(places: Tensor, count: int) -> Tensor:
    """Indices [count] of points [N, C] that are spread out: each is the farthest from those before it.

    The first is the one in the middle; where points coincide, none comes twice.
    """
    flat = places.detach().float()
    chosen = [int((flat - flat.mean(0)).square().sum(-1).argmin())]
    distance = torch.full((len(flat),), torch.inf, device=flat.device)
    while len(chosen) < min(count, len(flat)):
        distance = torch.minimum(distance, (flat - flat[chosen[-1]]).square().sum(-1))
        distance[chosen[-1]] = -1
        chosen.append(int(distance.argmax()))
    return torch.tensor(chosen, device=flat.device)
