"""`Boxes`: oriented 3D boxes with a class each, as annotations and detectors give them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from .geometry import Similarity, quat_from_rotation, quat_multiply, rotation_from_quat

# Corners in half sizes: the face in front (local +x) first, then the one behind, as in the nuScenes devkit.
CORNERS = (
    (1, 1, 1), (1, -1, 1), (1, -1, -1), (1, 1, -1),
    (-1, 1, 1), (-1, -1, 1), (-1, -1, -1), (-1, 1, -1),
)  # fmt: skip
EDGES = (
    (0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7),
)  # fmt: skip


@dataclass(frozen=True)
class Boxes:
    """N boxes in one frame, which the holder names; in metres wherever the source is metric.

    A box's own axes are x forward (the heading), y left, z up. `labels` index `names`; -1 is a class outside of them.
    """

    centers: Tensor  # [N, 3] geometric centres
    sizes: Tensor  # [N, 3] length (local x), width (local y), height (local z)
    quats: Tensor  # [N, 4] wxyz, frame_from_box
    labels: Tensor  # [N] int64
    names: tuple[str, ...]
    scores: Tensor | None = None  # [N]
    velocities: Tensor | None = None  # [N, 3] m/s along the frame's axes, NaN where unknown
    point_counts: Tensor | None = None  # [N, 2] int64: LiDAR and radar points inside, as the data set counted them
    attributes: tuple[str, ...] | None = None  # one each, "" for none
    tokens: tuple[str, ...] | None = None  # one each, the data set's own identifier

    def __post_init__(self) -> None:
        n = self.centers.shape[0] if self.centers.ndim else -1
        expected = {
            "centers": (n, 3), "sizes": (n, 3), "quats": (n, 4), "labels": (n,), "scores": (n,),
            "velocities": (n, 3), "point_counts": (n, 2),
        }  # fmt: skip
        for name, shape in expected.items():
            value = getattr(self, name)
            if value is not None and tuple(value.shape) != shape:
                raise ValueError(f"{name}: expected shape {shape}, found {tuple(value.shape)}")
        for name in ("attributes", "tokens"):
            value = getattr(self, name)
            if value is not None and len(value) != n:
                raise ValueError(f"{name}: expected {n}, one for each box, found {len(value)}")
        if n and not -1 <= int(self.labels.min()) <= int(self.labels.max()) < len(self.names):
            raise ValueError(f"labels: expected -1 to {len(self.names) - 1}, found {self.labels.tolist()}")

    @classmethod
    def upright(
        cls,
        centers: Tensor,  # [N, 3]
        sizes: Tensor,  # [N, 3] length, width, height
        yaws_rad: Tensor,  # [N] from +x towards +y
        labels: Tensor,  # [N]
        names: Sequence[str],
        **others: Any,
    ) -> Boxes:
        """Boxes turned about the frame's z only; `others` are the remaining fields.

        >>> center, size, yaw = torch.tensor([[10.0, 2.0, 0.8]]), torch.tensor([[4.6, 1.9, 1.6]]), torch.zeros(1)
        >>> car = Boxes.upright(center, size, yaw, torch.tensor([0]), ["car"])
        >>> car.names[car.labels[0]], car.quats.tolist()
        ('car', [[1.0, 0.0, 0.0, 0.0]])
        """
        zero = torch.zeros_like(yaws_rad)
        quats = torch.stack([(yaws_rad / 2).cos(), zero, zero, (yaws_rad / 2).sin()], dim=-1)
        return cls(centers, sizes, quats, labels, tuple(names), **others)

    @classmethod
    def empty(cls, names: Sequence[str] = (), dtype: torch.dtype = torch.float32) -> Boxes:
        centers, sizes, quats = (torch.zeros(0, width, dtype=dtype) for width in (3, 3, 4))
        return cls(centers, sizes, quats, torch.zeros(0, dtype=torch.int64), tuple(names))

    @classmethod
    def cat(cls, parts: Sequence[Boxes]) -> Boxes:
        """All boxes of `parts`, at least one, with equal names; a field that one part lacks is dropped."""
        if any(part.names != parts[0].names for part in parts):
            raise ValueError(f"expected equal class names, found {sorted({part.names for part in parts})}")
        columns: dict[str, Any] = {"names": parts[0].names}
        for name in (f.name for f in fields(cls) if f.name != "names"):
            values = [getattr(part, name) for part in parts]
            if any(value is None for value in values):
                columns[name] = None
            elif isinstance(values[0], tuple):
                columns[name] = tuple(item for value in values for item in value)
            else:
                columns[name] = torch.cat(values)
        return cls(**columns)

    def __len__(self) -> int:
        return self.centers.shape[0]

    def __getitem__(self, index: Any) -> Boxes:
        """A slice, a boolean mask [N], indices [M], or one index (a batch of one box)."""
        if not isinstance(index, slice):
            index = torch.arange(len(self))[index.cpu() if isinstance(index, Tensor) else index].reshape(-1)
        columns: dict[str, Any] = {}
        for name in (f.name for f in fields(self) if f.name != "names"):
            value = getattr(self, name)
            if isinstance(value, Tensor):
                columns[name] = value[index if isinstance(index, slice) else index.to(value.device)]
            elif value is not None:
                columns[name] = value[index] if isinstance(index, slice) else tuple(value[i] for i in index.tolist())
        return replace(self, **columns)

    def to(self, device_or_dtype: torch.device | torch.dtype | str) -> Boxes:
        """On another device, or in another floating-point type (integers stay as they are)."""
        moved: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, Tensor) and (
                value.is_floating_point() or not isinstance(device_or_dtype, torch.dtype)
            ):
                moved[f.name] = value.to(device_or_dtype)
        return replace(self, **moved)

    def name(self, index: int, other: str = "other") -> str:
        """The class of one box in words."""
        label = int(self.labels[index])
        return other if label < 0 else self.names[label]

    @property
    def rotations(self) -> Tensor:
        """frame_from_box [N, 3, 3]; the first column is the heading."""
        return rotation_from_quat(self.quats)

    @property
    def yaws(self) -> Tensor:
        """Radians [N] in (-pi, pi]: the heading's angle from the frame's +x towards +y, seen along z."""
        heading = self.rotations[:, :, 0]
        return torch.atan2(heading[:, 1], heading[:, 0])

    @property
    def corners(self) -> Tensor:
        """[N, 8, 3] in the order of CORNERS; EDGES index them."""
        local = torch.tensor(CORNERS).to(self.sizes) * self.sizes[:, None] / 2
        return local @ self.rotations.transpose(-1, -2) + self.centers[:, None]

    @property
    def segments(self) -> Tensor:
        """[N, 13, 2, 3]: the twelve edges, then the heading: middle of the floor to middle of its front edge."""
        corners = self.corners
        edges = corners[:, torch.tensor(EDGES, device=corners.device)]
        floor = corners[:, [2, 3, 6, 7]].mean(dim=1)
        return torch.cat([edges, torch.stack([floor, corners[:, 2:4].mean(dim=1)], dim=1)[:, None]], dim=1)

    def moved(self, new_from_old: Similarity | Tensor) -> Boxes:
        """The same boxes in another frame: a Similarity, or a rigid [4, 4]; velocities turn and scale with it."""
        if isinstance(new_from_old, Similarity):
            scale, rotation, translation = (t.to(self.centers) for t in vars(new_from_old).values())
        else:
            rotation, translation = (t.to(self.centers) for t in (new_from_old[:3, :3], new_from_old[:3, 3]))
            scale = torch.ones_like(translation[0])
        return replace(
            self,
            centers=Similarity(scale, rotation, translation)(self.centers),
            sizes=self.sizes * scale,
            quats=quat_multiply(quat_from_rotation(rotation), self.quats),
            velocities=None if self.velocities is None else scale * self.velocities @ rotation.T,
        )

    def contains(self, points: Tensor) -> Tensor:
        """bool [N, P]: which of the points [P, 3] of the same frame lie in or on which box."""
        inside = torch.zeros(len(self), len(points), dtype=torch.bool, device=points.device)
        box_from_frame = self.rotations.transpose(-1, -2)
        for i in range(len(self)):  # one by one: N x P x 3 numbers can be more than there is memory for
            local = (points.to(self.centers) - self.centers[i]) @ box_from_frame[i].T
            inside[i] = (local.abs() <= self.sizes[i] / 2).all(dim=-1)
        return inside
