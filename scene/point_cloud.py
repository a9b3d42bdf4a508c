"""`PointCloud`: coloured points, and which views saw them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .unrounded import unrounded


@dataclass(frozen=True)
class PointCloud:
    """N points in the world frame. `metric` says whether a unit is a metre.

    `seen_point` and `seen_view` are T observations: point `seen_point[t]` was matched in view `seen_view[t]`.
    """

    xyz: Tensor  # [N, 3] float32; float64 while a reader is at work on it
    rgb: Tensor  # [N, 3] uint8, sRGB
    seen_point: Tensor | None = None  # [T] int64
    seen_view: Tensor | None = None  # [T] int64
    metric: bool = False
    exact: Tensor | None = None  # [N, 3] float64, what xyz was rounded from; see `unrounded_xyz`

    def __post_init__(self) -> None:
        if self.xyz.shape != self.rgb.shape or self.xyz.ndim != 2 or self.xyz.shape[1] != 3:
            raise ValueError(
                f"expected xyz [N, 3] and rgb [N, 3], found {tuple(self.xyz.shape)}, {tuple(self.rgb.shape)}"
            )

    @classmethod
    def empty(cls) -> PointCloud:
        """No points, and no observations of them."""
        return cls(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.uint8), *torch.zeros(2, 0, dtype=torch.int64))

    def __len__(self) -> int:
        return self.xyz.shape[0]

    def __getitem__(self, index: Any) -> PointCloud:
        """A boolean mask [N] or indices [M]; observations are carried along.

        >>> cloud = PointCloud(torch.arange(6.0).reshape(2, 3), torch.zeros(2, 3, dtype=torch.uint8))
        >>> cloud[cloud.xyz[:, 2] > 3].xyz.tolist()
        [[3.0, 4.0, 5.0]]
        """
        keep = torch.arange(len(self), device=self.xyz.device)[index]
        exact = None if self.exact is None else self.exact[keep]
        if self.seen_point is None or self.seen_view is None:
            return PointCloud(self.xyz[keep], self.rgb[keep], metric=self.metric, exact=exact)
        new_index = torch.full((len(self),), -1, dtype=torch.int64, device=self.xyz.device)
        new_index[keep] = torch.arange(len(keep), device=self.xyz.device)
        moved = new_index[self.seen_point]
        kept = moved >= 0
        return PointCloud(self.xyz[keep], self.rgb[keep], moved[kept], self.seen_view[kept], self.metric, exact)

    def to(self, device: torch.device | str) -> PointCloud:
        seen_point = None if self.seen_point is None else self.seen_point.to(device)
        seen_view = None if self.seen_view is None else self.seen_view.to(device)
        exact = None if self.exact is None else self.exact.to(device)
        return PointCloud(self.xyz.to(device), self.rgb.to(device), seen_point, seen_view, self.metric, exact)

    @property
    def unrounded_xyz(self) -> Tensor:
        """`xyz` float64 [N, 3], as exactly as the source gave it."""
        return unrounded(self.xyz, self.exact)

    def in_views(self, views: list[int], at_least: int = 2) -> PointCloud:
        """The points that at least `at_least` of these views see, with views renumbered 0.. in the given order.

        Points without observations are all kept: nothing is known against them.
        """
        if self.seen_point is None or self.seen_view is None:
            return self
        n_views = max([int(self.seen_view.max()) if len(self.seen_view) else 0, *views]) + 1
        new_view = torch.full((n_views,), -1, dtype=torch.int64)
        new_view[torch.as_tensor(views, dtype=torch.int64)] = torch.arange(len(views))
        view = new_view[self.seen_view]
        inside = view >= 0
        pairs = torch.unique(torch.stack([self.seen_point[inside], view[inside]], dim=1), dim=0)
        count = torch.bincount(pairs[:, 0], minlength=len(self))
        renumbered = PointCloud(self.xyz, self.rgb, pairs[:, 0], pairs[:, 1], self.metric, self.exact)
        return renumbered[count >= at_least]
