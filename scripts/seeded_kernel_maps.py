"""Kernel maps of each kind of convolution on one seeded set of voxels, for checks of its products."""

from __future__ import annotations

import torch
from fewview.detect.sparse import CoordinateSet, kernel_map
from fewview.detect.sparse.kernel_map import KernelMap


def kernel_maps(device: str) -> dict[str, KernelMap]:
    """A kernel map of each kind of convolution on one seeded set of voxels."""
    g = torch.Generator().manual_seed(0)
    present = (torch.rand(2, 6, 7, 8, generator=g) < 0.3).nonzero().int()
    voxels = CoordinateSet.checked(present.to(device), 2, (6, 7, 8))
    doubled = present * torch.tensor([1, 2, 2, 2], dtype=torch.int32)
    coarse = CoordinateSet.checked(doubled.to(device), 2, None, 2)
    strided = kernel_map.spconv_strided(voxels, (3, 3, 3), (2, 2, 2), (1, 1, 1), (1, 1, 1))[1]
    return {
        "submanifold": kernel_map.submanifold_map(voxels, (3, 3, 3), (1, 1, 1)),
        "strided": strided,
        "inverse": strided.transposed(),
        "generative": kernel_map.generative_map(coarse, (3, 3, 3), (2, 2, 2))[1],
    }
