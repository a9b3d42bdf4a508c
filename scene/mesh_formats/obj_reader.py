"""Wavefront OBJ: text with vertices, texture coordinates, normals and polygons, materials in an MTL file beside it.

Colours of vertices are three more numbers behind the position, 0 to 1, as MeshLab and others write them. Files of
millions of faces are read as whole columns where all of their rows are alike, which exporters' files are.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import BadInputError
from ..triangle_mesh import Mesh
from .mesh_parts import Part, joined
from .texture_files import texture_from_file

MAX_BYTES = 2**31
METRIC = b"# metric 1"
_MAX_CORNERS = 10_000  # of one polygon
_MAX_MTL_BYTES = 2**24
# Triangles whose corners all have the same: the columns of v, vt and vn that are there, and the form of a row.
_CORNER_FORMS = {(0,): rb"\d{1,18}", (0, 1): rb"\d{1,18}/\d{1,18}", (0, 2): rb"\d{1,18}//\d{1,18}"}
_CORNER_FORMS[(0, 1, 2)] = rb"\d{1,18}/\d{1,18}/\d{1,18}"
_ROW_FORMS = {given: re.compile(rb" *%b +%b +%b *" % ((form,) * 3)) for given, form in _CORNER_FORMS.items()}


@dataclass
class _Lines:
    """The statements of a file, each without its keyword, in their order."""

    v: list[bytes] = field(default_factory=list)
    vt: list[bytes] = field(default_factory=list)
    vn: list[bytes] = field(default_factory=list)
    f: list[bytes] = field(default_factory=list)
    counts: list[tuple[int, int, int]] = field(default_factory=list)  # of v, vt, vn before each face, for negative ones
    materials: list[tuple[int, str]] = field(default_factory=list)  # (first face, name)
    libraries: list[str] = field(default_factory=list)


def read_obj(path: Path) -> Mesh:
    """The mesh in an OBJ file; polygons become fans of triangles, lines and points are left out.

    Raises BadInputError for what is no number, for indices that lead nowhere, and for files above 2 GiB.
    """
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise BadInputError(f"{path} has {size} bytes; an OBJ file of at most {MAX_BYTES} bytes is expected.")
        data = path.read_bytes()
    except OSError as error:
        raise BadInputError(f"{path} could not be read: {error.strerror or error}.") from error
    lines = _sorted_lines(data)
    notes: list[str] = []
    vertices = _table(path, "v", lines.v, (3, 4, 6, 7))
    uv = _table(path, "vt", lines.vt, (1, 2, 3))
    normals = _table(path, "vn", lines.vn, (3,))
    corners, of_face = _corners(path, lines)  # [F, 3, 3] indices of v, vt, vn or -1; the polygon [F] of each
    for column, (rows, name) in enumerate(((vertices, "v"), (uv, "vt"), (normals, "vn"))):
        used = corners[..., column]
        if used.size and not (used.min() >= (0 if column == 0 else -1) and used.max() < len(rows)):
            wrong = used.max() if used.max() >= len(rows) else used.min()
            raise BadInputError(f"{path}: a face names {name} {wrong + 1}, but there are {len(rows)}.")
    materials = _materials(path, lines, notes)
    bounds = [*(first for first, _ in lines.materials), len(lines.f)]
    groups = [(0, bounds[0], "")] + [
        (first, last, name) for (first, name), last in zip(lines.materials, bounds[1:], strict=True)
    ]
    by_name: dict[str, list[np.ndarray]] = {}
    for first, last, name in groups:
        begin, end = np.searchsorted(of_face, [first, last])
        if begin < end:
            by_name.setdefault(name if name in materials else "", []).append(corners[begin:end])
    plain = _Material()
    parts = [
        _part(vertices, uv, normals, np.concatenate(faces), materials.get(name, plain))
        for name, faces in by_name.items()
    ]
    return joined(path, parts, notes, metric=METRIC in data[:4096].splitlines())


def _sorted_lines(data: bytes) -> _Lines:
    found = _Lines()
    if b"\\\n" in data or b"\\\r\n" in data:
        data = data.replace(b"\\\r\n", b" ").replace(b"\\\n", b" ")
    v, vt, vn, f, relative = found.v, found.vt, found.vn, found.f, False
    for line in data.splitlines():
        keyword, _, rest = line.strip().replace(b"\t", b" ").partition(b" ")
        if keyword == b"v":
            v.append(rest)
        elif keyword == b"f":
            relative = relative or b"-" in rest
            f.append(rest)
            if relative:
                found.counts += [(0, 0, 0)] * (len(f) - 1 - len(found.counts))
                found.counts.append((len(v), len(vt), len(vn)))
        elif keyword == b"vt":
            vt.append(rest)
        elif keyword == b"vn":
            vn.append(rest)
        elif keyword == b"usemtl":
            found.materials.append((len(f), rest.strip().decode("utf-8", "replace")))
        elif keyword == b"mtllib":
            found.libraries.append(rest.strip().decode("utf-8", "replace"))
    return found


def _numbers(rows: list[bytes], kind: type) -> np.ndarray | None:
    """All numbers of the rows; None where something else is among them."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return np.fromstring(b"\n".join(rows), kind, sep=" ")
        except (DeprecationWarning, ValueError):
            return None


