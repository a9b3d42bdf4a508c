"""The one place that chooses who computes: the native kernels, spconv on a GPU, or plain PyTorch."""

from __future__ import annotations

from torch import Tensor

from . import reference
from .kernel_map import KernelMap


def convolve(features: Tensor, weight: Tensor, kernel_map: KernelMap) -> Tensor:
    """features [N_in, Cin], weight [Cout, K, Cin] -> [N_out, Cout]."""
    return reference.convolve(features, weight, kernel_map)


def max_pool(features: Tensor, kernel_map: KernelMap) -> Tensor:
    """The largest of the present inputs: [N_in, C] -> [N_out, C]."""
    return reference.max_pool(features, kernel_map)


def avg_pool(features: Tensor, kernel_map: KernelMap) -> Tensor:
    """The mean of the present inputs: [N_in, C] -> [N_out, C]."""
    return reference.avg_pool(features, kernel_map)
