"""`Mesh`: a surface of triangles with colours or a texture, still or moving."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from .geometry import Similarity
from .motion import check_times, place_in_time
from .splat import Axis


@dataclass(frozen=True)
class Mesh:
    """V vertices in the world frame, joined by F triangles that are counter-clockwise seen from outside.

    A mesh that moves has the positions of its vertices at T moments in `positions`, `vertices` being the first of them;
    its faces, colours and texture are the same at all times. Between two moments vertices move on straight lines.

    >>> triangle = Mesh(torch.eye(3), torch.tensor([[0, 1, 2]]))
    >>> len(triangle), triangle.colors is None, triangle.time_range_s is None
    (1, True, True)
    """

    vertices: Tensor  # [V, 3] float32, metres where `metric`
    faces: Tensor  # [F, 3] int64
    normals: Tensor | None = None  # [V, 3] unit, of the vertices; at the first moment where it moves
    colors: Tensor | None = None  # [V, 3] uint8 sRGB
    uv: Tensor | None = (
        None  # [V, 2] in the texture, (0, 0) its upper left corner and (1, 1) its lower right, as in glTF
    )
    texture: Tensor | None = None  # [H, W, 3] uint8 sRGB
    positions: Tensor | None = None  # [T, V, 3]
    times_s: Tensor | None = None  # [T]
    up: Axis | None = None  # unit vector, None where nobody says
    metric: bool = False
    notes: tuple[str, ...] = ()  # sentences for the person: what was left out, filled in or lost

    def __post_init__(self) -> None:
        if (self.positions is None) != (self.times_s is None):
            raise ValueError("expected positions and times_s together, found one of them")
        if (self.texture is None) != (self.uv is None):
            raise ValueError("expected a texture and uv together, found one of them")
        V, F = (len(t) if t.ndim else -1 for t in (self.vertices, self.faces))
        moments = 0 if self.times_s is None else len(self.times_s)
        expected: dict[str, tuple[int, ...]] = {
            "vertices": (V, 3),
            "faces": (F, 3),
            "normals": (V, 3),
            "colors": (V, 3),
            "uv": (V, 2),
        }
        expected["positions"] = (moments, V, 3)
        for name, shape in expected.items():
            value = getattr(self, name)
            if value is not None and tuple(value.shape) != shape:
                raise ValueError(f"{name}: expected shape {shape}, found {tuple(value.shape)}")
        if self.texture is not None and (
            self.texture.ndim != 3 or self.texture.shape[2] != 3 or 0 in self.texture.shape
        ):
            raise ValueError(f"texture: expected shape (H, W, 3), found {tuple(self.texture.shape)}")
        if F and not (int(self.faces.min()) >= 0 and int(self.faces.max()) < V):
            raise ValueError(f"faces: expected indices 0 to {V - 1}, found {self.faces.min()} to {self.faces.max()}")
        if self.times_s is not None:
            check_times(self.times_s, moments)

    def __len__(self) -> int:
        """Number of faces."""
        return len(self.faces)

    def __getitem__(self, index: Any) -> Mesh:
        """The mesh of some of the faces: a mask [F] or indices; vertices that none of them has are left out.

        >>> two = Mesh(torch.rand(4, 3), torch.tensor([[0, 1, 2], [1, 3, 2]]))
        >>> two[torch.tensor([False, True])].faces.tolist()
        [[0, 2, 1]]
        """
        faces = self.faces[index].reshape(-1, 3)
        kept, renumbered = faces.unique(return_inverse=True)
        parts = {name: getattr(self, name) for name in ("normals", "colors", "uv")}
        less: dict[str, Any] = {name: None if part is None else part[kept] for name, part in parts.items()}
        return replace(
            self,
            vertices=self.vertices[kept],
            faces=renumbered.reshape(-1, 3),
            positions=None if self.positions is None else self.positions[:, kept],
            **less,
        )

    def to(self, device: torch.device | str) -> Mesh:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        tensors: dict[str, Any] = {name: t.to(device) for name, t in values.items() if isinstance(t, Tensor)}
        return replace(self, **tensors)

    @property
    def time_range_s(self) -> tuple[float, float] | None:
        """First and last moment; None for a mesh that does not move."""
        return None if self.times_s is None else (float(self.times_s[0]), float(self.times_s[-1]))

    def at(self, time_s: float | None = None) -> Mesh:
        """The still mesh of a moment, the first one when None; before and after its range it stands still.

        Normals are those of the first moment, so they are left out at any other.
        """
        if self.positions is None or self.times_s is None:
            return self
        before, share = place_in_time(self.times_s, float(self.times_s[0]) if time_s is None else time_s)
        vertices = self.positions[before]
        if share > 0:
            vertices = torch.lerp(vertices, self.positions[before + 1], share)
        first = before == 0 and share == 0
        normals = self.normals if first else None
        return replace(self, vertices=vertices, normals=normals, positions=None, times_s=None)

    def moved(self, new_from_old: Similarity) -> Mesh:
        """The same mesh in another frame, by way of double precision. `up` and `metric` are left to the caller."""
        like = self.vertices
        move = Similarity(*(t.to(like.device, torch.float64) for t in vars(new_from_old).values()))
        normals = None if self.normals is None else (self.normals.double() @ move.rotation.T).to(self.normals)
        positions = None if self.positions is None else move(self.positions.double()).to(self.positions)
        return replace(self, vertices=move(like.double()).to(like), normals=normals, positions=positions)
