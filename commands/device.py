"""The device, the threads and the seed that a command computes with."""

from __future__ import annotations

import sys

import torch

from .. import _native
from ..render.gsplat_probe import compiles_at_first_use, gsplat_failure
from ..scene.errors import BadInputError
from .options import Common


def prepare(options: Common) -> torch.device:
    """Set threads and seed, and return the device. Raises BadInputError when it is asked for and not there.

    A GPU that is there but cannot be used, and the minutes that gsplat compiles for once, are told on standard error.
    """
    set_threads(options.threads)
    torch.manual_seed(options.seed)
    if not options.quiet and options.device != "cpu" and what_pytorch_lacks() == "" and compiles_at_first_use():
        print("gsplat compiles its CUDA kernels now, once on this computer; that takes some minutes.", file=sys.stderr)
    device = choose_device(options.device)
    if not options.quiet and options.device == "auto" and device.type == "cpu" and what_pytorch_lacks() == "":
        print(f"The GPU is left alone: {what_cuda_lacks()}. Computing on the CPU.", file=sys.stderr)
    return device


def set_threads(count: int | None) -> None:
    """CPU threads of PyTorch and of the native kernels; None leaves them as they are."""
    if count is not None:
        torch.set_num_threads(count)
        _native.set_num_threads(count)


def choose_device(name: str) -> torch.device:
    """`cuda` for `auto` only where a GPU, its driver and a gsplat that draws are all there."""
    if name == "cpu":
        return torch.device("cpu")
    missing = what_cuda_lacks()
    if name == "cuda" and missing:
        raise BadInputError(f"--device cuda cannot be used: {missing}. Leave it out to compute on the CPU.")
    return torch.device("cpu" if missing else "cuda")


def what_cuda_lacks() -> str:
    """Empty when splatting on a GPU works, else the reason as the end of a sentence."""
    return what_pytorch_lacks() or gsplat_failure()


def what_pytorch_lacks() -> str:
    """Empty when PyTorch can compute on a GPU, else the reason as the end of a sentence."""
    if torch.version.cuda is None:
        return "this PyTorch was built without CUDA"
    if not torch.cuda.is_available():
        return "PyTorch finds no NVIDIA GPU with a working driver"
    return ""
