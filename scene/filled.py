"""Numbers of the program on a device, without a copy that the program would wait for."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor


def filled(values: Sequence[float], device: torch.device | str) -> Tensor:
    """`values` as float32 [N] on the device: each run of equal ones is filled there, where a copy would be waited for.

    For a few numbers that change with the step. On the CPU the same as `torch.tensor(values)`.

    >>> filled([1.0, 0.0, 0.0, 0.0], "cpu").tolist()
    [1.0, 0.0, 0.0, 0.0]
    """
    if torch.device(device).type == "cpu":
        return torch.tensor(values, dtype=torch.float32)
    runs = [(value, len(list(same))) for value, same in itertools.groupby(values)]
    return torch.cat([torch.full((count,), value, dtype=torch.float32, device=device) for value, count in runs])
