"""The native kernels as differentiable functions: features and kernel maps on the CPU, results in float32."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ... import _native
from .kernel_map import KernelMap


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor, bias: Tensor | None, kernel_map: KernelMap, rounded: bool
    ) -> Tensor:
        kind = torch.bfloat16 if rounded else torch.float32
        features, weight = features.to(kind).contiguous(), weight.to(kind).contiguous()
        out = torch.empty(kernel_map.n_out, weight.shape[0])
        if rounded and _native.has_bf16():
            arrays = (_paired_bits(features), _paired_bits(weight), _array(bias), out.numpy())
            _native.sparse_conv_bf16(kernel_map.tiles, *arrays)
        else:
            arrays = (_array(features.float()), _array(weight.float()), _array(bias), out.numpy())
            _native.sparse_conv(kernel_map.tiles, *arrays, backward=False, flip=False)
        ctx.save_for_backward(features, weight)
        ctx.kernel_map = kernel_map
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v_out: Tensor) -> Any:
        # In float32. Rounding counts as the identity, as in autocast: this is the gradient at the rounded values.
        features, weight = (saved.float() for saved in ctx.saved_tensors)
        kernel_map: KernelMap = ctx.kernel_map
        gradient = v_out.contiguous().numpy()
        v_features = v_weight = v_bias = None
        if ctx.needs_input_grad[0]:
            v_features = torch.empty_like(features)
            # A symmetric map is its own transposed one, with the slots in reverse.
            tiles = kernel_map.tiles if kernel_map.symmetric else kernel_map.transposed().tiles
            arrays = (gradient, weight.numpy(), None, v_features.numpy())
            _native.sparse_conv(tiles, *arrays, backward=True, flip=kernel_map.symmetric)
        if ctx.needs_input_grad[1]:
            v_weight = torch.empty_like(weight)
            _native.sparse_conv_weight(kernel_map.tiles, features.numpy(), gradient, v_weight.numpy())
        if ctx.needs_input_grad[2]:
            v_bias = v_out.sum(0)
        return v_features, v_weight, v_bias, None, None


class _Pool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, kernel_map: KernelMap, of_largest: bool) -> Tensor:
        features = features.contiguous()
        out = torch.empty(kernel_map.n_out, features.shape[1])
        source = torch.empty(out.shape, dtype=torch.int32) if of_largest else None
        _native.sparse_pool(kernel_map.tiles, _array(features), out.numpy(), _array(source))
        if source is not None:
            ctx.save_for_backward(source)
        ctx.kernel_map = kernel_map
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v_out: Tensor) -> Any:
        v_in = torch.empty(ctx.kernel_map.n_in, v_out.shape[1])
        source = ctx.saved_tensors[0] if ctx.saved_tensors else None
        tiles = ctx.kernel_map.transposed().tiles
        _native.sparse_pool_backward(tiles, v_out.contiguous().numpy(), _array(source), v_in.numpy())
        return v_in, None, None


def convolve(
    features: Tensor,  # [N_in, Cin]
    weight: Tensor,  # [Cout, K, Cin]
    bias: Tensor | None,  # [Cout] float32
    kernel_map: KernelMap,
    rounded: bool = False,
) -> Tensor:
    """[N_out, Cout] float32; `rounded`: features and weights are rounded to bfloat16, and sums stay float32."""
    return _Convolve.apply(features, weight, bias, kernel_map, rounded)


def max_pool(features: Tensor, kernel_map: KernelMap) -> Tensor:
    """The largest of the present inputs, the first slot where several are equal: [N_in, C] -> [N_out, C]."""
    return _Pool.apply(features, kernel_map, True)


def avg_pool(features: Tensor, kernel_map: KernelMap) -> Tensor:
    """The mean of the present inputs: [N_in, C] -> [N_out, C]."""
    return _Pool.apply(features, kernel_map, False) / kernel_map.counts()[:, None]


def _array(tensor: Tensor | None) -> Any:
    return None if tensor is None else tensor.detach().numpy()


def _paired_bits(tensor: Tensor) -> Any:
    """The bits of bfloat16 [..., C] as int16, with a channel of zeros where their number is odd."""
    tensor = F.pad(tensor, (0, 1)) if tensor.shape[-1] % 2 else tensor
    return tensor.view(torch.int16).detach().numpy()
