"""Parts of a file's mesh, as its primitives or materials have them, and the one `Mesh` that they make."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ..errors import BadInputError
from ..mesh_topology import edges
from ..triangle_mesh import Mesh

GREY = 200  # of what has no colour in a mesh that has some
MAX_ATLAS_PIXELS = 10**8
_MOST_LOOKED_AT = 2_000_000  # faces whose edges are counted for a note


@dataclass(frozen=True)
class Part:
    """Faces with one material; a row for each vertex of its own."""

    vertices: np.ndarray  # [V, 3] float32
    faces: np.ndarray  # [F, 3] int64, not yet checked
    normals: np.ndarray | None = None  # [V, 3]
    colors: np.ndarray | None = None  # [V, 3] uint8 sRGB
    uv: np.ndarray | None = None  # [V, 2] float32, v downwards
    texture: np.ndarray | None = None  # [H, W, 3] uint8
    positions: np.ndarray | None = None  # [T, V, 3] float32


def joined(
    path: Path,
    parts: list[Part],
    notes: list[str],
    times_s: np.ndarray | None = None,  # [T] of the positions of all parts
    *,
    metric: bool,
) -> Mesh:
    """One mesh of the parts. Several textures become one picture; where only some parts have one, colours of vertices.

    Faces with a corner that is no number are left out, with a note. Raises BadInputError for a part whose faces name
    vertices that are not there, and where no face is left.
    """
    for part in parts:
        if len(part.faces) and not (part.faces.min() >= 0 and part.faces.max() < len(part.vertices)):
            wrong = part.faces.max() if part.faces.max() >= len(part.vertices) else part.faces.min()
            raise BadInputError(
                f"{path}: a face names vertex {wrong}, but there are {len(part.vertices)}; the file is damaged."
            )
    parts = [part for part in parts if len(part.faces)]
    if not parts:
        raise BadInputError(f"{path} has no faces, so it holds no mesh; points are shown by `fewview view`.")
    parts, texture = _one_picture(path, parts, notes)
    first = np.cumsum([0, *(len(part.vertices) for part in parts)])
    faces = np.concatenate([part.faces + start for part, start in zip(parts, first, strict=False)])

    def column(name: str) -> torch.Tensor | None:
        values = [getattr(part, name) for part in parts]
        if any(value is None for value in values):
            return None
        return torch.from_numpy(np.ascontiguousarray(np.concatenate(values, axis=1 if name == "positions" else 0)))

    if any(part.colors is not None for part in parts):
        parts = [replace(part, colors=_grey(part) if part.colors is None else part.colors) for part in parts]
    vertices = column("vertices")
    assert vertices is not None
    mesh = Mesh(
        vertices,
        torch.from_numpy(faces),
        column("normals"),
        column("colors"),
        None if texture is None else column("uv"),
        None if texture is None else torch.from_numpy(texture),
        None if times_s is None else column("positions"),
        None if times_s is None else torch.from_numpy(times_s),
        metric=metric,
    )
    return _usable(path, mesh, notes)


def _usable(path: Path, mesh: Mesh, notes: list[str]) -> Mesh:
    """The mesh without faces that are nowhere, with sentences on them and on where it branches."""
    finite = mesh.vertices.isfinite().all(1)
    if mesh.positions is not None:
        finite &= mesh.positions.isfinite().all(2).all(0)
    if mesh.uv is not None:
        finite &= mesh.uv.isfinite().all(1)
    keep = finite[mesh.faces].all(1)
    if not bool(keep.any()):
        raise BadInputError(f"{path}: no face has three corners that are finite numbers, so there is no surface in it.")
    if not bool(keep.all()):
        notes.append(f"{path.name}: {int((~keep).sum())} faces have corners that are no numbers and were left out.")
        mesh = mesh[keep]
    elif not bool(finite.all()):
        mesh = mesh[torch.arange(len(mesh))]
    if mesh.normals is not None and not bool(mesh.normals.isfinite().all()):
        notes.append(f"{path.name}: some normals are no numbers, so all were left out.")
        mesh = replace(mesh, normals=None)
    if len(mesh) <= _MOST_LOOKED_AT and (branches := int(edges(mesh.faces).non_manifold.sum())):
        notes.append(f"{path.name} is not manifold: {branches} of its edges have three faces or more.")
    return replace(mesh, notes=tuple(dict.fromkeys(notes)))


def _one_picture(path: Path, parts: list[Part], notes: list[str]) -> tuple[list[Part], np.ndarray | None]:
    """(the parts with coordinates in one picture, the picture); None where colours of vertices stand for it."""
    textures = {id(part.texture): part.texture for part in parts if part.texture is not None}
    if not textures:
        return [replace(part, uv=None) for part in parts], None
    pictures = list(textures.values())
    height, width = sum(p.shape[0] for p in pictures), max(p.shape[1] for p in pictures)
    if any(part.texture is None for part in parts) or height * width > MAX_ATLAS_PIXELS:
        notes.append(f"{path.name} mixes textures and plain parts; its textures became colours of the vertices.")
        return [replace(part, colors=_sampled(part), uv=None, texture=None) for part in parts], None
    if len(pictures) == 1:
        return parts, pictures[0]
    atlas = np.zeros((height, width, 3), np.uint8)
    tops = {}
    top = 0
    for key, picture in textures.items():
        atlas[top : top + picture.shape[0], : picture.shape[1]] = picture
        tops[key] = top
        top += picture.shape[0]
    moved, repeats = [], False
    for part in parts:
        assert part.uv is not None
        assert part.texture is not None
        size = np.array([part.texture.shape[1], part.texture.shape[0]])
        repeats |= bool((part.uv < -1e-3).any() or (part.uv > 1 + 1e-3).any())
        pixel = (part.uv.clip(0, 1) * size).clip(0.5, size - 0.5)
        uv = (pixel + np.array([0, tops[id(part.texture)]])) / [width, height]
        moved.append(replace(part, uv=uv.astype(np.float32)))
    notes.append(f"{path.name} has {len(pictures)} textures; they were put into one picture.")
    if repeats:
        notes.append(f"{path.name} repeats a texture among several, which one picture cannot; edges are drawn out.")
    return moved, atlas


def _sampled(part: Part) -> np.ndarray | None:
    """uint8 [V, 3]: the nearest pixel of the texture at each vertex; the part's own colours where it has none."""
    if part.texture is None or part.uv is None:
        return part.colors
    size = np.array([part.texture.shape[1], part.texture.shape[0]])
    with np.errstate(invalid="ignore"):
        x, y = (np.nan_to_num(part.uv % 1) * size).astype(np.int64).clip(0, size - 1).T
    return part.texture[y, x]


def _grey(part: Part) -> np.ndarray:
    return np.full((len(part.vertices), 3), GREY, np.uint8)
