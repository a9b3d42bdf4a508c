"""The device, the threads and the seed that a command computes with."""

from __future__ import annotations

import importlib.util

import torch

from .. import _native
from ..scene.errors import BadInputError
from .options import Common


def prepare(options: Common) -> torch.device:
    """Set threads and seed, and return the device. Raises BadInputError when it is asked for and not there."""
    set_threads(options.threads)
    torch.manual_seed(options.seed)
    return choose_device(options.device)


def set_threads(count: int | None) -> None:
    """CPU threads of PyTorch and of the native kernels; None leaves them as they are."""
    if count is not None:
        torch.set_num_threads(count)
        _native.set_num_threads(count)


def choose_device(name: str) -> torch.device:
    """`cuda` for `auto` only where a GPU, its driver and gsplat are all there."""
    if name == "cpu":
        return torch.device("cpu")
    missing = what_cuda_lacks()
    if name == "cuda" and missing:
        raise BadInputError(f"--device cuda cannot be used: {missing}. Leave it out to compute on the CPU.")
    return torch.device("cpu" if missing else "cuda")


def what_cuda_lacks() -> str:
    """Empty when splatting on a GPU can work, else the reason as the end of a sentence."""
    if torch.version.cuda is None:
        return "this PyTorch was built without CUDA"
    if not torch.cuda.is_available():
        return "PyTorch finds no NVIDIA GPU with a working driver"
    if importlib.util.find_spec("gsplat") is None:
        return "gsplat is not installed (`pip install gsplat==1.5.3`)"
    return ""
