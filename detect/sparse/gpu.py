"""spconv or spconv-triton for tensors on a GPU: the one place where either is imported.

Only their matrix products are used (gather, multiply, scatter over given pairs), with our own kernel maps, so that
every operator here runs on them and the strided rules stay ours.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

import torch
from torch import Tensor

from .kernel_map import KernelMap

PACKAGES = ("spconv", "spconv_triton")  # the compiled one first


@functools.cache
def _package() -> tuple[Any, Any] | None:
    """The differentiable convolution over pairs of the first package that can be imported, and its algorithm."""
    for name in PACKAGES:
        try:
            functional = importlib.import_module(f"{name}.pytorch.functional")
            core = importlib.import_module(f"{name}.core")
        except (ImportError, OSError, RuntimeError):  # a build for other CUDA libraries fails in any of these
            continue
        return functional.indice_conv, core.ConvAlgo.Native
    return None


def is_available() -> bool:
    """True where spconv or spconv-triton can be imported."""
    return _package() is not None


def convolve(features: Tensor, weight: Tensor, kernel_map: KernelMap) -> Tensor:
    """features [N_in, Cin], weight [Cout, K, Cin] -> [N_out, Cout], with gradients for both."""
    package = _package()
    assert package is not None
    if kernel_map.n_pairs == 0:  # which spconv refuses to launch
        return features.new_zeros(kernel_map.n_out, weight.shape[0]) + 0 * (features.sum() + weight.sum())
    indice_conv, algorithm = package
    pairs, counts = padded_pairs(kernel_map)
    filters = weight.unsqueeze(2).unsqueeze(2).contiguous()
    return indice_conv(features.contiguous(), filters, pairs, counts, kernel_map.n_out, algorithm)


def padded_pairs(kernel_map: KernelMap) -> tuple[Tensor, Tensor]:
    """spconv's layout: int32 [2, K, longest] of input and output rows, -1 behind the last, and their counts [K]."""
    in_rows, out_rows, start = kernel_map.pairs()
    counts = torch.tensor(start, device=in_rows.device).diff()
    slot = torch.repeat_interleave(torch.arange(kernel_map.volume, device=in_rows.device), counts)
    place = torch.arange(len(in_rows), device=in_rows.device) - torch.tensor(start, device=in_rows.device)[slot]
    pairs = torch.full((2, kernel_map.volume, max(kernel_map.n_in, 1)), -1, dtype=torch.int32, device=in_rows.device)
    pairs[0, slot, place] = in_rows.int()
    pairs[1, slot, place] = out_rows.int()
    return pairs, counts.int()
