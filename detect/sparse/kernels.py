"""Dispatch of convolution and pooling: the native kernels, spconv on a GPU, or plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from . import gpu, native_conv, reference_conv
from .kernel_map import KernelMap

HALVES = (torch.float16, torch.bfloat16)  # computed in float32, but for convolutions in bfloat16


def convolve(features: Tensor, weight: Tensor, bias: Tensor | None, kernel_map: KernelMap) -> Tensor:
    """features [N_in, Cin], weight [Cout, K, Cin], bias [Cout] -> [N_out, Cout] in the type of the features.

    On the CPU, bfloat16 features or `torch.autocast("cpu", torch.bfloat16)` have features and weights rounded to
    bfloat16. Sums stay float32. Processors with AVX512_BF16 take about half the time, others as long as in float32.
    """
    if _is_native(features):
        rounded = features.dtype == torch.bfloat16 or _autocasts_to_bfloat16()
        bias = None if bias is None else bias.float()
        return native_conv.convolve(features.float(), weight.float(), bias, kernel_map, rounded).to(features.dtype)
    if features.is_cuda and gpu.is_available():
        out = gpu.convolve(features, weight, kernel_map)
    else:
        out = reference_conv.convolve(features, weight, kernel_map)
    return out if bias is None else out + bias.to(out.dtype)


def max_pool(features: Tensor, kernel_map: KernelMap) -> Tensor:
    """The largest of the present inputs: [N_in, C] -> [N_out, C]."""
    if _is_native(features):
        return native_conv.max_pool(features.float(), kernel_map).to(features.dtype)
    return reference_conv.max_pool(features, kernel_map)


def avg_pool(features: Tensor, kernel_map: KernelMap) -> Tensor:
    """The mean of the present inputs: [N_in, C] -> [N_out, C]."""
    if _is_native(features):
        return native_conv.avg_pool(features.float(), kernel_map).to(features.dtype)
    return reference_conv.avg_pool(features, kernel_map)


def _is_native(features: Tensor) -> bool:
    return features.is_cpu and features.dtype in (torch.float32, *HALVES)


def _autocasts_to_bfloat16() -> bool:
    return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
