"""Several processes that train one network, as `torchrun` starts them."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from collections.abc import Iterator

import torch
import torch.distributed as dist

from ...scene.errors import BadInputError


@contextlib.contextmanager
def process_group(device: torch.device) -> Iterator[tuple[int, int]]:
    """(number of this process, how many there are); (0, 1) without torchrun."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield 0, 1
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield dist.get_rank(), dist.get_world_size()
    finally:
        dist.destroy_process_group()


def detection_device(name: str) -> torch.device:
    """The device for `--device`; under torchrun each process has a GPU of its own. Raises BadInputError."""
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise BadInputError(
            "--device cuda cannot be used: PyTorch finds no NVIDIA GPU with a working driver. Leave it out to compute "
            "on the CPU."
        )
    if name == "cpu" or not there:
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device


def peak_memory_gb(device: torch.device) -> float:
    """The most that this process had at once: of the GPU's memory, or of the computer's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there, in KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
