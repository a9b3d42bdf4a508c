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
# What each multiplies in; others become float32. Their own autocast rule, which makes everything float16 whatever type
# was asked for, is switched off.
TYPES = {
    "spconv": (torch.float32, torch.float16),
    "spconv_triton": (torch.float32, torch.float16, torch.bfloat16),
}


@functools.cache
def _package() -> tuple[Any, Any, tuple[torch.dtype, ...]] | None:
    """The convolution over pairs of the first package that can be imported, its algorithm, and its types."""
    for name in PACKAGES:
        try:
            functional = importlib.import_module(f"{name}.pytorch.functional")
            core = importlib.import_module(f"{name}.core")
        except (ImportError, OSError, RuntimeError):  # a build for other CUDA libraries fails in any of these
            continue
        return functional.indice_conv, core.ConvAlgo.Native, TYPES[name]
    return None


def is_available() -> bool:
    """True where spconv or spconv-triton can be imported."""
    return _package() is not None


def compiles_at_first_use() -> bool:
    """True where the products are spconv-triton's, which compiles and tunes them when they are first asked for."""
    package = _package()
    return package is not None and package[2] is TYPES["spconv_triton"]


def convolve(features: Tensor, weight: Tensor, kernel_map: KernelMap) -> Tensor:
    """features [N_in, Cin], weight [Cout, K, Cin] -> [N_out, Cout], with gradients for both.

    Computes in the type of the features, or in autocast's where the package multiplies in it.
    """
    package = _package()
    assert package is not None
    if kernel_map.n_pairs == 0:  # which spconv refuses to launch
        return features.new_zeros(kernel_map.n_out, weight.shape[0]) + 0 * (features.sum() + weight.sum())
    indice_conv, algorithm, types = package
    wanted = _wanted_type(features)
    dtype = wanted if wanted in types else torch.float32
    pairs, counts = padded_pairs(kernel_map)
    filters = weight.to(dtype).unsqueeze(2).unsqueeze(2).contiguous()
    with torch.autocast(features.device.type, enabled=False):
        out = indice_conv(features.to(dtype).contiguous(), filters, pairs, counts, kernel_map.n_out, algorithm)
    return out.to(wanted)


def _wanted_type(features: Tensor) -> torch.dtype:
    kind = features.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else features.dtype


def padded_pairs(kernel_map: KernelMap) -> tuple[Tensor, Tensor]:
    """spconv's layout: int32 [2, K, longest] of input and output rows, -1 behind the last, and their counts [K].

    Made once for a map, whose layers share it.
    """
    if kernel_map.padded is None:
        kernel_map.padded = _padded(kernel_map)
    return kernel_map.padded


def _padded(kernel_map: KernelMap) -> tuple[Tensor, Tensor]:
    in_rows, out_rows, start = kernel_map.pairs()
    device = in_rows.device
    begins = torch.tensor(start, device=device)
    counts = begins.diff()
    slots = torch.arange(kernel_map.volume, device=device)
    slot = torch.repeat_interleave(slots, counts, output_size=len(in_rows))  # without the size it waits for the GPU
    place = torch.arange(len(in_rows), device=device) - begins[slot]
    pairs = torch.full((2, kernel_map.volume, max(kernel_map.n_in, 1)), -1, dtype=torch.int32, device=device)
    pairs[0, slot, place] = in_rows.int()
    pairs[1, slot, place] = out_rows.int()
    return pairs, counts.int()
