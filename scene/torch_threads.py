"""Threads that PyTorch takes for an operation on the CPU."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

CPU = torch.device("cpu")


@contextlib.contextmanager
def torch_threads(count: int | None, device: torch.device = CPU) -> Iterator[None]:
    """So many CPU threads of PyTorch in the block; as they are for None, or when the work is elsewhere.

    In short operations two threads mostly wait for each other, on a busy machine for several times as long as the work
    takes, and their number may change sums.
    """
    if device.type != "cpu" or count is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
