"""`MeshBoundMotion`: Gaussians that lie on the faces of a mesh whose vertices move (DreamMesh4D, Li et al. 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import ClassVar

import torch
from torch import Tensor

from .gaussians import SH_C0, Gaussians
from .geometry import Similarity, quat_exp, quat_multiply
from .motion import at_place, check_times, place_in_time
from .triangle_mesh import Mesh


@dataclass(frozen=True)
class MeshBoundMotion:
    """V vertices at T moments, linear in between, and N Gaussians each at a place of one of F faces.

    A Gaussian is at the barycentric mean of its face's corners, whatever its canonical mean, and its canonical rotation
    is turned by exp of the same mean of the vertices' rotation vectors (DreamMesh4D, section 3.3).
    """

    kind: ClassVar[str] = "mesh_bound"

    times_s: Tensor  # [T] increasing
    positions: Tensor  # [T, V, 3]
    turns: Tensor  # [T, V, 3] rotation vectors from rest, radians
    vertices: Tensor  # [V, 3] at rest
    faces: Tensor  # [F, 3] int32, below V
    face: Tensor  # [N] int32, below F
    barycentric: Tensor  # [N, 3] that sum to one

    def __post_init__(self) -> None:
        moments, vertices = self.positions.shape[:2] if self.positions.ndim == 3 else (-1, -1)
        faces, count = (len(t) if t.ndim else -1 for t in (self.faces, self.face))
        expected = {
            "positions": (moments, vertices, 3), "turns": (moments, vertices, 3), "vertices": (vertices, 3),
            "faces": (faces, 3), "face": (count,), "barycentric": (count, 3),
        }  # fmt: skip
        for name, shape in expected.items():
            if tuple(getattr(self, name).shape) != shape:
                raise ValueError(f"{name}: expected shape {shape}, found {tuple(getattr(self, name).shape)}")
        check_times(self.times_s, moments)
        for name, index, below in (("faces", self.faces, vertices), ("face", self.face, faces)):
            if index.numel() and not (int(index.min()) >= 0 and int(index.max()) < below):
                raise ValueError(f"{name} should hold numbers from 0 to {below - 1}")

    @property
    def time_range_s(self) -> tuple[float, float]:
        return float(self.times_s[0]), float(self.times_s[-1])

    def at(self, canonical: Gaussians, time_s: float) -> Gaussians:
        place = place_in_time(self.times_s, time_s)
        corners = self.faces[self.face.long()].long()
        weights = self.barycentric[..., None]
        means = (weights * at_place(self.positions, place)[corners]).sum(1)
        turned = quat_exp((weights * at_place(self.turns, place)[corners]).sum(1))
        return replace(canonical, means=means, quats=quat_multiply(turned, canonical.quats))

    def frozen(self, time_s: float) -> MeshBoundMotion:
        """The mesh as it is at a moment, which is its rest from then on."""
        now = at_place(self.positions, place_in_time(self.times_s, time_s))
        return replace(
            self, times_s=self.times_s[:1], positions=now[None], turns=torch.zeros_like(now)[None], vertices=now
        )

    def to(self, device: torch.device | str) -> MeshBoundMotion:
        return MeshBoundMotion(self.times_s, **{n: t.to(device) for n, t in self.tensors().items() if n != "times_s"})

    def rows(self, index: Tensor) -> MeshBoundMotion:
        return replace(self, face=self.face[index], barycentric=self.barycentric[index])

    def moved(self, new_from_old: Similarity) -> MeshBoundMotion:
        move = new_from_old.double()
        turns = self.turns.double() @ move.rotation.to(self.turns.device).T
        return replace(
            self,
            positions=move(self.positions.double()).to(self.positions),
            turns=turns.to(self.turns),
            vertices=move(self.vertices.double()).to(self.vertices),
        )

    def mesh(self, canonical: Gaussians) -> Mesh:
        """The moving mesh, each vertex in the colour of the Gaussians near it on its faces, by their opacities."""
        corners = self.faces[self.face.long()].long()
        rgb = 0.5 + SH_C0 * canonical.sh[:, 0]
        weights = self.barycentric * canonical.opacities[:, None]
        total = torch.zeros_like(self.vertices).index_add_(
            0, corners.flatten(), (weights[..., None] * rgb[:, None]).flatten(0, 1)
        )
        share = total.new_zeros(len(total)).index_add_(0, corners.flatten(), weights.flatten())
        colors = (255 * total / share.clamp_min(1e-9)[:, None]).clamp(0, 255).round().to(torch.uint8)
        return Mesh(self.positions[0], self.faces.long(), colors=colors, positions=self.positions, times_s=self.times_s)

    def tensors(self) -> dict[str, Tensor]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], count: int) -> MeshBoundMotion:
        known = [f.name for f in fields(cls)]
        if absent := [name for name in known if name not in tensors]:
            raise ValueError(f"the tensor '{absent[0]}' is missing")
        types = {"times_s": torch.float64, "faces": torch.int32, "face": torch.int32}
        motion = cls(**{name: tensors[name].to(types.get(name, torch.float32)) for name in known})
        if len(motion.face) != count:
            raise ValueError(f"it moves {len(motion.face)} Gaussians, and there are {count}")
        return motion
