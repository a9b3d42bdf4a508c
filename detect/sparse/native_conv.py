"""The native kernels as differentiable functions: float32 features and kernel maps on the CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ... import _native
from .kernel_map import KernelMap


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor, bias: Tensor | None, kernel_map: KernelMap, rounded: bool
    ) -> Tensor:
        features, weight = features.contiguous(), weight.contiguous()
        out = torch.empty(kernel_map.n_out, weight.shape[0])
        by_processor = rounded and _native.prefers_bf16()
        factors = (features, weight) if by_processor or not rounded else (_rounded(features), _rounded(weight))
        arrays = (_array(factors[0]), _array(factors[1]), _array(bias), out.numpy())
        _native.sparse_conv(kernel_map.tiles, *arrays, backward=False, flip=False, rounded=by_processor)
        ctx.save_for_backward(features, weight)
        ctx.rounded = rounded
        ctx.kernel_map = kernel_map
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v_out: Tensor) -> Any:
        features, weight = ctx.saved_tensors
        if ctx.rounded:
            # Rounding counts as the identity, as in autocast: this is the gradient at the rounded values, in float32.
            features, weight = _rounded(features), _rounded(weight)
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


def _rounded(tensor: Tensor) -> Tensor:
    return tensor.detach().bfloat16().float()
