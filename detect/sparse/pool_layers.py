"""Pooling layers with spconv 2's names and argument order; `algo` and `record_voxel_count` have no effect."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from . import functional
from .coordinates import per_axis
from .functional import Size
from .modules import SparseModule
from .tensor import SparseConvTensor


class _Pool(SparseModule):
    ndim: ClassVar[int]
    subm: ClassVar[bool] = False

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        dilation: Size = 1,
        indice_key: str | None = None,
        algo: Any = None,
        record_voxel_count: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self.kernel_size, self.stride, self.padding, self.dilation = (
            per_axis(value, self.ndim)[-self.ndim :]
            for value in (kernel_size, kernel_size if stride is None else stride, padding, dilation)
        )
        self.indice_key = indice_key

    def _geometry(self) -> dict[str, Any]:
        names = ("kernel_size", "stride", "padding", "dilation", "indice_key")
        return {name: getattr(self, name) for name in names}

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class _MaxPool(_Pool):
    def forward(self, x: SparseConvTensor) -> SparseConvTensor:
        return functional.max_pool(x, **self._geometry())


class _AvgPool(_Pool):
    def forward(self, x: SparseConvTensor) -> SparseConvTensor:
        return functional.avg_pool(x, **self._geometry())


class SparseMaxPool1d(_MaxPool):
    """`SparseMaxPool3d` over one axis."""

    ndim = 1


class SparseMaxPool2d(_MaxPool):
    """`SparseMaxPool3d` over two axes."""

    ndim = 2


class SparseMaxPool3d(_MaxPool):
    """The largest present voxel under the kernel, outputs by spconv's rule."""

    ndim = 3


class SparseMaxPool4d(_MaxPool):
    """`SparseMaxPool3d` over four axes; its maps are found in plain PyTorch, which takes longer."""

    ndim = 4


class SparseAvgPool1d(_AvgPool):
    """`SparseAvgPool3d` over one axis."""

    ndim = 1


class SparseAvgPool2d(_AvgPool):
    """`SparseAvgPool3d` over two axes."""

    ndim = 2


class SparseAvgPool3d(_AvgPool):
    """The mean of the present voxels under the kernel, outputs by spconv's rule."""

    ndim = 3


class SparseAvgPool4d(_AvgPool):
    """`SparseAvgPool3d` over four axes; its maps are found in plain PyTorch, which takes longer."""

    ndim = 4


class SparseGlobalMaxPool(SparseModule):
    """The largest feature of each batch item, [B, C]; 0 where an item has no voxels."""

    def forward(self, x: SparseConvTensor) -> Tensor:
        return functional.global_max_pool(x)


class SparseGlobalAvgPool(SparseModule):
    """The mean feature of each batch item, [B, C]; 0 where an item has no voxels."""

    def forward(self, x: SparseConvTensor) -> Tensor:
        return functional.global_avg_pool(x)
