"""Tells whether gsplat can draw here, before anything that takes long depends on it.

gsplat can be imported where its kernels cannot be built, and then fails at the first picture; where they can be built
it compiles them at the first picture, for minutes. Both are found out here, once in a process.
"""

from __future__ import annotations

import functools
import importlib.util
import shutil
from pathlib import Path
from typing import Any

import torch

JIT_NAME = "gsplat_cuda"  # under which gsplat 1.5 keeps what it compiles, in PyTorch's folder of extensions


def gsplat_is_installed() -> bool:
    """True where the package is there, whether it works or not."""
    return importlib.util.find_spec("gsplat") is not None


def compiles_at_first_use() -> bool:
    """True where gsplat has no compiled kernels yet and finds a compiler for them, which takes minutes."""
    return gsplat_is_installed() and not _kernels_are_built() and _finds_nvcc()


@functools.cache
def gsplat_failure(device: str = "cuda") -> str:
    """Empty when gsplat draws a Gaussian and its gradient on the device, else the reason as the end of a sentence.

    Compiles gsplat's kernels where that is still to be done; `compiles_at_first_use` says so before.
    """
    if not gsplat_is_installed():
        return "gsplat is not installed (`pip install 'fewview[cuda]'`)"
    if not _kernels_are_built() and not _finds_nvcc():
        return (
            "gsplat is installed without compiled kernels and finds no CUDA compiler (nvcc) to build them: install the "
            "CUDA toolkit of PyTorch's version, or a gsplat wheel that has them"
        )
    try:
        _draw_one(device)
    except Exception as error:  # whatever a build, a driver or another version of either may raise
        first = (str(error).strip().splitlines() or ["no message"])[0].rstrip(".")
        return f"gsplat cannot draw here ({type(error).__name__}: {first})"
    return ""


def _draw_one(device: str) -> None:
    """One Gaussian in one camera of 16 x 16 pixels, and back."""
    from .rasterization import gsplat_rasterization

    def tensor(values: Any) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float32, device=device)

    means = tensor([[0.0, 0.0, 2.0]]).requires_grad_()
    colors, _, _ = gsplat_rasterization()(
        means=means,
        quats=tensor([[1.0, 0.0, 0.0, 0.0]]),
        scales=tensor([[0.2, 0.2, 0.2]]),
        opacities=tensor([0.8]),
        colors=tensor([[1.0, 1.0, 1.0]]),
        viewmats=torch.eye(4, device=device)[None],
        Ks=tensor([[[16.0, 0.0, 8.0], [0.0, 16.0, 8.0], [0.0, 0.0, 1.0]]]),
        width=16,
        height=16,
    )
    colors.sum().backward()
    if not (float(colors.detach().sum()) > 0 and means.grad is not None):
        raise RuntimeError("one Gaussian in front of the camera left no picture")


def _kernels_are_built() -> bool:
    """True where a wheel brought gsplat's kernels, or an earlier run compiled them."""
    spec = importlib.util.find_spec("gsplat")
    folders = [Path(p) for p in (spec.submodule_search_locations or ())] if spec is not None else []
    if any(file.suffix in (".so", ".pyd") for folder in folders for file in folder.glob("csrc*")):
        return True
    from torch.utils.cpp_extension import get_default_build_root

    root = Path(get_default_build_root())
    return any(root.glob(f"**/{JIT_NAME}/{JIT_NAME}.so")) or any(root.glob(f"**/{JIT_NAME}/{JIT_NAME}.pyd"))


def _finds_nvcc() -> bool:
    from torch.utils.cpp_extension import CUDA_HOME

    return shutil.which("nvcc") is not None or (CUDA_HOME is not None and (Path(CUDA_HOME) / "bin" / "nvcc").is_file())
