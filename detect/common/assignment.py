"""One-to-one assignment at the least total cost (the Hungarian algorithm)."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


def match(cost: Tensor) -> tuple[Tensor, Tensor]:
    """(queries [K], objects [K]) for costs [Q, N], K = min(Q, N)."""
    queries, objects = linear_sum_assignment(cost.detach().double().cpu().numpy())
    return torch.as_tensor(queries, device=cost.device), torch.as_tensor(objects, device=cost.device)
