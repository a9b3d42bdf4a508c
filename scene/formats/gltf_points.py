"""Points and vertices of meshes in glTF files that hold no splat."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..point_cloud import PointCloud
from .gltf import EXTENSION, SPZ_EXTENSIONS, is_gltf, refuse_extensions
from .gltf_container import FLOAT, GLB_MAGIC, MAX_GLB_JSON_BYTES, MAX_TEXT_BYTES, Gltf, read_gltf
from .gltf_nodes import placed_meshes
from .packing import srgb

_COLORS: dict[int, bool | None] = {FLOAT: False, 5121: True, 5123: True}
_GREY = 128


def is_gltf_mesh(path: Path) -> bool:
    """True where a file is glTF and names no splats; the JSON is searched, not decoded."""
    with path.open("rb") as file:
        head = file.read(64)
        if not is_gltf(path, head):
            return False
        length = MAX_TEXT_BYTES
        if head[:4] == GLB_MAGIC:
            length = min(struct.unpack_from("<I", head.ljust(20, b"\0"), 12)[0], MAX_GLB_JSON_BYTES)
            file.seek(20)
        else:
            file.seek(0)
        text = file.read(length)
        return not any(name.encode() in text for name in (EXTENSION, SPZ_EXTENSIONS[-1]))


def read_gltf_points(path: Path) -> tuple[PointCloud, int]:
    """(the vertices of all meshes in the scene where its nodes put them, how many faces are not among them).

    Colours are those of the vertices, grey where there are none: textures are not looked at. Raises BadInputError for a
    file that is damaged, and for nodes that stretch or mirror their mesh.
    """
    gltf = read_gltf(path)
    refuse_extensions(gltf)
    xyz: list[torch.Tensor] = []
    rgb: list[np.ndarray] = []
    faces = 0
    budget = gltf.budget()
    for mesh_index, motion in placed_meshes(gltf):
        mesh = gltf.item("meshes", mesh_index, "a node")
        for i, primitive in enumerate(gltf.objects(mesh, "primitives", f"meshes[{mesh_index}]")):
            where = f"meshes[{mesh_index}].primitives[{i}]"
            attributes = primitive.get("attributes")
            if not isinstance(attributes, dict) or "POSITION" not in attributes:
                continue
            means = torch.from_numpy(
                gltf.accessor(attributes["POSITION"], f"POSITION of {where}", gltf.positions, "VEC3")
            )
            budget -= means.nbytes
            if budget < 0:
                raise gltf.fail("its nodes show more points than its buffers hold.")
            xyz.append(means if motion is None else motion(means.double()).float())
            rgb.append(_colors(gltf, attributes, where, len(means)))
            faces += _faces(gltf, primitive, len(means))
    if not xyz:
        raise gltf.fail("no primitive with positions is in its scene, so there is nothing to show.")
    cloud = PointCloud(torch.cat(xyz), torch.from_numpy(np.concatenate(rgb)))
    return cloud[cloud.xyz.isfinite().all(1)], faces


def _colors(gltf: Gltf, attributes: dict[str, Any], where: str, count: int) -> np.ndarray:
    """uint8 [count, 3] sRGB; glTF has linear ones."""
    if "COLOR_0" not in attributes:
        return np.full((count, 3), _GREY, np.uint8)
    kind = gltf.item("accessors", attributes["COLOR_0"], where).get("type")
    linear = gltf.accessor(attributes["COLOR_0"], f"COLOR_0 of {where}", _COLORS, "VEC3" if kind == "VEC3" else "VEC4")[
        :, :3
    ]
    if len(linear) != count:
        raise gltf.fail(f"COLOR_0 of {where} has {len(linear)} elements for {count} positions.")
    linear = np.nan_to_num(linear.astype(np.float64)).clip(0, 1)
    return (srgb(linear) * 255 + 0.5).astype(np.uint8)


def _faces(gltf: Gltf, primitive: dict[str, Any], vertices: int) -> int:
    """Triangles of a primitive, for the sentence that they are not drawn; 0 of points and lines."""
    mode = primitive.get("mode", 4)
    if mode not in (4, 5, 6):
        return 0
    corners = vertices
    if "indices" in primitive:
        accessor = gltf.item("accessors", primitive["indices"], "the indices of a primitive")
        corners = gltf.whole(accessor, "count", "the indices of a primitive")
    return corners // 3 if mode == 4 else max(0, corners - 2)
