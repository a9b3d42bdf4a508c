"""Layers with spconv 2's names that need no kernel: containers, tables, and plain layers over features."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ...scene.errors import BadInputError
from .tensor import SparseConvTensor


class SparseModule(nn.Module):
    """A layer that takes and gives a SparseConvTensor (SparseSequential hands plain layers the features only)."""

    def __init__(self, name: str | None = None) -> None:
        super().__init__()
        self.name = name


class ToDense(SparseModule):
    """[B, C, *spatial] with zeros where no voxel is."""

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
            self.add(layer, name)

    def add(self, module: nn.Module, name: str | None = None) -> None:
        """Put one more layer behind the last, called by its number unless it has a name."""
        name = str(len(self._modules)) if name is None else name
        if name in self._modules:
            raise BadInputError(f"Two layers are called '{name}'.")
        self.add_module(name, module)

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


class AddTable(SparseModule):
    """The sum of a list of tensors of the same rows."""

    def forward(self, tensors: list[SparseConvTensor]) -> SparseConvTensor:
        _require_same_rows(tensors)
        return tensors[0].replace_feature(torch.stack([x.features for x in tensors]).sum(0))


class JoinTable(SparseModule):
    """The channels of a list of tensors of the same rows, one after another."""

    def forward(self, tensors: list[SparseConvTensor]) -> SparseConvTensor:
        _require_same_rows(tensors)
        return tensors[0].replace_feature(torch.cat([x.features for x in tensors], dim=1))


class ConcatTable(SparseModule):
    """The tensors that its layers make of one, as a list (for AddTable and JoinTable)."""

    def forward(self, x: Any) -> list[Any]:
        return [layer(x) for layer in self.children()]

    def add(self, module: nn.Module) -> ConcatTable:
        """Put one more layer beside the others."""
        self.add_module(str(len(self._modules)), module)
        return self


class SparseBatchNorm(nn.BatchNorm1d):
    """Batch normalisation of the features of a sparse tensor, or of a plain one."""

    def forward(self, x: Any) -> Any:
        if not isinstance(x, SparseConvTensor):
            return super().forward(x)
        return x.replace_feature(super().forward(x.features)) if len(x) else x


class SparseReLU(nn.ReLU):
    """ReLU of the features of a sparse tensor, or of a plain one."""

    def forward(self, x: Any) -> Any:
        return x.replace_feature(super().forward(x.features)) if isinstance(x, SparseConvTensor) else super().forward(x)


def _empty_through(layer: nn.Module, x: SparseConvTensor) -> SparseConvTensor:
    """A tensor without voxels behind a plain layer, which is asked in evaluation mode for its number of channels."""
    was_training = layer.training
    layer.eval()
    try:
        return x.replace_feature(layer(x.features))
    finally:
        layer.train(was_training)


def _require_same_rows(tensors: list[SparseConvTensor]) -> None:
    first = tensors[0]
    for other in tensors[1:]:
        if other.coordinates is not first.coordinates and not torch.equal(other.indices, first.indices):
            raise BadInputError("The tensors of a table do not have the same voxels in the same rows; add them by `+`.")