def _table(path: Path, name: str, rows: list[bytes], widths: tuple[int, ...]) -> np.ndarray:
    """float64 [N, width] of statements; what some rows have more than others is left out."""
    if not rows:
        return np.zeros((0, widths[-1]))
    counts = np.fromiter((len(row.split()) for row in rows), np.int64, len(rows))
    values = _numbers(rows, np.float64)
    if values is not None and (counts == counts[0]).all() and counts[0] >= widths[0] and len(values) == counts.sum():
        table = values.reshape(len(rows), -1)
    else:
        least = min(int(counts.min()), widths[-1])
        table = np.empty((len(rows), max(least, 1)))
        for i, row in enumerate(rows):
            try:
                table[i] = [float(word) for word in row.split()[:least]]
                if least < widths[0]:
                    raise ValueError
            except ValueError as error:
                text = row[:40].decode("utf-8", "replace")
                raise BadInputError(
                    f"{path}: '{name} {text}' should have {widths[0]} numbers or more (the {i + 1}. of its kind)."
                ) from error
    return table[:, : max(w for w in widths if w <= table.shape[1])]


def _corners(path: Path, lines: _Lines) -> tuple[np.ndarray, np.ndarray]:
    """(indices int64 [F, 3, 3] from 0 of v, vt and vn, -1 where not given; the statement [F] that each is of)."""
    rows = len(lines.f)
    for given, row_form in _ROW_FORMS.items() if rows and not lines.counts else ():
        if row_form.fullmatch(lines.f[0]) and all(map(row_form.fullmatch, lines.f)):
            values = _numbers([b"\n".join(lines.f).replace(b"/", b" ")], np.int64)
            if values is not None and len(values) == rows * 3 * len(given) and values.min() > 0:
                corners = np.full((rows, 3, 3), -1, np.int64)
                corners[..., list(given)] = values.reshape(rows, 3, len(given)) - 1
                return corners, np.arange(rows)
    found: list[list[tuple[int, ...]]] = []
    of_face: list[int] = []
    for i, row in enumerate(lines.f):
        counts = lines.counts[i] if i < len(lines.counts) else (0, 0, 0)
        words = row.split()
        polygon = [_corner(path, word, counts) for word in words[: _MAX_CORNERS + 1]]
        if not 3 <= len(polygon) <= _MAX_CORNERS:
            raise BadInputError(f"{path}: face {i + 1} has {len(words)} corners; 3 to {_MAX_CORNERS} are expected.")
        for k in range(1, len(polygon) - 1):
            found.append([polygon[0], polygon[k], polygon[k + 1]])
            of_face.append(i)
    return np.array(found, np.int64).reshape(-1, 3, 3), np.array(of_face, np.int64)


def _corner(path: Path, word: bytes, counts: tuple[int, int, int]) -> tuple[int, ...]:
    parts = word.split(b"/")
    try:
        values = [int(part) if part else None for part in parts] + [None] * (3 - len(parts))
        if len(values) != 3 or values[0] is None or 0 in values or any(v and abs(v) >= 2**53 for v in values):
            raise ValueError
    except ValueError as error:
        raise BadInputError(
            f"{path}: the corner {word[:40].decode('utf-8', 'replace')!r} of a face should be v, v/vt, v//vn or "
            "v/vt/vn, counted from 1."
        ) from error
    found = []
    for value, count in zip(values, counts, strict=True):
        index = -1 if value is None else value - 1 if value > 0 else count + value
        if value is not None and index < 0:
            raise BadInputError(f"{path}: a face names {value}, counted back from {count}, which is not there.")
        found.append(index)
    return tuple(found)


