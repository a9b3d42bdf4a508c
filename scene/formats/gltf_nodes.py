"""The nodes of a glTF scene: where its meshes are.

A mesh can be put anywhere. A splat can be turned, moved and scaled evenly; other transforms would need other Gaussians.
Source: registry.khronos.org/glTF, specification 2.0, section 3.5.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from ..geometry import Similarity
from .gltf_container import Gltf
from .packing import unit_quats

MAX_NODES = 65536
_EVEN = 1e-3  # by how much a scale may differ between axes: files hold float32, and products of them


def placed_meshes(gltf: Gltf) -> Iterator[tuple[int, Similarity | None]]:
    """(index of a mesh, file from mesh) of the nodes of the scene, in depth-first order; None for the identity.

    Raises BadInputError for nodes that are no tree, and for one with a mesh that is stretched or mirrored.
    """
    for node, mesh, motion in placed_nodes(gltf):
        yield mesh, _similarity(gltf, motion, node)


def placed_nodes(gltf: Gltf) -> Iterator[tuple[int, int, np.ndarray]]:
    """(node, its mesh, file from mesh float64 [4, 4]) of the scene's nodes with meshes, in depth-first order.

    Raises BadInputError for nodes that are no tree.
    """
    nodes = gltf.items("nodes")
    if len(nodes) > MAX_NODES:
        raise gltf.fail(f"{len(nodes)} nodes are too many; at most {MAX_NODES} are read.")
    if gltf.items("scenes"):
        scene = gltf.item("scenes", gltf.json.get("scene", 0), "'scene'")
        roots = _indices(gltf, scene.get("nodes", []), "the scene")
    else:
        children = {child for i, node in enumerate(nodes) for child in _children(gltf, node, i)}
        roots = [i for i in range(len(nodes)) if i not in children]
    seen: set[int] = set()
    stack = [(root, np.eye(4)) for root in reversed(roots)]
    while stack:
        index, outer = stack.pop()
        node = gltf.item("nodes", index, "a node")
        if index in seen:
            raise gltf.fail(f"nodes[{index}] has two parents; nodes should be a tree.")
        seen.add(index)
        motion = outer @ _matrix(gltf, node, index)
        if "mesh" in node:
            yield index, gltf.whole(node, "mesh", f"nodes[{index}]"), motion
        stack += [(child, motion) for child in reversed(_children(gltf, node, index))]


def _children(gltf: Gltf, node: dict[str, Any], index: int) -> list[int]:
    return _indices(gltf, node.get("children", []), f"nodes[{index}]")


def _indices(gltf: Gltf, value: Any, where: str) -> list[int]:
    if not isinstance(value, list) or not all(isinstance(i, int) and not isinstance(i, bool) for i in value):
        raise gltf.fail(f"the nodes of {where} should be a list of indices.")
    return value


def _matrix(gltf: Gltf, node: dict[str, Any], index: int) -> np.ndarray:
    """Parent from node, float64 [4, 4]."""
    if "matrix" in node:
        return np.array(_numbers(gltf, node, "matrix", index, [0.0] * 16)).reshape(4, 4).T  # column-major
    x, y, z, w = _numbers(gltf, node, "rotation", index, [0.0, 0.0, 0.0, 1.0])
    unit = unit_quats(np.array([[w, x, y, z]], np.float64))
    matrix = np.eye(4)
    matrix[:3, :3] = _rotation(unit[0]) * np.array(_numbers(gltf, node, "scale", index, [1.0] * 3))
    matrix[:3, 3] = _numbers(gltf, node, "translation", index, [0.0] * 3)
    return matrix


def _rotation(wxyz: np.ndarray) -> np.ndarray:
    w, x, y, z = wxyz
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + 2 * w * cross + 2 * cross @ cross


def _numbers(gltf: Gltf, node: dict[str, Any], name: str, index: int, default: list[float]) -> list[float]:
    value = node.get(name, default)
    good = isinstance(value, list) and len(value) == len(default)
    if not good or not all(isinstance(v, (int, float)) and not isinstance(v, bool) and abs(v) < 1e18 for v in value):
        raise gltf.fail(f"'{name}' of nodes[{index}] should be {len(default)} numbers, found {str(value)[:60]}.")
    return [float(v) for v in value]


def _similarity(gltf: Gltf, motion: np.ndarray, index: int) -> Similarity | None:
    if np.array_equal(motion, np.eye(4)):
        return None
    linear = motion[:3, :3]
    with np.errstate(all="ignore"):
        scale = np.cbrt(np.linalg.det(linear))
        rotation = linear / scale
        even = np.abs(rotation @ rotation.T - np.eye(3)).max() < _EVEN
    if not (np.isfinite(motion).all() and 1e-18 < scale < 1e18 and even and np.array_equal(motion[3], [0, 0, 0, 1])):
        raise gltf.fail(
            f"nodes[{index}] stretches, mirrors or flattens its splat; only a rotation, a translation and one positive "
            "scale can be applied to Gaussians."
        )
    # The nearest rotation, so that an error of rounding in the file is not a stretch of the splat.
    left, _, right = np.linalg.svd(rotation)
    tensors = (torch.as_tensor(value, dtype=torch.float64) for value in (scale, left @ right, motion[:3, 3]))
    return Similarity(*tensors)
