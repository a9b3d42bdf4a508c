"""glTF 2.0 with KHR_gaussian_splatting: a splat as a primitive of points with extra attributes.

| attribute                                    | type   | value                                                       |
|----------------------------------------------|--------|-------------------------------------------------------------|
| POSITION                                     | VEC3   | as it is, with the bounds that glTF asks for                |
| COLOR_0                                      | VEC4   | for viewers of points: linear colour and opacity            |
| KHR_gaussian_splatting:ROTATION              | VEC4   | unit quaternion x, y, z, w                                  |
| KHR_gaussian_splatting:SCALE                 | VEC3   | standard deviations, linear                                 |
| KHR_gaussian_splatting:OPACITY               | SCALAR | 0 to 1                                                      |
| KHR_gaussian_splatting:SH_DEGREE_l_COEF_n    | VEC3   | spherical harmonics, n from m = -l; degrees 0 to 3          |

y is up. Source: github.com/KhronosGroup/glTF, extensions/2.0/Khronos/KHR_gaussian_splatting (release candidate).
Its drafts up to early 2026 had the logarithm of the scale, which shows by its negative values and is read as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..files import write_bytes
from ..gaussians import SH_C0, Gaussians
from ..geometry import Similarity
from ..splat import StaticSplat
from . import spz
from .clean import arrays, usable_gaussians
from .gltf_container import (
    COMPONENTS,
    FLOAT,
    GLB_MAGIC,
    MAX_COPIES,
    MESHOPT,
    WIDTHS,
    Gltf,
    compact_json,
    data_uri,
    glb_bytes,
    read_gltf,
)
from .gltf_nodes import placed_meshes
from .packing import clamped_note, constant_in_srgb, linear_light, logit, lowered, refuse_empty, sigmoid, unit_quats

EXTENSION = "KHR_gaussian_splatting"
MAX_DEGREE = 3
LINEAR_LIGHT = "lin_rec709_display"
_NAME = "glTF"
_POINTS, _ARRAY_BUFFER = 0, 34962
_USHORT = 5123
# Extensions that hold a whole SPZ file in place of the attributes; drafts of Cesium and Niantic, the last the oldest.
SPZ_EXTENSIONS = (
    "KHR_gaussian_splatting_compression_spz_2",
    "KHR_gaussian_splatting_compression_spz",
    "KHR_spz_gaussian_splats_compression",
)
_READ = (EXTENSION, *SPZ_EXTENSIONS, *MESHOPT, "KHR_mesh_quantization")
_OF_SURFACES = ("KHR_materials_", "KHR_texture_", "EXT_texture_", "KHR_lights_")  # a splat has none to look at
# Component types of each attribute, and whether they must be normalized. Signed scales are of the drafts.
_FLOATS: dict[int, bool | None] = {FLOAT: False}
_ROTATION: dict[int, bool | None] = {FLOAT: False, 5120: True, 5122: True}
_SCALE: dict[int, bool | None] = {FLOAT: False, 5120: None, 5121: None, 5122: None, _USHORT: None}
_OPACITY: dict[int, bool | None] = {FLOAT: False, 5121: True, _USHORT: True}
_SMALLEST, _LARGEST = float(np.finfo(np.float32).tiny), 3e38  # of a scale that is neither 0 nor infinite
_BELOW_ONE = 1 - 2.0**-24  # the float32 before 1: only an infinite logit is written as 1


def is_gltf(path: Path, head: bytes) -> bool:
    """True where a file, of which `head` is the beginning, is a `.glb` or a `.gltf`."""
    return head[:4] == GLB_MAGIC or (path.suffix.lower() == ".gltf" and head.lstrip()[:1] == b"{")


def read(path: Path) -> StaticSplat:
    """All splats of the scene in a `.glb` or `.gltf`, put where its nodes have them; y is up.

    Raises BadInputError for a file that is damaged, cut short or without a splat, for compression by another extension
    than SPZ or meshopt, and for nodes that stretch or mirror theirs.
    """
    gltf = read_gltf(path)
    refuse_extensions(gltf)
    notes: list[str] = []
    parts: list[Gaussians] = []
    budget = gltf.budget()
    for primitive, where, file_from_mesh in _found(gltf):
        part = _primitive(gltf, primitive, where, notes)
        if primitive["extensions"].get(EXTENSION, {}).get("colorSpace") == LINEAR_LIGHT:
            constant = torch.from_numpy(constant_in_srgb(part.sh[:, 0].numpy()))
            part = replace(part, sh=torch.cat([constant[:, None], part.sh[:, 1:]], dim=1))
        budget -= sum(tensor.nbytes for tensor in vars(part).values())
        if budget < 0:
            raise gltf.fail(f"its nodes show more than {MAX_COPIES} times what its buffers hold.")
        parts.append(part if file_from_mesh is None else part.moved(file_from_mesh))
    if not parts:
        raise gltf.fail(f"no primitive with {EXTENSION} is in its scene, so it holds no splat.")
    degree = max(part.sh_degree for part in parts)
    return StaticSplat(Gaussians.cat([_with_degree(part, degree) for part in parts]), notes=tuple(dict.fromkeys(notes)))


def write(path: Path, splat: StaticSplat) -> tuple[str, ...]:
    """Write a `.glb`, or a `.gltf` with its buffer inside where the name ends so. Nothing is quantised.

    Raises BadInputError for an empty splat and for one beyond 4 GiB.
    """
    refuse_empty(splat, _NAME)
    gaussians, notes = lowered(splat, MAX_DEGREE, _NAME)
    means, quats, log_scales, logits, sh = arrays(gaussians)
    with np.errstate(over="ignore"):
        scales = np.exp(log_scales.astype(np.float64))
    outside = (scales > _LARGEST) | ((scales < _SMALLEST) & np.isfinite(log_scales))
    notes += clamped_note("Sizes", outside, f"{_SMALLEST:.3g} to {_LARGEST:.3g}")
    scales = np.where(np.isneginf(log_scales), 0, scales.clip(_SMALLEST, _LARGEST))
    alpha = sigmoid(logits)
    alpha = np.where(np.isinf(logits), alpha, alpha.clip(_SMALLEST, _BELOW_ONE))
    columns = {
        "POSITION": means,
        "COLOR_0": _fallback_colors(sh[:, 0], alpha),
        f"{EXTENSION}:ROTATION": np.roll(unit_quats(quats), -1, axis=1),
        f"{EXTENSION}:SCALE": scales,
        f"{EXTENSION}:OPACITY": alpha[:, None],
    }
    columns |= {name: sh[:, i] for i, name in enumerate(_sh_names(gaussians.sh_degree))}
    table, body = _document(columns)
    if path.suffix.lower() == ".gltf":
        table["buffers"][0]["uri"] = data_uri(body)
        write_bytes(path, compact_json(table) + b"\n")
    else:
        write_bytes(path, glb_bytes(compact_json(table), body))
    return notes


def _document(columns: dict[str, np.ndarray]) -> tuple[dict[str, Any], bytes]:
    """(JSON, buffer): an accessor and a buffer view for each attribute; all rows are multiples of 4 bytes."""
    accessors: list[dict[str, Any]] = []
    views: list[dict[str, Any]] = []
    pieces: list[bytes] = []
    kinds = {width: kind for kind, width in WIDTHS.items()}
    offset = 0
    for name, column in columns.items():
        component = _USHORT if column.dtype == np.uint16 else FLOAT
        stored = np.ascontiguousarray(column, COMPONENTS[component])
        accessor = {
            "bufferView": len(views),
            "componentType": component,
            "count": len(stored),
            "type": kinds[stored.shape[1]],
        }
        if component == _USHORT:
            accessor["normalized"] = True
        if name == "POSITION":
            accessor |= {"min": stored.min(0).tolist(), "max": stored.max(0).tolist()}
        accessors.append(accessor)
        views.append({"buffer": 0, "byteOffset": offset, "byteLength": stored.nbytes, "target": _ARRAY_BUFFER})
        pieces.append(stored.tobytes())
        offset += stored.nbytes
    extension = {
        "kernel": "ellipse",
        "colorSpace": "srgb_rec709_display",
        "projection": "perspective",
        "sortingMethod": "cameraDistance",
    }
    primitive = {
        "attributes": {name: i for i, name in enumerate(columns)},
        "mode": _POINTS,
        "extensions": {EXTENSION: extension},
    }
    table = {
        "asset": {"version": "2.0", "generator": "Fewview"},
        "extensionsUsed": [EXTENSION],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [primitive]}],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": offset}],
    }
    return table, b"".join(pieces)


def _fallback_colors(constant: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """uint16 [N, 4]: colours of points are linear in glTF, and those of a splat are sRGB (IEC 61966-2-1)."""
    linear = linear_light((0.5 + SH_C0 * constant.astype(np.float64)).clip(0, 1))
    return (np.concatenate([linear, alpha[:, None]], axis=1) * 65535 + 0.5).astype(np.uint16)


def _sh_names(degree: int) -> list[str]:
    """The attributes of spherical harmonics, in our order: by degree, and by m from -l in each."""
    return [f"{EXTENSION}:SH_DEGREE_{l}_COEF_{n}" for l in range(degree + 1) for n in range(2 * l + 1)]


def refuse_extensions(gltf: Gltf) -> None:
    """Raises BadInputError where the file cannot be read without an extension that is not read here."""
    required = gltf.json.get("extensionsRequired")
    names = [str(name) for name in required] if isinstance(required, list) else []
    unknown = [name for name in names if name not in _READ and not name.startswith(_OF_SURFACES)]
    if unknown:
        raise gltf.fail(
            f"it needs the extension {', '.join(unknown)[:120]}, which is not read here; export it without."
        )


def _found(gltf: Gltf) -> Iterator[tuple[dict[str, Any], str, Similarity | None]]:
    """(primitive, its name for sentences, file from primitive) of each splat in the scene."""
    for mesh_index, motion in placed_meshes(gltf):
        mesh = gltf.item("meshes", mesh_index, "a node")
        for i, primitive in enumerate(gltf.objects(mesh, "primitives", f"meshes[{mesh_index}]")):
            extensions = primitive.get("extensions")
            if not isinstance(extensions, dict) or not {EXTENSION, *SPZ_EXTENSIONS} & set(extensions):
                continue
            where = f"meshes[{mesh_index}].primitives[{i}]"
            if not isinstance(primitive.get("attributes"), dict):
                raise gltf.fail(f"{where} has no attributes.")
            yield primitive, where, motion


def _primitive(gltf: Gltf, primitive: dict[str, Any], where: str, notes: list[str]) -> Gaussians:
    """The Gaussians of one primitive in its own frame."""
    packed = _check_kind(gltf, primitive["extensions"], where, notes)
    if packed is not None:
        data, _ = gltf.view(packed.get("bufferView"), f"the SPZ of {where}")
        inside = spz.read_bytes(Path(f"{gltf.path}, the SPZ of {where}"), bytes(data))
        notes += inside.notes
        return inside.gaussians
    attributes = primitive["attributes"]

    def column(name: str, allowed: dict[int, bool | None], kind: str) -> np.ndarray:
        if name not in attributes:
            raise gltf.fail(f"{where} is no splat: the attribute {name} is missing.")
        values = gltf.accessor(attributes[name], f"{name} of {where}", allowed, kind)
        if len(values) != len(means):
            raise gltf.fail(f"{name} of {where} has {len(values)} elements for {len(means)} positions.")
        return values

    means = gltf.accessor(attributes.get("POSITION"), f"POSITION of {where}", gltf.positions, "VEC3")
    quats = np.roll(column(f"{EXTENSION}:ROTATION", _ROTATION, "VEC4"), 1, axis=1)
    scales = column(f"{EXTENSION}:SCALE", _SCALE, "VEC3")
    alpha = column(f"{EXTENSION}:OPACITY", _OPACITY, "SCALAR")[:, 0]
    names = _sh_names(_degree(gltf, attributes, where))
    sh = np.stack([column(name, _FLOATS, "VEC3") for name in names], axis=1)
    if (scales < 0).any():
        notes.append(f"{gltf.path.name} follows a draft of {EXTENSION}: its scales were taken as logarithms.")
    else:
        with np.errstate(divide="ignore", invalid="ignore"):
            scales = np.log(scales)
    with np.errstate(invalid="ignore"):  # NaN is left out below
        logits = logit(alpha.clip(0, 1))
    gaussians, left_out = usable_gaussians(gltf.path, means, quats, scales, logits, sh)
    notes += left_out
    return gaussians


def _check_kind(gltf: Gltf, extensions: dict[str, Any], where: str, notes: list[str]) -> dict[str, Any] | None:
    """The extension that says where an SPZ file lies in the glTF, None for plain attributes.

    Refuses other compression, and says what is shown in another way than the file asks for.
    """
    splat = extensions.get(EXTENSION, {})
    inner = splat.get("extensions", {}) if isinstance(splat, dict) else None
    if not isinstance(inner, dict):
        raise gltf.fail(f"{EXTENSION} of {where} should be an object.")
    both = {**extensions, **inner}
    packed = next((both[name] for name in SPZ_EXTENSIONS if name in both), None)
    others = [name for name in both if "compression" in name.lower() and name not in SPZ_EXTENSIONS]
    if others:
        raise gltf.fail(f"{where} is compressed with {others[0][:80]}, which is not read here; export it without.")
    if packed is not None and not isinstance(packed, dict):
        raise gltf.fail(f"the SPZ extension of {where} should be an object.")
    name = gltf.path.name
    if splat.get("kernel", "ellipse") != "ellipse":
        notes.append(f"{name}: the kernel {str(splat['kernel'])[:40]!r} is shown as ellipses.")
    if splat.get("projection", "perspective") != "perspective":
        notes.append(f"{name}: the projection {str(splat['projection'])[:40]!r} is shown as perspective.")
    if splat.get("colorSpace") == LINEAR_LIGHT:
        notes.append(f"{name} has colours in linear light; each was turned into sRGB, so blends differ a bit.")
    elif splat.get("colorSpace", "srgb_rec709_display") != "srgb_rec709_display":
        notes.append(
            f"{name}: the colour space {str(splat['colorSpace'])[:40]!r} is shown as sRGB, so colours are off."
        )
    return packed


def _degree(gltf: Gltf, attributes: dict[str, Any], where: str) -> int:
    """The degree of the spherical harmonics. Raises BadInputError where some of a degree, or a lower one, lack."""
    found = {name for name in attributes if name.startswith(f"{EXTENSION}:SH_DEGREE_")}
    for degree in range(MAX_DEGREE + 1):
        if found == set(_sh_names(degree)):
            return degree
    missing = sorted(set(_sh_names(MAX_DEGREE)) - found, key=_sh_names(MAX_DEGREE).index)
    odd = sorted(found - set(_sh_names(MAX_DEGREE)))
    raise gltf.fail(
        f"{where} has an incomplete set of spherical harmonics: "
        + (f"{odd[0][:60]} is not known." if odd else f"{missing[0]} is missing.")
    )


def _with_degree(part: Gaussians, degree: int) -> Gaussians:
    """The same Gaussians with zeros for the harmonics that they lack."""
    missing = (degree + 1) ** 2 - part.sh.shape[1]
    sh = torch.cat([part.sh, part.sh.new_zeros(len(part), missing, 3)], dim=1)
    return Gaussians(part.means, part.quats, part.log_scales, part.opacity_logits, sh)
