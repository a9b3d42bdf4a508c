"""Convolution layers with spconv 2's names, argument order and weight layout [Cout, one size an axis, Cin].

`indice_key` is needed only where an inverse convolution follows: maps are shared by the identity of the set of voxels,
whatever the keys say, and results are the same. `algo`, `fp32_accum`, `record_voxel_count` and `large_kernel_fast_algo`
are taken and have no effect: they choose among spconv's kernels for one result.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...scene.errors import BadInputError
from . import functional
from .coordinates import per_axis
from .functional import Size
from .modules import SparseModule
from .tensor import SparseConvTensor


class _Convolution(SparseModule):
    """The parameters of a convolution, started as spconv does (Kaiming uniform, fan-in over the whole kernel)."""

    ndim: ClassVar[int]
    subm: ClassVar[bool] = False
    inverse: ClassVar[bool] = False
    transposed: ClassVar[bool] = False

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
        algo: Any = None,
        fp32_accum: bool | None = None,
        record_voxel_count: bool = False,
        large_kernel_fast_algo: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        if groups != 1:
            raise BadInputError(f"Sparse convolutions here have one group, but groups={groups} was given.")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride, self.padding, self.dilation = (
            per_axis(value, self.ndim)[-self.ndim :] for value in (kernel_size, stride, padding, dilation)
        )
        self.indice_key = indice_key
        self.weight = nn.Parameter(torch.empty(out_channels, *self.kernel_size, in_channels))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def kernel(self) -> Tensor:
        """The weight [Cout, one size an axis, Cin] as the convolution takes it.

        spconv 2 multiplies by the memory of a kernel of one cell as if it were [Cin, Cout], whatever the shape says; so
        do these layers, or its trained weights would mean something else.
        """
        if math.prod(self.kernel_size) != 1 or (set(self.stride) != {1} and not self.subm) or self.transposed:
            return self.weight
        return self.weight.reshape(self.in_channels, self.out_channels).T.reshape(self.weight.shape)

    def reset_parameters(self) -> None:
        """Draws new weights in U(-b, b), b = 1 / sqrt(fan-in)."""
        bound = 1 / math.sqrt(self.in_channels * math.prod(self.kernel_size))
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, bias={self.bias is not None}"


class _Submanifold(_Convolution):
    subm = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if set(self.stride) != {1}:
            raise BadInputError(f"A submanifold convolution has stride 1, but {self.stride} was given.")

    def forward(self, x: SparseConvTensor) -> SparseConvTensor:
        return functional.submanifold_conv(x, self.kernel(), self.bias, self.dilation)


class _Strided(_Convolution):
    def forward(self, x: SparseConvTensor) -> SparseConvTensor:
        return functional.strided_conv(
            x, self.kernel(), self.bias, self.stride, self.padding, self.dilation, indice_key=self.indice_key
        )


class _Transposed(_Convolution):
    transposed = True

    def forward(self, x: SparseConvTensor) -> SparseConvTensor:
        return functional.transposed_conv(x, self.weight, self.bias, self.stride, self.padding, self.dilation)


class _Inverse(_Convolution):
    inverse = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        indice_key: str,
        bias: bool = True,
        algo: Any = None,
        fp32_accum: bool | None = None,
        large_kernel_fast_algo: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, bias=bias, indice_key=indice_key, name=name)
        self.key = indice_key

    def forward(self, x: SparseConvTensor) -> SparseConvTensor:
        return functional.inverse_conv(x, self.weight, self.bias, self.key)


class SubMConv1d(_Submanifold):
    """`SubMConv3d` over one axis."""

    ndim = 1


class SubMConv2d(_Submanifold):
    """`SubMConv3d` over two axes."""

    ndim = 2


class SubMConv3d(_Submanifold):
    """Submanifold convolution: the voxels stay; the kernel is odd and centred, whatever the padding (as in spconv)."""

    ndim = 3


class SubMConv4d(_Submanifold):
    """`SubMConv3d` over four axes; its maps are found in plain PyTorch, which takes longer."""

    ndim = 4


class SparseConv1d(_Strided):
    """`SparseConv3d` over one axis."""

    ndim = 1


class SparseConv2d(_Strided):
    """`SparseConv3d` over two axes."""

    ndim = 2


class SparseConv3d(_Strided):
    """Strided convolution by spconv's rule: outputs wherever the kernel reaches a voxel."""

    ndim = 3


class SparseConv4d(_Strided):
    """`SparseConv3d` over four axes; its maps are found in plain PyTorch, which takes longer."""

    ndim = 4


class SparseConvTranspose1d(_Transposed):
    """`SparseConvTranspose3d` over one axis."""

    ndim = 1


class SparseConvTranspose2d(_Transposed):
    """`SparseConvTranspose3d` over two axes."""

    ndim = 2


class SparseConvTranspose3d(_Transposed):
    """Transposed convolution that makes voxels wherever an input reaches, inside the enlarged grid."""

    ndim = 3


class SparseConvTranspose4d(_Transposed):
    """`SparseConvTranspose3d` over four axes; its maps are found in plain PyTorch, which takes longer."""

    ndim = 4


class SparseInverseConv1d(_Inverse):
    """`SparseInverseConv3d` over one axis."""

    ndim = 1


class SparseInverseConv2d(_Inverse):
    """`SparseInverseConv3d` over two axes."""

    ndim = 2


class SparseInverseConv3d(_Inverse):
    """Back to the voxels of the strided convolution or pool with the same `indice_key`, over the same pairs."""

    ndim = 3


class SparseInverseConv4d(_Inverse):
    """`SparseInverseConv3d` over four axes; its maps are found in plain PyTorch, which takes longer."""

    ndim = 4
