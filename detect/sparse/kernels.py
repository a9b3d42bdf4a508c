"""The one place that chooses who computes: the native kernels, spconv on a GPU, or plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from . import gpu, native, reference
from .kernel_map import KernelMap

HALVES = (torch.float16, torch.bfloat16)  # computed in float32


def convolve(features: Tensor, weight: Tensor, bias: Tensor | None, kernel_map: KernelMap) -> Tensor:
    """features [N_in, Cin], weight [Cout, K, Cin], bias [Cout] -> [N_out, Cout] in the type of the features."""
    if _is_native(features):
        halved = features.dtype
        bias = None if bias is None else bias.float()
        return native.convolve(features.float(), weight.float(), bias, kernel_map).to(halved)
    if features.is_cuda and gpu.is_available():
        out = gpu.convolve(features, weight, kernel_map)
    else:
        out = reference.convolve(features, weight, kernel_map)
    return out if bias is None else out + bias


def max_pool(features: Tensor, kernel_map: KernelMap) -> Tensor:
    """The largest of the present inputs: [N_in, C] -> [N_out, C]."""
    if _is_native(features):
        return native.max_pool(features.float(), kernel_map).to(features.dtype)
    return reference.max_pool(features, kernel_map)


def avg_pool(features: Tensor, kernel_map: KernelMap) -> Tensor:
    """The mean of the present inputs: [N_in, C] -> [N_out, C]."""
    if _is_native(features):
        return native.avg_pool(features.float(), kernel_map).to(features.dtype)
    return reference.avg_pool(features, kernel_map)


def _is_native(features: Tensor) -> bool:
    return features.is_cpu and features.dtype in (torch.float32, *HALVES)