@dataclass(frozen=True)
class _Material:
    color: tuple[int, int, int] | None = None  # sRGB
    texture: np.ndarray | None = None


def _materials(path: Path, lines: _Lines, notes: list[str]) -> dict[str, _Material]:
    """The materials of all libraries that can be read; a note for each library or picture that cannot."""
    found: dict[str, _Material] = {}
    pictures: dict[str, np.ndarray] = {}
    for library in dict.fromkeys(lines.libraries):
        try:
            file = path.parent / library
            if Path(library).name != library or not file.is_file() or file.stat().st_size > _MAX_MTL_BYTES:
                raise BadInputError(f"{library} is not there; put it beside the mesh.")
            text = file.read_text("utf-8", "replace")
        except (OSError, ValueError, BadInputError):
            notes.append(f"{path.name} names its materials in {library[:60]!r}, which could not be read.")
            continue
        name = None
        for line in text.splitlines():
            words = line.split()
            if not words:
                continue
            if words[0] == "newmtl":
                name = line.strip()[len("newmtl") :].strip()
                found[name] = _Material()
            elif name is not None and words[0] == "Kd" and found[name].texture is None:
                found[name] = _Material(_color(words[1:]))
            elif name is not None and words[0] == "map_Kd":
                named = line.strip()[len("map_Kd") :].strip()
                try:
                    if named not in pictures:
                        pictures[named] = texture_from_file(path, named, f"{library} of {path.name}")
                    found[name] = _Material(texture=pictures[named])
                except BadInputError as error:
                    notes.append(f"{path.name}: a texture was left out. {error}")
    return found


def _color(words: list[str]) -> tuple[int, int, int] | None:
    try:
        red, green, blue = (round(255 * min(max(float(word), 0), 1)) for word in words)
    except ValueError:
        return None
    return red, green, blue


def _part(vertices: np.ndarray, uv: np.ndarray, normals: np.ndarray, corners: np.ndarray, material: _Material) -> Part:
    """The faces [F, 3, 3] of one material, with a vertex for each combination of indices that occurs."""
    flat = corners.reshape(-1, 3)
    has_uv = material.texture is not None and bool((flat[:, 1] >= 0).all())
    has_normals = bool((flat[:, 2] >= 0).all())
    plain = flat.copy()
    if not has_uv:
        plain[:, 1] = -1
    if not has_normals:
        plain[:, 2] = -1
    key = plain[:, 0]
    for column, count in ((1, len(uv)), (2, len(normals))):
        if (plain[:, column] != -1).any() and not np.array_equal(plain[:, column], plain[:, 0]):
            # Combinations are numbered anew after each column, so that no product of counts grows too large.
            _, key = np.unique(key * (count + 1) + plain[:, column] + 1, return_inverse=True)
    _, first, faces = np.unique(key, return_index=True, return_inverse=True)
    rows = plain[first]
    colors = None
    if vertices.shape[1] in (6, 7):
        colors = vertices[rows[:, 0], -3:]
        colors = _bytes(colors if colors.max(initial=0) > 1 else colors * 255)
    elif material.color is not None and material.texture is None:
        colors = np.tile(np.array(material.color, np.uint8), (len(rows), 1))
    with np.errstate(over="ignore"):
        return Part(
            vertices[rows[:, 0], :3].astype(np.float32),
            faces.reshape(-1, 3),
            normals[rows[:, 2]].astype(np.float32) if has_normals else None,
            colors,
            (np.array([0, 1]) + np.array([1, -1]) * uv[rows[:, 1], :2]).astype(np.float32) if has_uv else None,
            material.texture if has_uv else None,
        )


def _bytes(values: np.ndarray) -> np.ndarray:
    return (np.nan_to_num(values).clip(0, 255) + 0.5).astype(np.uint8)
