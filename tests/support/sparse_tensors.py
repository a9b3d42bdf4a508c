"""Random sparse tensors, and what a dense convolution makes of them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from fewview.detect.sparse import SparseConvTensor
from torch import Tensor


@pytest.fixture(autouse=True)
def same_layers() -> None:
    """Every test draws the same weights in its layers, whichever ran before."""
    torch.manual_seed(0)


def random_sparse(
    shape: Sequence[int] = (6, 7, 8),
    batch: int = 2,
    channels: int = 4,
    density: float = 0.2,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> SparseConvTensor:
    """A bounded tensor whose rows are in no order."""
    generator = torch.Generator().manual_seed(seed)
    indices = (torch.rand(batch, *shape, generator=generator) < density).nonzero().int()
    indices = indices[torch.randperm(len(indices), generator=generator)]
    features = torch.randn(len(indices), channels, generator=generator, dtype=dtype)
    return SparseConvTensor(features, indices, shape, batch)


def random_unbounded(
    n: int = 120,
    batch: int = 2,
    channels: int = 4,
    stride: int = 1,
    extent: int = 5,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> SparseConvTensor:
    """An unbounded tensor around the origin: coordinates are multiples of the stride, about half of them negative."""
    generator = torch.Generator().manual_seed(seed)
    coordinates = torch.randint(-extent, extent, (n, 3), generator=generator) * stride
    items = torch.randint(0, batch, (n, 1), generator=generator)
    indices = torch.unique(torch.cat([items, coordinates], dim=1), dim=0)
    indices = indices[torch.randperm(len(indices), generator=generator)]
    features = torch.randn(len(indices), channels, generator=generator, dtype=dtype)
    return SparseConvTensor(features, indices.int(), None, batch, stride=stride)


def random_weight(
    cout: int, kernel: Sequence[int], cin: int, seed: int = 1, dtype: torch.dtype = torch.float32
) -> Tensor:
    """[cout, k0, k1, k2, cin]."""
    return torch.randn(cout, *kernel, cin, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def occupancy(x: SparseConvTensor) -> Tensor:
    """[B, 1, D, H, W], 1 where a voxel is."""
    return x.replace_feature(torch.ones(len(x), 1, dtype=x.features.dtype)).dense()


def dense_weight(weight: Tensor) -> Tensor:
    """[cout, cin, k0, k1, k2] of torch's conv3d."""
    return weight.permute(0, 4, 1, 2, 3)


def as_dict(x: SparseConvTensor) -> dict[tuple[int, ...], Tensor]:
    """The features of each voxel."""
    return {tuple(where): row for where, row in zip(x.indices.tolist(), x.features, strict=True)}
