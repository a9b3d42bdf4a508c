"""Marching cubes (Lorensen and Cline 1987) with a table that is made from one rule, so that the surface has no cracks.

On each face of a cube, every run of corners below zero is cut off by a segment of its own. Both cubes at a face cut it
alike, so their segments meet, and each segment is of one triangle on either side: the surface is closed inside the grid
and no edge has three faces. (The published table joins two cubes at a face with four crossings in different ways.)
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

_NEAREST = 1e-3  # of a voxel: how near to a grid point a vertex may be, so that no triangle shrinks to a line
# Corner c of a cube is at (c & 1, c >> 1 & 1, c >> 2). Edges: (corner where one begins, axis along which it goes).
_EDGES = tuple((corner, axis) for axis in range(3) for corner in range(8) if not corner >> axis & 1)


def marching_cubes(
    values: np.ndarray,  # [X, Y, Z] float, negative inside
    known: np.ndarray | None = None,  # [X, Y, Z] bool; cubes with an unknown corner have no surface
) -> tuple[np.ndarray, np.ndarray]:
    """(vertices float32 [V, 3] in voxels, faces int64 [F, 3]) of the surface where the values are zero.

    Faces are counter-clockwise seen from where the values are positive. Within the known part every edge has two faces.
    """
    shape = np.array(values.shape)
    if (shape < 2).any():
        return np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int64)
    kinds = np.zeros(tuple(shape - 1), np.uint8)
    usable = np.ones(tuple(shape - 1), bool)
    inside = values < 0
    for corner in range(8):
        part = tuple(slice(corner >> a & 1, shape[a] - 1 + (corner >> a & 1)) for a in range(3))
        kinds |= inside[part].astype(np.uint8) << corner
        if known is not None:
            usable &= known[part]
    cells = np.flatnonzero((kinds != 0) & (kinds != 255) & usable)
    table = _table()
    kind = kinds.reshape(-1)[cells]
    place = np.stack(np.unravel_index(cells, kinds.shape), axis=1)
    corners = []  # edges of the grid, [triangles, 3]
    for i in range(table.triangles.shape[1]):
        has = table.counts[kind] > i
        edge = table.triangles[kind[has], i]  # [n, 3] edges of the cube
        start = place[has][:, None] + table.starts[edge]
        corners.append(np.ravel_multi_index(tuple(np.moveaxis(start, 2, 0)), values.shape) * 3 + table.axes[edge])
    keys, faces = np.unique(np.concatenate(corners), return_inverse=True)
    return _crossings(values, keys), faces.reshape(-1, 3)


def _crossings(values: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """float32 [V, 3]: where the values are zero on the edges of the grid `3 * point + axis` [V]."""
    point, axis = np.divmod(keys, 3)
    place = np.stack(np.unravel_index(point, values.shape), axis=1)
    flat = values.reshape(-1)
    step = np.array([values.shape[1] * values.shape[2], values.shape[2], 1])[axis]
    first, second = flat[point].astype(np.float64), flat[point + step].astype(np.float64)
    share = np.clip(first / (first - second), _NEAREST, 1 - _NEAREST)
    vertices = place.astype(np.float64)
    vertices[np.arange(len(keys)), axis] += share
    return vertices.astype(np.float32)


@dataclass(frozen=True)
class _Table:
    triangles: np.ndarray  # [256, most, 3] edges of the cube; of which `counts` are there
    counts: np.ndarray  # [256]
    starts: np.ndarray  # [12, 3] the corner at which an edge begins
    axes: np.ndarray  # [12]


@functools.cache
def _table() -> _Table:
    found = [[t for loop in _loops(kind) for t in _triangulated(loop)] for kind in range(256)]
    triangles = np.zeros((256, max(map(len, found)), 3), np.int64)
    for kind, rows in enumerate(found):
        triangles[kind, : len(rows)] = np.array(rows).reshape(-1, 3)
    starts = np.array([[corner >> a & 1 for a in range(3)] for corner, _ in _EDGES])
    return _Table(triangles, np.array([len(rows) for rows in found]), starts, np.array([axis for _, axis in _EDGES]))


@functools.cache
def _faces() -> tuple[tuple[int, ...], ...]:
    """The four corners of each face of the cube, counter-clockwise seen from outside."""
    faces = []
    for axis in range(3):
        u, v = 1 << (axis + 1) % 3, 1 << (axis + 2) % 3
        faces.append((1 << axis, (1 << axis) + u, (1 << axis) + u + v, (1 << axis) + v))
        faces.append((0, v, u + v, u))
    return tuple(faces)


def _edge(a: int, b: int) -> int:
    return _EDGES.index((min(a, b), (a ^ b).bit_length() - 1))


def _loops(kind: int) -> list[list[int]]:
    """Closed polygons of crossed edges in the cube whose corners inside are the bits of `kind`."""
    follows: dict[int, int] = {}
    for face in _faces():
        for i in range(4):
            before, first = face[i - 1], face[i]
            if kind >> before & 1 or not kind >> first & 1:
                continue
            last = i  # of the run of corners inside that begins at i
            while kind >> face[(last + 1) % 4] & 1:
                last += 1
            follows[_edge(before, first)] = _edge(face[last % 4], face[(last + 1) % 4])
    loops = []
    while follows:
        loop = [next(iter(follows))]
        while (after := follows.pop(loop[-1])) != loop[0]:
            loop.append(after)
        loops.append(loop)
    return loops


def _triangulated(loop: list[int]) -> list[tuple[int, int, int]]:
    """Triangles of a polygon; a diagonal in a face of the cube, which the next cube may have too, is avoided."""

    @functools.cache
    def best(i: int, j: int) -> tuple[int, tuple[tuple[int, int, int], ...]]:
        """(diagonals in faces, triangles) of the part from corner i to corner j."""
        if j - i < 2:
            return 0, ()
        chord = int((i, j) != (0, len(loop) - 1) and _on_one_face(loop[i], loop[j]))
        options = []
        for k in range(i + 1, j):
            left, right = best(i, k), best(k, j)
            options.append((left[0] + right[0] + chord, (*left[1], (loop[i], loop[k], loop[j]), *right[1])))
        return min(options)

    return list(best(0, len(loop) - 1)[1])


def _on_one_face(first: int, second: int) -> bool:
    ends = [{_EDGES[e][0], _EDGES[e][0] | 1 << _EDGES[e][1]} for e in (first, second)]
    return any(ends[0] | ends[1] <= set(face) for face in _faces())
