"""A splat that control points move, packed for the page that plays it (moving_splat.js unpacks it).

Every array is planar, a channel after the other, with Gaussians along a Z-order curve and moments as differences: so
gzip makes about half of it. Nearly all are 16 bits between bounds, more than a picture shows; view-dependent colours
have 8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from ...render.rendering import near_plane
from ...scene.control_points import ControlPointMotion
from ...scene.formats.compressed_ply import morton_order
from ...scene.formats.packing import levels, sigmoid, unit_quats
from ...scene.splat import MovingSplat

MAX_DEGREE = 3  # of spherical harmonics that the page's shader knows
_TOP, _SIGNED = 65535, 32767
_MAX_LOG_SCALE = 20.0
_TRACKS = ("points", "shifts", "turns", "quat_residuals", "scale_residuals")


@dataclass(frozen=True)
class Pack:
    """Bytes of a splat for a page, and what they mean."""

    header: dict[str, Any]  # what moving_splat.js needs to know besides
    data: bytes


def packed(splat: MovingSplat, degree: int) -> Pack:
    """The splat with spherical harmonics up to `degree`, in its own frame."""
    motion = splat.motion
    assert isinstance(motion, ControlPointMotion)
    motion, g = motion.of_used_points(), splat.gaussians
    order = morton_order(_array(g.means))
    # Largest items first, so that each array begins at a multiple of its item's size.
    parts: dict[str, np.ndarray] = {"means": _array(g.means)[order].T.astype("<f4")}
    header: dict[str, Any] = {
        "count": len(g), "near": motion.neighbours.shape[1], "points": len(motion), "degree": degree,
        "times": motion.times_s.tolist(), "antialiased": splat.antialiased, "background": list(splat.background),
        "maxWeight": max(1.0, float(motion.weights.max())), "nearPlane": near_plane(splat.at().means), "tracks": {},
    }  # fmt: skip
    for name in _TRACKS:
        if (tensor := getattr(motion, name)) is not None:
            header["tracks"][name], parts[name] = _track(_array(tensor))
    sizes = np.clip(_array(g.log_scales), -_MAX_LOG_SCALE, _MAX_LOG_SCALE)
    header["logScales"], parts["log_scales"] = _between(sizes[order].T)
    header["colors"], parts["colors"] = _between(_array(g.sh[:, 0])[order].T)
    quats = unit_quats(_array(g.quats))[order].T
    parts["quats"] = np.rint(quats * _SIGNED).astype("<i2")
    parts["opacities"] = levels(sigmoid(_array(g.opacity_logits)[order]) * _TOP, _TOP).astype("<u2")
    parts["neighbours"] = _array(motion.neighbours)[order].T.astype("<u2")
    parts["weights"] = levels(_array(motion.weights)[order].T / header["maxWeight"] * _TOP, _TOP).astype("<u2")
    header["harmonicBounds"], parts["harmonics"] = _harmonics(_array(g.sh)[order], degree)
    header["parts"] = [[name, part.dtype.str[1:], part.size] for name, part in parts.items()]
    return Pack(header, b"".join(np.ascontiguousarray(part).tobytes() for part in parts.values()))


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()


def _bounds(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """(low, step between the extremes of each row of [C, n], both [C, 1], and what the page is told of them)."""
    low, high = values.min(1, keepdims=True), values.max(1, keepdims=True)
    return low, np.where(high > low, high - low, 1), {"mins": low[:, 0].tolist(), "maxs": high[:, 0].tolist()}


def _between(values: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
    """(bounds, uint16 [C, n]) of values [C, n]."""
    low, span, told = _bounds(values.astype(np.float64))
    return told, levels((values - low) / span * _TOP, _TOP).astype("<u2")


def _track(values: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
    """(bounds, uint16 [C, T, M] of differences from the moment before, modulo 2^16) of values [T, M, C] or [M, C]."""
    values = values[None] if values.ndim == 2 else values
    moments, points, channels = values.shape
    told, fixed = _between(values.transpose(2, 0, 1).reshape(channels, -1))
    fixed = fixed.reshape(channels, moments, points)
    return told, np.diff(fixed, axis=1, prepend=np.zeros_like(fixed[:, :1]))


def _harmonics(sh: np.ndarray, degree: int) -> tuple[list[float], np.ndarray]:
    """(the largest value of each degree from 1 to 3, uint8 [(K - 1) 3, N] from its negative to it) of sh [N, K, 3]."""
    bounds, planes = [], [np.zeros((0, len(sh)), np.uint8)]
    for l in range(1, MAX_DEGREE + 1):
        band = sh[:, l * l : (l + 1) ** 2] if l <= degree else sh[:, :0]
        bounds.append(max(float(np.abs(band).max(initial=0)), 1e-9))
        planes.append(levels((band / bounds[-1] + 1) * (255 / 2), 255).astype(np.uint8).reshape(len(sh), -1).T)
    return bounds, np.concatenate(planes)
