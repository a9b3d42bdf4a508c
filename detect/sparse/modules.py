"""Layers with spconv 2's names, argument order and weight layout [Cout, kD, kH, kW, Cin].

`indice_key` is needed only where an inverse convolution follows: maps are shared by the identity of the set of voxels,
whatever the keys say, and results are the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ...scene.errors import BadInputError
from . import functional
from .coordinates import Triple, triple
from .functional import Size
from .tensor import SparseConvTensor


class SparseModule(nn.Module):
    """A layer that takes and gives a SparseConvTensor (SparseSequential hands plain layers the features only)."""


class _Convolution(SparseModule):
    """The parameters of a convolution, started as spconv does (Kaiming uniform, fan-in over the whole kernel)."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Size, groups: int, bias: bool) -> None:
        super().__init__()
        if groups != 1:
            raise BadInputError(f"Sparse convolutions here have one group, but groups={groups} was given.")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size: Triple = triple(kernel_size)
        self.weight = nn.Parameter(torch.empty(out_channels, *self.kernel_size, in_channels))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new weights in U(-b, b), b = 1 / sqrt(fan-in)."""
        bound = 1 / math.sqrt(self.in_channels * math.prod(self.kernel_size))
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, bias={self.bias is not None}"


class SubMConv3d(_Convolution):
    """Submanifold convolution: the voxels stay; the kernel is odd and centred, whatever the padding (as in spconv)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        indice_key: str | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, groups, bias)
        if triple(stride) != (1, 1, 1):
            raise BadInputError(f"A submanifold convolution has stride 1, but {stride} was given.")
        self.dilation = triple(dilation)
        self.indice_key = indice_key

    def forward(self, x: SparseConvTensor) -> SparseConvTensor:
        return functional.submanifold_conv(x, self.weight, self.bias, self.dilation)


class SparseConv3d(_Convolution):
    """Strided convolution by spconv's rule: outputs wherever the kernel reaches a voxel."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        indice_key: str | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, groups, bias)
        self.stride, self.padding, self.dilation = triple(stride), triple(padding), triple(dilation)
        self.indice_key = indice_key

    def forward(self, x: SparseConvTensor) -> SparseConvTensor:
        return functional.strided_conv(
            x, self.weight, self.bias, self.stride, self.padding, self.dilation, indice_key=self.indice_key
        )


class SparseConvTranspose3d(_Convolution):
    """Transposed convolution that makes voxels wherever an input reaches, inside the enlarged grid."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        indice_key: str | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, groups, bias)
        self.stride, self.padding, self.dilation = triple(stride), triple(padding), triple(dilation)
        self.indice_key = indice_key

    def forward(self, x: SparseConvTensor) -> SparseConvTensor:
        return functional.transposed_conv(x, self.weight, self.bias, self.stride, self.padding, self.dilation)


class SparseInverseConv3d(_Convolution):
    """Back to the voxels of the SparseConv3d with the same `indice_key`, over the same pairs."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Size, indice_key: str, bias: bool = True
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, 1, bias)
        self.indice_key = indice_key

    def forward(self, x: SparseConvTensor) -> SparseConvTensor:
        return functional.inverse_conv(x, self.weight, self.bias, self.indice_key)


class _Pool(SparseModule):
    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0, dilation: Size = 1) -> None:
        super().__init__()
        self.kernel_size = triple(kernel_size)
        self.stride = self.kernel_size if stride is None else triple(stride)
        self.padding, self.dilation = triple(padding), triple(dilation)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class SparseMaxPool3d(_Pool):
    """The largest present voxel under the kernel, outputs by spconv's rule."""

    def forward(self, x: SparseConvTensor) -> SparseConvTensor:
        return functional.max_pool(x, self.kernel_size, self.stride, self.padding, self.dilation)


class SparseAvgPool3d(_Pool):
    """The mean of the present voxels under the kernel, outputs by spconv's rule."""

    def forward(self, x: SparseConvTensor) -> SparseConvTensor:
        return functional.avg_pool(x, self.kernel_size, self.stride, self.padding, self.dilation)


class ToDense(SparseModule):
    """[B, C, D, H, W] with zeros where no voxel is."""

    def forward(self, x: SparseConvTensor) -> Tensor:
        return x.dense()


class SparseSequential(SparseModule):
    """Layers in a row. Sparse ones take the tensor; plain ones (normalisation, ReLU) take its features.

    Takes layers, an OrderedDict of named layers, or keyword arguments, as spconv's does.
    """

    def __init__(self, *args: Any, **kwargs: nn.Module) -> None:
        super().__init__()
        if len(args) == 1 and isinstance(args[0], dict):
            named: Iterable[tuple[str, nn.Module]] = args[0].items()
        else:
            named = ((str(i), layer) for i, layer in enumerate(args))
        for name, layer in [*named, *kwargs.items()]:
            if name in self._modules:
                raise BadInputError(f"Two layers are called '{name}'.")
            self.add_module(name, layer)

    def __len__(self) -> int:
        return len(self._modules)

    def __getitem__(self, index: int) -> nn.Module:
        return list(self.children())[index]

    def forward(self, x: Any) -> Any:
        for layer in self.children():
            if isinstance(x, SparseConvTensor) and not isinstance(layer, SparseModule):
                # Batch statistics of no rows do not exist; a tensor without voxels passes as it is.
                x = x.replace_feature(layer(x.features)) if len(x) else _empty_through(layer, x)
            else:
                x = layer(x)
        return x


def _empty_through(layer: nn.Module, x: SparseConvTensor) -> SparseConvTensor:
    """A tensor without voxels behind a plain layer, which is asked in evaluation mode for its number of channels."""
    was_training = layer.training
    layer.eval()
    try:
        return x.replace_feature(layer(x.features))
    finally:
        layer.train(was_training)
