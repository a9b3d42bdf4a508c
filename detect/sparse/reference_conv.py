"""Sparse convolution and pooling in plain PyTorch: the reference implementation of the native kernels.

It also serves float64 and other devices. Operators gather, multiply and add, one slot of the kernel at a time.
Everything is differentiable by autograd.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .kernel_map import KernelMap


def convolve(features: Tensor, weight: Tensor, kernel_map: KernelMap) -> Tensor:
    """The sum of W_k in[i] over pairs of slot k: features [N_in, Cin], weight [Cout, K, Cin] -> [N_out, Cout]."""
    out = features.new_zeros(kernel_map.n_out, weight.shape[0])
    for k in range(kernel_map.volume):
        in_rows, out_rows = kernel_map.slot(k)
        if len(in_rows):
            # Under autocast the products are of 16 bits, and the sum of the features' own.
            out = out.index_add(0, out_rows, (features[in_rows] @ weight[:, k].T).to(out.dtype))
    # An empty map still hands gradients (of zero) to both.
    return out if kernel_map.n_pairs else out + 0 * (features.sum() + weight.sum())


def max_pool(features: Tensor, kernel_map: KernelMap) -> Tensor:
    """The largest of the present inputs, the first slot where several are equal: [N_in, C] -> [N_out, C]."""
    best = features.new_full((kernel_map.n_out, features.shape[1]), -torch.inf)
    source = torch.zeros(best.shape, dtype=torch.int64, device=features.device)
    with torch.no_grad():
        first = torch.ones(best.shape, dtype=torch.bool, device=features.device)
        for k in range(kernel_map.volume):
            in_rows, out_rows = kernel_map.slot(k)
            better = (features[in_rows] > best[out_rows]) | first[out_rows]
            best[out_rows] = torch.where(better, features[in_rows], best[out_rows])
            source[out_rows] = torch.where(better, in_rows[:, None], source[out_rows])
            first[out_rows] = False
    return features.gather(0, source)


def avg_pool(features: Tensor, kernel_map: KernelMap) -> Tensor:
    """The mean of the present inputs: [N_in, C] -> [N_out, C]."""
    in_rows, out_rows, _ = kernel_map.pairs()
    out = features.new_zeros(kernel_map.n_out, features.shape[1]).index_add(0, out_rows, features[in_rows])
    return out / kernel_map.counts()[:, None]
