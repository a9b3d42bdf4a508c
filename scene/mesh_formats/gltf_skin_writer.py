"""Skins and joints in glTF: vertices carried by control points, each a joint that is animated.

v(t) = v + sum_k w_k (R_k (v - p_k) + p_k + d_k - v) is linear blend skinning with joints at p_k + d_k turned by R_k and
bound at p_k. What the weights of a vertex leave to one goes to a joint that stands still. At the moments of the motion
the vertices are where it puts them; between two, glTF turns joints evenly, where the motion blends quaternions.

Source: registry.khronos.org/glTF, specification 2.0, section 3.7.3.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..control_points import ControlPointMotion
from .gltf_document import ARRAY, Document

MESH_NODE, STILL_NODE = 0, 1  # then one for each control point
_ROUNDING = 1e-4  # of a sum of weights


def add_skin(document: Document, primitive: dict[str, Any], motion: ControlPointMotion) -> tuple[str, ...]:
    """Bind the vertices of the one primitive to joints, and animate these. Returns sentences on what is lost."""
    notes: tuple[str, ...] = ()
    points, shifts = _array(motion.points), _array(motion.shifts)
    turns = _steady(_array(motion.turns))
    joints, weights, too_much = bound(motion)
    if too_much:
        notes += (f"The weights of {too_much} vertices sum to more than one, and were divided by it for the skin.",)
    for i in range(joints.shape[1] // 4):
        part = slice(4 * i, 4 * i + 4)
        primitive["attributes"][f"JOINTS_{i}"] = document.add(np.ascontiguousarray(joints[:, part]), ARRAY)
        primitive["attributes"][f"WEIGHTS_{i}"] = document.add(np.ascontiguousarray(weights[:, part]), ARRAY)
    count = len(points)
    first = STILL_NODE + 1
    document.table["nodes"] = [
        {"mesh": 0, "skin": 0},
        {"name": "still", "children": list(range(first, first + count))},
        *(
            {
                "name": f"control point {k}",
                "translation": (points[k] + shifts[0, k]).tolist(),
                "rotation": turns[0, k].tolist(),
            }
            for k in range(count)
        ),
    ]
    document.table["scenes"] = [{"nodes": [MESH_NODE, STILL_NODE]}]
    binds = np.tile(np.eye(4, dtype=np.float32), (count + 1, 1, 1))
    binds[1:, 3, :3] = -points  # column-major, so the translation lies in the last row here
    document.table["skins"] = [
        {
            "joints": list(range(STILL_NODE, first + count)),
            "inverseBindMatrices": document.add(binds.reshape(-1, 16)),
            "skeleton": STILL_NODE,
        }
    ]
    times = motion.times_s.double().numpy()
    start = min(float(times[0]), 0.0)
    if len(times) > 1:
        moments = document.add((times - start).astype(np.float32)[:, None], bounds=True)
        samplers: list[dict[str, Any]] = []
        channels: list[dict[str, Any]] = []
        for k in range(count):
            for path, values in (("translation", points[k] + shifts[:, k]), ("rotation", turns[:, k])):
                output = document.add(np.ascontiguousarray(values))
                channels.append({"sampler": len(samplers), "target": {"node": first + k, "path": path}})
                samplers.append({"input": moments, "output": output, "interpolation": "LINEAR"})
        document.table["animations"] = [{"name": "motion", "samplers": samplers, "channels": channels}]
    if start < 0:
        notes += (f"Its first moment, {times[0]:g} s, is at 0 s in the file.",)
    return notes


def bound(motion: ControlPointMotion) -> tuple[np.ndarray, np.ndarray, int]:
    """(joints uint16 [V, 4 n], weights float32 [V, 4 n] that sum to one, how many vertices had a sum above one).

    Joint 0 stands still; joint k + 1 is control point k.
    """
    near, weights = motion.neighbours.cpu().numpy().astype(np.int64) + 1, _array(motion.weights).astype(np.float64)
    total = weights.sum(1)
    too_much = int((total > 1 + _ROUNDING).sum())
    weights = weights / np.maximum(total, 1)[:, None]
    left = np.clip(1 - weights.sum(1), 0, 1)
    if (left > _ROUNDING).any():
        near = np.concatenate([near, np.zeros((len(near), 1), np.int64)], axis=1)
        weights = np.concatenate([weights, left[:, None]], axis=1)
    else:
        weights = weights / np.maximum(weights.sum(1, keepdims=True), 1e-30)
    near = np.where(weights > 0, near, 0)  # unused slots name joint 0, as validators want it
    spare = -near.shape[1] % 4
    near, weights = (np.pad(a, ((0, 0), (0, spare))) for a in (near, weights))
    return near.astype(np.uint16), weights.astype(np.float32), too_much


def _steady(turns: np.ndarray) -> np.ndarray:
    """float32 [T, M, 4] unit quaternions xyzw of wxyz ones, each the nearer of q and -q to the one before."""
    unit = turns.astype(np.float64)
    length = np.linalg.norm(unit, axis=-1, keepdims=True)
    unit = np.where(length > 0, unit / np.maximum(length, 1e-30), [1.0, 0, 0, 0])
    for t in range(1, len(unit)):
        unit[t] *= np.where((unit[t] * unit[t - 1]).sum(-1, keepdims=True) < 0, -1, 1)
    return np.roll(unit, -1, axis=-1).astype(np.float32)


def _array(tensor: Any) -> np.ndarray:
    return tensor.detach().cpu().float().numpy()
