"""Points of a cloud by the voxel they fall into: spconv's rule, and its `PointToVoxel`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...scene.errors import BadInputError


@torch.no_grad()
def group_points(
    cells: Tensor,  # [P, D] int64, the cell of each point, slowest axis first
    grid: Sequence[int],  # [D] cells
    max_voxels: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Voxel int64 [P] of each point, its place int64 [P] among the points of its voxel, and the cells [N, D] of voxels.

    Voxels are numbered by their first point, so that the limit drops those that come last. A point outside the grid or
    in a dropped voxel has voxel -1.
    """
    inside = ((cells >= 0) & (cells < cells.new_tensor(grid))).all(dim=1).nonzero()[:, 0]
    key = torch.zeros_like(inside)
    for axis, size in enumerate(grid):
        key = key * size + cells[inside, axis]
    key, order = key.sort(stable=True)
    _, voxel, count = key.unique_consecutive(return_inverse=True, return_counts=True)
    start = count.cumsum(0) - count
    first = order[start]  # of the points inside
    number = torch.empty_like(count)
    number[first.argsort()] = torch.arange(len(count), device=cells.device)
    voxel_of = torch.full_like(cells[:, 0], -1)
    place_of = torch.zeros_like(voxel_of)
    rows = inside[order]
    voxel_of[rows] = torch.where(number[voxel] < max_voxels, number[voxel], -1)
    place_of[rows] = torch.arange(len(order), device=cells.device) - start[voxel]
    return voxel_of, place_of, cells[inside[first.sort().values[:max_voxels]]]


class PointToVoxel:
    """Point clouds to voxels with their points, by spconv's name and arguments, in plain PyTorch.

    A voxel keeps its first `max_num_points_per_voxel` points; the first `max_num_voxels` voxels are kept, in the order
    of their first points. Points outside the range are left out.
    """

    def __init__(
        self,
        vsize_xyz: Sequence[float],  # metres
        coors_range_xyz: Sequence[float],  # least of every axis, then largest, metres
        num_point_features: int,
        max_num_voxels: int,
        max_num_points_per_voxel: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self.ndim = len(vsize_xyz)
        if len(coors_range_xyz) != 2 * self.ndim or num_point_features < self.ndim:
            raise BadInputError(
                f"{self.ndim} voxel sizes need a range of {2 * self.ndim} numbers and at least as many features of a "
                f"point, but {len(coors_range_xyz)} and {num_point_features} were given."
            )
        self.num_point_features = num_point_features
        self.max_num_voxels, self.max_num_points_per_voxel = max_num_voxels, max_num_points_per_voxel
        self.device = torch.device(device)
        self.vsize = torch.tensor(vsize_xyz, dtype=torch.float32, device=self.device)
        low, high = torch.tensor(coors_range_xyz, dtype=torch.float32, device=self.device).view(2, -1)
        self.coors_range = low, high
        self.grid_size: list[int] = ((high - low) / self.vsize).round().long().flip(0).tolist()  # slowest axis first
        if min(self.grid_size) < 1:
            raise BadInputError(f"The range {list(coors_range_xyz)} holds no voxel of {list(vsize_xyz)}.")

    def __call__(
        self, pc: Tensor, clear_voxels: bool = True, empty_mean: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Voxels [N, P, F], their cells int32 [N, ndim], slowest axis first, and how many points int32 [N] each has."""
        return self.generate_voxel_with_id(pc, clear_voxels, empty_mean)[:3]

    @torch.no_grad()
    def generate_voxel_with_id(
        self, pc: Tensor, clear_voxels: bool = True, empty_mean: bool = False
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The same, and the voxel int64 [M] of every point of `pc` [M, F], -1 where it has none.

        Places that no point fills are 0, or with `empty_mean` the mean of the voxel's points. `clear_voxels` has no
        effect: nothing is left over from an earlier call.
        """
        if pc.ndim != 2 or pc.shape[1] != self.num_point_features:
            raise BadInputError(f"The points are {list(pc.shape)}; expected [M, {self.num_point_features}].")
        cells = ((pc[:, : self.ndim] - self.coors_range[0]) / self.vsize).floor().long().flip(1)
        voxel, place, found = group_points(cells, self.grid_size, self.max_num_voxels)
        kept = (voxel >= 0) & (place < self.max_num_points_per_voxel)
        voxels = pc.new_zeros(len(found), self.max_num_points_per_voxel, pc.shape[1])
        voxels[voxel[kept], place[kept]] = pc[kept]
        count = torch.bincount(voxel[kept], minlength=len(found))
        if empty_mean:
            empty = torch.arange(self.max_num_points_per_voxel, device=pc.device) >= count[:, None]
            voxels = torch.where(empty[..., None], (voxels.sum(1) / count[:, None])[:, None], voxels)
        return voxels, found.int(), count.int(), voxel
