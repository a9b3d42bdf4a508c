"""Meshes in glTF 2.0: triangles with base colours, textures, colours of vertices, and animated morph targets.

Source: registry.khronos.org/glTF, specification 2.0, sections 3.7 (meshes, morph targets), 3.9 (materials), 3.11.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadInputError
from ..formats.gltf import refuse_extensions
from ..formats.gltf_container import FLOAT, MAX_COPIES, Gltf, bytes_at, read_gltf
from ..formats.gltf_nodes import placed_nodes
from ..formats.packing import linear_light, srgb
from ..triangle_mesh import Mesh
from .mesh_parts import Part, joined
from .texture_files import texture_from_bytes

TRIANGLES, STRIP, FAN = 4, 5, 6
METRIC = "fewview_metric"  # in the extras of the asset: false where a unit is not known to be the metre of glTF
MAX_IMAGE_BYTES = 2**28
_FLOATS: dict[int, bool | None] = {FLOAT: False}
_COLORS: dict[int, bool | None] = {FLOAT: False, 5121: True, 5123: True}
_NORMALS: dict[int, bool | None] = {FLOAT: False, 5120: True, 5122: True}
_UV: dict[int, bool | None] = {FLOAT: False, 5121: True, 5123: True}


def has_faces(gltf: Gltf) -> bool:
    """True where some primitive of the file is made of triangles."""
    meshes = gltf.items("meshes")
    primitives = [p for i, mesh in enumerate(meshes) for p in gltf.objects(mesh, "primitives", f"meshes[{i}]")]
    return any(p.get("mode", TRIANGLES) in (TRIANGLES, STRIP, FAN) for p in primitives)


def read_gltf_mesh(path: Path) -> Mesh:
    """All triangles of the scene in a `.glb` or `.gltf`, put where its nodes have them; y is up.

    Morph targets that an animation drives make it a mesh that moves; animations of nodes and skins do not, and are
    said in notes. Raises BadInputError for a file that is damaged, for pictures and buffers outside of the folder, and
    for compression other than meshopt's of attributes.
    """
    gltf = read_gltf(path)
    refuse_extensions(gltf)
    notes: list[str] = []
    weights = _animated_weights(gltf, notes)
    times = np.unique(np.concatenate([curve.times for curve in weights.values()])) if weights else None
    budget = [gltf.budget()]
    parts = []
    looks = _Looks(gltf, notes)
    skipped = 0
    for node, mesh_index, file_from_mesh in placed_nodes(gltf):
        mesh = gltf.item("meshes", mesh_index, "a node")
        for i, primitive in enumerate(gltf.objects(mesh, "primitives", f"meshes[{mesh_index}]")):
            where = f"meshes[{mesh_index}].primitives[{i}]"
            if primitive.get("mode", TRIANGLES) not in (TRIANGLES, STRIP, FAN):
                skipped += 1
                continue
            part = _part(gltf, primitive, where, looks, weights.get(node), times, budget)
            parts.append(_placed(part, file_from_mesh))
    if skipped:
        notes.append(f"{path.name}: {skipped} primitives of points or lines are not shown.")
    if gltf.items("skins"):
        notes.append(f"{path.name} has a skin, which is not played; its mesh is shown as it lies in the file.")
    extras = gltf.json["asset"].get("extras")
    metric = not (isinstance(extras, dict) and extras.get(METRIC) is False)
    return joined(path, parts, notes, None if times is None else times, metric=metric)


def _part(
    gltf: Gltf,
    primitive: dict[str, Any],
    where: str,
    looks: _Looks,
    weights: _Weights | None,
    times: np.ndarray | None,
    budget: list[int],
) -> Part:
    """One primitive in the frame of its mesh."""
    attributes = primitive.get("attributes")
    extensions = primitive.get("extensions", {})
    if isinstance(extensions, dict) and (packed := [name for name in extensions if "compression" in name]):
        raise gltf.fail(f"{where} is compressed with {packed[0][:80]}, which is not read here; export it without.")
    if not isinstance(attributes, dict) or "POSITION" not in attributes:
        raise gltf.fail(f"{where} has no POSITION.")
    vertices = gltf.accessor(attributes["POSITION"], f"POSITION of {where}", gltf.positions, "VEC3")
    count = len(vertices)
    corners = np.arange(count)
    if "indices" in primitive:
        corners = gltf.indices(primitive["indices"], f"the indices of {where}")
    faces = _triangles(gltf, corners, primitive.get("mode", TRIANGLES), where)
    moments = 1 if times is None else len(times) + 1
    budget[0] -= vertices.nbytes * moments + faces.nbytes // 4
    if budget[0] < 0:
        raise gltf.fail(f"its nodes and moments show more than {MAX_COPIES} times what its buffers hold.")

    def column(name: str, allowed: dict[int, bool | None], kind: str) -> np.ndarray | None:
        if name not in attributes:
            return None
        values = gltf.accessor(attributes[name], f"{name} of {where}", allowed, kind)
        if len(values) != count:
            raise gltf.fail(f"{name} of {where} has {len(values)} elements for {count} positions.")
        return values

    look = looks.of(primitive)
    uv = None if look.texture is None else column(f"TEXCOORD_{look.uv_set}", _UV, "VEC2")
    colors = None
    if "COLOR_0" in attributes:
        kind = gltf.item("accessors", attributes["COLOR_0"], where).get("type")
        linear = column("COLOR_0", _COLORS, "VEC3" if kind == "VEC3" else "VEC4")
        assert linear is not None
        colors = _bytes(np.nan_to_num(linear[:, :3]) * look.factor)
    elif look.texture is None and look.is_colored:
        colors = np.tile(_bytes(look.factor), (count, 1))
    positions = None if times is None else _morphed(gltf, primitive, where, vertices, weights, times)
    return Part(
        vertices if positions is None else positions[0],
        faces,
        column("NORMAL", _NORMALS, "VEC3"),
        None if uv is not None else colors,
        uv,
        None if uv is None else look.texture,
        positions,
    )


def _triangles(gltf: Gltf, corners: np.ndarray, mode: int, where: str) -> np.ndarray:
    """int64 [F, 3] of a list, a strip or a fan of triangles."""
    if mode == TRIANGLES:
        if len(corners) % 3:
            raise gltf.fail(f"{where} has {len(corners)} corners, which is no multiple of 3.")
        return corners.reshape(-1, 3)
    n = max(len(corners) - 2, 0)
    i = np.arange(n)
    if mode == FAN:
        return np.stack([np.broadcast_to(corners[:1], n), corners[1 : n + 1], corners[2:]], axis=1)
    odd = i % 2
    return np.stack([corners[i], corners[i + 1 + odd], corners[i + 2 - odd]], axis=1)


def _placed(part: Part, file_from_mesh: np.ndarray) -> Part:
    """The part where its node puts it; one that is mirrored has its faces turned, so that outside stays outside."""
    if np.array_equal(file_from_mesh, np.eye(4)):
        return part
    linear, shift = file_from_mesh[:3, :3], file_from_mesh[:3, 3]

    def put(points: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):
            return (points.astype(np.float64) @ linear.T + shift).astype(np.float32)

    normals = part.normals
    determinant = np.linalg.det(linear)
    if normals is not None and determinant != 0:
        with np.errstate(over="ignore", invalid="ignore"):
            turned = normals.astype(np.float64) @ np.linalg.inv(linear)
            normals = (turned / np.linalg.norm(turned, axis=1, keepdims=True).clip(1e-30)).astype(np.float32)
    return Part(
        put(part.vertices),
        part.faces[:, ::-1] if determinant < 0 else part.faces,
        normals if determinant != 0 else None,
        part.colors,
        part.uv,
        part.texture,
        None if part.positions is None else put(part.positions),
    )


def _bytes(linear: np.ndarray) -> np.ndarray:
    return (srgb(linear.astype(np.float64).clip(0, 1)) * 255 + 0.5).astype(np.uint8)


# -- materials ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Look:
    """The base colour of a material."""

    factor: np.ndarray  # [3] linear
    texture: np.ndarray | None = None  # [H, W, 3] uint8 sRGB, the factor in it
    uv_set: int = 0

    @property
    def is_colored(self) -> bool:
        return bool((self.factor != 1).any())


class _Looks:
    """The materials of a file, each read once."""

    def __init__(self, gltf: Gltf, notes: list[str]) -> None:
        self._gltf, self._notes = gltf, notes
        self._known: dict[int, _Look] = {}
        self._images: dict[int, np.ndarray | None] = {}

    def of(self, primitive: dict[str, Any]) -> _Look:
        index = primitive.get("material")
        if index is None:
            return _Look(np.ones(3))
        material = self._gltf.item("materials", index, "a primitive")
        if index not in self._known:
            self._known[index] = self._read(material, f"materials[{index}]")
        return self._known[index]

    def _read(self, material: dict[str, Any], where: str) -> _Look:
        base = material.get("pbrMetallicRoughness", {})
        base = base if isinstance(base, dict) else {}
        factor = np.ones(3)
        given = base.get("baseColorFactor")
        if isinstance(given, list) and len(given) == 4 and all(isinstance(v, int | float) for v in given):
            factor = np.array(given[:3], np.float64).clip(0, 1)
        info = base.get("baseColorTexture")
        if not isinstance(info, dict):
            return _Look(factor)
        if isinstance(info.get("extensions"), dict) and "KHR_texture_transform" in info["extensions"]:
            self._notes.append(
                f"{self._gltf.path.name} moves a texture by KHR_texture_transform, which is not done here."
            )
        picture = self._picture(info.get("index"), where)
        if picture is None:
            return _Look(factor)
        if (factor != 1).any():
            table = _bytes(linear_light(np.arange(256) / 255)[:, None] * factor)
            picture = np.stack([table[picture[..., c], c] for c in range(3)], axis=-1)
        return _Look(np.ones(3), picture, self._gltf.whole(info, "texCoord", f"the texture of {where}", 0))

    def _picture(self, texture_index: Any, where: str) -> np.ndarray | None:
        """None, with a note, for a picture that is of no use: without it the shape is still there."""
        gltf = self._gltf
        texture = gltf.item("textures", texture_index, where)
        source = texture.get("source")
        if source is None:
            extensions = texture.get("extensions", {})
            inner = [e["source"] for e in extensions.values() if isinstance(e, dict) and "source" in e]
            source = inner[0] if inner else None
        image = gltf.item("images", source, f"textures[{texture_index}]")
        assert isinstance(source, int)  # `item` has looked
        if source not in self._images:
            name = f"images[{source}]"
            try:
                self._images[source] = texture_from_bytes(self._image_bytes(image, name), f"{gltf.path}, {name}")
            except BadInputError as error:
                self._notes.append(f"{gltf.path.name}: a texture was left out. {error}")
                self._images[source] = None
        return self._images[source]

    def _image_bytes(self, image: dict[str, Any], name: str) -> bytes | memoryview:
        if isinstance(uri := image.get("uri"), str):
            return bytes_at(self._gltf, name, uri, MAX_IMAGE_BYTES)
        return self._gltf.view(image.get("bufferView"), name)[0]


# -- morph targets --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Weights:
    times: np.ndarray  # [K] float32, increasing
    values: np.ndarray  # [K, targets] float32
    is_step: bool

    def at(self, times: np.ndarray) -> np.ndarray:
        """float64 [len(times), targets]"""
        if self.is_step:
            return self.values[np.searchsorted(self.times, times, "right").clip(1) - 1].astype(np.float64)
        return np.stack([np.interp(times, self.times, column) for column in self.values.T], axis=1)


def _animated_weights(gltf: Gltf, notes: list[str]) -> dict[int, _Weights]:
    """The curves of morph weights by node; the first animation that has one for a node gives it."""
    found: dict[int, _Weights] = {}
    others = False
    for a, animation in enumerate(gltf.items("animations")):
        where = f"animations[{a}]"
        samplers = gltf.objects(animation, "samplers", where)
        for channel in gltf.objects(animation, "channels", where):
            target = channel.get("target")
            if not isinstance(target, dict) or target.get("path") != "weights":
                others = True
                continue
            node, which = target.get("node"), channel.get("sampler")
            if not isinstance(node, int) or node in found:
                continue
            if not isinstance(which, int) or not 0 <= which < len(samplers):
                raise gltf.fail(f"{where} names samplers[{str(which)[:40]}], but there are {len(samplers)}.")
            found[node] = _weights(gltf, samplers[which], f"{where}.samplers[{which}]", notes)
    if others:
        notes.append(f"{gltf.path.name} moves nodes or bones, which is not played; what lies in the file is shown.")
    return found


def _weights(gltf: Gltf, sampler: dict[str, Any], where: str, notes: list[str]) -> _Weights:
    times = gltf.accessor(sampler.get("input"), f"the times of {where}", _FLOATS, "SCALAR")[:, 0]
    values = gltf.accessor(sampler.get("output"), f"the weights of {where}", _NORMALS | _UV, "SCALAR")[:, 0]
    way = sampler.get("interpolation", "LINEAR")
    if way == "CUBICSPLINE":
        notes.append(f"{gltf.path.name} moves along splines; between their knots it is shown on straight lines.")
    per_key = 3 if way == "CUBICSPLINE" else 1
    if not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        raise gltf.fail(f"the times of {where} should be finite and increase.")
    if not np.isfinite(values).all() or len(values) % (len(times) * per_key):
        raise gltf.fail(f"{where} has {len(values)} weights for {len(times)} times, or some that are no numbers.")
    values = values.reshape(len(times), per_key, -1)[:, per_key // 2]
    return _Weights(times, values, way == "STEP")


def _morphed(
    gltf: Gltf, primitive: dict[str, Any], where: str, vertices: np.ndarray, weights: _Weights | None, times: np.ndarray
) -> np.ndarray:
    """float32 [T, V, 3]: the vertices at the times."""
    moved = np.repeat(vertices[None], len(times), axis=0)
    targets = gltf.objects(primitive, "targets", where)
    if weights is None:
        return moved
    at = weights.at(times)
    if at.shape[1] != len(targets):
        raise gltf.fail(f"{where} has {len(targets)} morph targets, but its animation has weights for {at.shape[1]}.")
    for i, target in enumerate(targets):
        if "POSITION" not in target:
            continue
        shift = gltf.accessor(target["POSITION"], f"targets[{i}] of {where}", gltf.positions, "VEC3")
        if shift.shape != vertices.shape:
            raise gltf.fail(f"targets[{i}] of {where} has {len(shift)} elements for {len(vertices)} positions.")
        for t in np.flatnonzero(at[:, i]):
            moved[t] += (at[t, i] * shift).astype(np.float32)
    return moved
