"""Several processes that train one network, as `torchrun` starts them; their devices and memory."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator

import torch
import torch.distributed as dist

from ..scene.errors import BadInputError


@contextlib.contextmanager
def process_group(device: torch.device) -> Iterator[tuple[int, int]]:
    """(number of this process, count of processes); (0, 1) without torchrun."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield 0, 1
        return
    # Its functions have the group of all processes as a default. Imported later, by torchvision say, they would hold
    # the group beyond its end, and its threads, which ask for Python's lock, would abort the process at its exit.
    importlib.import_module("torch.distributed.nn.functional")
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield current_process()
    finally:
        dist.destroy_process_group()


def current_process() -> tuple[int, int]:
    """(number of this process, count of processes) inside of `process_group`; (0, 1) elsewhere."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def any_process(flag: bool, device: torch.device) -> bool:
    """True in all processes where it is true in any, so that all of them stop after the same step."""
    if current_process()[1] == 1:
        return flag
    together = torch.tensor(int(flag), device=device)
    dist.all_reduce(together, dist.ReduceOp.MAX)
    return bool(together)


def network_device(name: str) -> torch.device:
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


def peak_memory_gb(device: torch.device) -> float | None:
    """The most that this process had at once: of the GPU's memory, or of the computer's. None on Windows' CPUs."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    try:
        resource = importlib.import_module("resource")
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there, in KiB elsewhere
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9)


def mean_over_processes(value: torch.Tensor) -> torch.Tensor:
    """The mean of a tensor without gradient over all processes, each of which asks for it at the same moment."""
    processes = current_process()[1]
    if processes == 1:
        return value
    together = value.clone()
    dist.all_reduce(together)
    return together / processes


def is_first_process() -> bool:
    """True without torchrun, and in the first of the processes that it starts; also outside of `process_group`."""
    return int(os.environ.get("RANK", "0")) == 0


def texts_of_processes(text: str) -> list[str]:
    """The texts of all processes in their order, each of which gives one at the same moment. Nothing is pickled."""
    processes = current_process()[1]
    if processes == 1:
        return [text]
    device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
    mine = torch.frombuffer(bytearray(text.encode() or b" "), dtype=torch.uint8).to(device)
    lengths = [torch.zeros((), dtype=torch.int64, device=device) for _ in range(processes)]
    dist.all_gather(lengths, torch.tensor(len(text.encode()), device=device))
    longest = max(1, max(int(length) for length in lengths))
    padded = [torch.zeros(longest, dtype=torch.uint8, device=device) for _ in range(processes)]
    dist.all_gather(padded, torch.nn.functional.pad(mine, (0, longest - len(mine))))
    return [bytes(one[: int(length)].cpu().tolist()).decode() for one, length in zip(padded, lengths, strict=True)]
