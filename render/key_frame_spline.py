"""Smooth curves through key frames: Kochanek-Bartels splines of positions, numbers and rotations.

All curves are parametrised by the key frame's index: 0 at the first, 1 at the second; a closed curve of N key frames
ends at N where it began. Ends are natural (no second derivative). Source: Kochanek and Bartels 1984 with continuity
and bias 0; for rotations the same control points on the sphere of unit quaternions, evaluated by de Casteljau's
algorithm with spherical interpolation (Shoemake 1985). These are the curves of nerfstudio's viewer, so that its key
frames make the film that it promised; only in the first and the last piece of an open path are rotations other than
there, where even a steady pan begins half as fast again.
"""

from __future__ import annotations

import itertools

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.spatial.transform import Rotation


def spline_values(
    values: np.ndarray,  # [N, D]
    at: np.ndarray,  # [n] in [0, N - 1], or [0, N] when closed
    tension: float,
    closed: bool,
) -> np.ndarray:
    """Points [n, D] of the C1 curve that takes values[i] at i; tension 0 is Catmull-Rom, 1 rests at each key frame."""
    if len(values) == 1:
        return np.repeat(values, len(at), axis=0)
    knots = _wrapped(values) if closed else values
    step = knots[1:] - knots[:-1]
    tangent = _tangents(step, tension, closed)
    leaving, arriving = knots[:-1] + tangent[:-1] / 3, knots[1:] - tangent[1:] / 3
    if not closed and len(step) > 1:
        leaving[0] = (knots[0] + arriving[0]) / 2
        arriving[-1] = (knots[-1] + leaving[-1]) / 2
    i, t = _segments(at, len(step))
    t = t[:, None]
    a, b, c, d = knots[i], leaving[i], arriving[i], knots[i + 1]
    return (1 - t) ** 3 * a + 3 * t * (1 - t) ** 2 * b + 3 * t**2 * (1 - t) * c + t**3 * d


def spline_rotations(rotations: Rotation, at: np.ndarray, tension: float, closed: bool) -> Rotation:
    """n rotations of the curve through N `rotations` with continuous angular velocity; `at` as in `spline_values`."""
    count = len(rotations)
    if count == 1:
        return rotations[np.zeros(len(at), int)]
    knots = rotations[_wrapped(np.arange(count))] if closed else rotations
    step = (knots[1:] * knots[:-1].inv()).as_rotvec()  # the shorter way, in the world's axes
    tangent = _tangents(step, tension, closed)
    leaving = Rotation.from_rotvec(tangent[:-1] / 3) * knots[:-1]
    arriving = Rotation.from_rotvec(-tangent[1:] / 3) * knots[1:]
    if not closed and len(step) > 1:
        leaving = _replaced(leaving, 0, _slerp(knots[:1], arriving[:1], np.array([0.5])))
        arriving = _replaced(arriving, len(step) - 1, _slerp(knots[-1:], leaving[-1:], np.array([0.5])))
    i, t = _segments(at, len(step))
    curve = [knots[i], leaving[i], arriving[i], knots[i + 1]]
    while len(curve) > 1:
        curve = [_slerp(a, b, t) for a, b in itertools.pairwise(curve)]
    return curve[0]


def index_at(
    times_s: np.ndarray,  # [n]
    key_times_s: np.ndarray,  # [N] strictly increasing, [N + 1] when closed
    closed: bool,
) -> np.ndarray:
    """The parameter [n] of the curves at given times: monotone and C1, a whole number at each key frame's time."""
    if len(key_times_s) == 1:
        return np.zeros(len(times_s))
    index = np.arange(len(key_times_s), dtype=float)
    return np.clip(_monotone(key_times_s, index, closed, 1.0, times_s), 0, index[-1])


def monotone_values(
    values: np.ndarray,  # [N], [N + 1] when closed
    at: np.ndarray,  # [n]
    closed: bool,
) -> np.ndarray:
    """Numbers [n] of a C1 curve that never leaves the range of neighbouring values: what stands still stays still."""
    if len(values) == 1:
        return np.repeat(values, len(at))
    return _monotone(np.arange(len(values), dtype=float), values, closed, 0.0, at)


def _monotone(x: np.ndarray, y: np.ndarray, closed: bool, gain: float, at: np.ndarray) -> np.ndarray:
    """PCHIP (Fritsch and Butland 1984); a closed curve repeats with y raised by `gain` for each key frame."""
    if closed:  # one more knot at both ends, so that the slopes agree where the curve closes
        rise = gain * (len(y) - 1)
        x = np.concatenate([[x[0] - (x[-1] - x[-2])], x, [x[-1] + (x[1] - x[0])]])
        y = np.concatenate([[y[-2] - rise], y, [y[1] + rise]])
    return PchipInterpolator(x, y)(at)


def _wrapped(values: np.ndarray) -> np.ndarray:
    return np.concatenate([values, values[:1]])


def _tangents(step: np.ndarray, tension: float, closed: bool) -> np.ndarray:
    """Velocities [S + 1, D] at the knots of S steps [S, D]; at open ends those of a straight first and last piece."""
    inner = (1 - tension) * (step[1:] + step[:-1]) / 2
    if closed:
        seam = (1 - tension) * (step[:1] + step[-1:]) / 2
        return np.concatenate([seam, inner, seam])
    return np.concatenate([step[:1], inner, step[-1:]])


def _segments(at: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(segment [n], position within it [n] in [0, 1])."""
    i = np.clip(np.floor(at).astype(int), 0, count - 1)
    return i, at - i


def _slerp(a: Rotation, b: Rotation, t: np.ndarray) -> Rotation:
    return Rotation.from_rotvec(t[:, None] * (b * a.inv()).as_rotvec()) * a


def _replaced(rotations: Rotation, index: int, one: Rotation) -> Rotation:
    quats = rotations.as_quat()
    quats[index] = one.as_quat()[0]
    return Rotation.from_quat(quats)
