"""The static mesh of a run's object, in one file of the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...scene.cameras import Cameras
from ...scene.triangle_mesh import Mesh
from .evidence_file import PLACED, opened_evidence, write_evidence

MESH_TENSORS = ("vertices", "faces", "colors", "uv", "texture")


def save_static_mesh(path: Path, mesh: Mesh, names: list[str] | None = None, key: str = PLACED) -> None:
    """Write a still mesh; `key` says what it was made from, and a mesh of the person's has the key of what is given."""
    tensors = {name: getattr(mesh, name) for name in MESH_TENSORS if getattr(mesh, name) is not None}
    described = {"metric": str(int(mesh.metric))}
    if mesh.up is not None:
        described["up"] = " ".join(map(repr, mesh.up))
    write_evidence(path, tensors, key, described)


def load_static_mesh(path: Path, cameras: Cameras | None = None, names: list[str] | None = None) -> Mesh:
    """Read what `save_static_mesh` wrote. Raises BadInputError for a damaged file."""
    with opened_evidence(path, "makes the mesh again") as file:
        described = file.metadata() or {}
        found = set(file.keys())
        values: dict[str, Any] = {n: file.get_tensor(n).clone() for n in MESH_TENSORS if n in found}
        if "up" in described:
            x, y, z = map(float, described["up"].split())
            values["up"] = (x, y, z)
        try:
            mesh = Mesh(**values, metric=described.get("metric") == "1")
        except (TypeError, AttributeError) as error:  # a tensor is missing
            raise ValueError(str(error)) from error
        if len(mesh) == 0 or not (int(mesh.faces.min()) >= 0 and int(mesh.faces.max()) < len(mesh.vertices)):
            raise ValueError(f"its faces do not fit its {len(mesh.vertices)} vertices")
        if not bool(mesh.vertices.isfinite().all()):
            raise ValueError("some of its vertices are no finite numbers")
        return mesh
