"""Camera paths for films: an orbit that stays where the photographs were taken, and a flight through them."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.interpolate import CubicHermiteSpline
from scipy.spatial.transform import Rotation, Slerp
from torch import Tensor

from ..scene.cameras import Cameras
from ..scene.errors import BadInputError
from ..scene.geometry import se3_from, se3_inverse
from .aim import focus_point, look_at, up_direction

FULL_CIRCLE_RAD = math.radians(270)  # cameras that cover more than this are taken to surround the object
MIN_ROUNDNESS = 0.2  # the shorter half-axis of an orbit, relative to the longer one
MAX_ELEVATION_RAD = math.radians(80)  # nearer to the pole the picture would spin


def orbit(cameras: Cameras, n: int, *, loops: int = 1) -> Cameras:
    """`n` cameras [n] on a smooth closed orbit through the region that `cameras` cover, looking at their focus.

    Where the cameras surround the object (over 270 degrees) it is a full circle at their median distance and
    elevation. Otherwise it is an ellipse in azimuth and elevation that touches the outermost azimuths, spans the
    middle 80 % of the elevations (single high and low shots say little) and never leaves the photographed side.
    The lens and the image size are those of the camera with the median field of view.
    `loops` is how often the orbit is closed within the `n` cameras; the last one does not repeat the first.
    """
    check_path(cameras, n)
    up, focus = up_direction(cameras).double(), focus_point(cameras).double()
    offset = cameras.centers.double() - focus
    east, north = _horizontal_axes(up, offset.mean(0), cameras)
    radius = offset.norm(dim=-1).clamp_min(1e-9)
    azimuth = torch.atan2(offset @ north, offset @ east)
    elevation = torch.asin((offset @ up / radius).clamp(-1, 1))
    phase = torch.arange(n, dtype=torch.float64) * (2 * math.pi * loops / n)
    start, covered = _covered_arc(azimuth)
    if covered > FULL_CIRCLE_RAD:
        path_azimuth = float(azimuth[0]) + phase
        path_elevation = elevation.median().expand(n)
        path_radius = radius.median().expand(n)
    else:
        relative = torch.remainder(azimuth - start + 1e-9, 2 * math.pi) - covered / 2
        lowest, highest = elevation.quantile(0.1), elevation.quantile(0.9)
        half_elevation = float(highest - lowest) / 2
        wide = max(covered / 2, MIN_ROUNDNESS * half_elevation, 0.02)
        high = max(half_elevation, MIN_ROUNDNESS * wide)
        swing = wide * phase.cos()
        path_azimuth = start + covered / 2 + swing
        path_elevation = (highest + lowest) / 2 + high * phase.sin()
        path_radius = _radius_along(relative, radius, swing)
    path_elevation = path_elevation.clamp(-MAX_ELEVATION_RAD, MAX_ELEVATION_RAD)
    flat = path_azimuth.cos()[:, None] * east + path_azimuth.sin()[:, None] * north
    direction = path_elevation.cos()[:, None] * flat + path_elevation.sin()[:, None] * up
    centers = focus + path_radius[:, None] * direction
    cam_from_world = look_at(centers, focus, up).to(cameras.cam_from_world)
    lens = median_lens(cameras)
    return Cameras(
        cam_from_world, lens.K.expand(n, 3, 3).clone(), lens.width.expand(n).clone(), lens.height.expand(n).clone()
    )


def through(cameras: Cameras, n: int) -> Cameras:
    """`n` cameras [n] on a smooth flight through `cameras` in their order, first and last included.

    Centres follow a Catmull-Rom spline, orientations spherical interpolation, focal lengths and principal points
    change linearly in units of the image size; the image size is that of the camera with the median field of view.
    The pace is even in distance travelled plus angle turned.
    """
    check_path(cameras, n)
    lens = median_lens(cameras)
    world_from_cam = cameras.world_from_cam.double()
    if len(cameras) == 1:
        return cameras[torch.zeros(n, dtype=torch.int64)]
    rotations = Rotation.from_matrix(world_from_cam[:, :3, :3].numpy())
    centers = world_from_cam[:, :3, 3].numpy()
    knots = _knots(centers, rotations)
    at = np.linspace(0, knots[-1], n)
    path_centers = CubicHermiteSpline(knots, centers, _catmull_rom_tangents(knots, centers))(at)
    path_rotations = Slerp(knots, rotations)(at).as_matrix()
    pose = se3_from(torch.from_numpy(path_rotations), torch.from_numpy(path_centers))
    size = torch.stack([cameras.width, cameras.height], -1)[:, :, None].to(cameras.K)
    relative = (cameras.K[:, :2] / size).reshape(len(cameras), -1).double().numpy()
    K = lens.K.expand(n, 3, 3).clone()
    lens_size = torch.stack([lens.width, lens.height])[:, None]
    K[:, :2] = torch.from_numpy(_linear(at, knots, relative)).reshape(n, 2, 3).to(K) * lens_size
    times = None
    if cameras.times_s is not None:
        times = torch.from_numpy(np.interp(at, knots, cameras.times_s.numpy())).to(cameras.times_s)
    return Cameras(
        se3_inverse(pose).to(cameras.cam_from_world),
        K,
        lens.width.expand(n).clone(),
        lens.height.expand(n).clone(),
        times,
    )


def check_path(cameras: Cameras, n: int) -> None:
    """Raises BadInputError unless there is a camera to start from and a picture to make."""
    if n < 1:
        raise BadInputError(f"A camera path of {n} pictures was asked for; at least 1 is expected.")
    if len(cameras) == 0:
        raise BadInputError("A camera path needs at least one camera to start from, found none.")


def _horizontal_axes(up: Tensor, toward: Tensor, cameras: Cameras) -> tuple[Tensor, Tensor]:
    """Unit vectors east (toward the mean camera) and north, both at right angles to `up`."""
    east = toward - (toward @ up) * up
    if east.norm() < 1e-6 * toward.norm().clamp_min(1e-9):
        right = cameras.world_from_cam[0, :3, 0].double()
        east = right - (right @ up) * up
    east = east / east.norm().clamp_min(1e-12)
    return east, torch.linalg.cross(up, east)


def _covered_arc(azimuth: Tensor) -> tuple[float, float]:
    """(start, length) in radians of the shortest arc that holds all azimuths [n]."""
    ordered = azimuth.sort().values
    gaps = torch.cat([ordered[1:] - ordered[:-1], ordered[:1] + 2 * math.pi - ordered[-1:]])
    widest = int(gaps.argmax())
    start = ordered[(widest + 1) % len(ordered)]
    return float(start), 2 * math.pi - float(gaps[widest])


def _radius_along(azimuth: Tensor, radius: Tensor, at: Tensor) -> Tensor:
    """The cameras' distance as a smooth function of azimuth, within the distances that occur."""
    if len(azimuth) < 6 or azimuth.max() - azimuth.min() < 0.1:
        return radius.median().expand_as(at)
    powers = torch.arange(3, dtype=torch.float64)
    coefficients = torch.linalg.lstsq(azimuth[:, None] ** powers, radius[:, None], driver="gelsd").solution
    fitted = (at[:, None] ** powers @ coefficients).squeeze(-1)
    # A hard clamp would leave a corner in the path; the quantiles bound the polynomial's two ends instead.
    low, high = radius.quantile(0.05), radius.quantile(0.95)
    if fitted.min() < low or fitted.max() > high:
        return radius.median().expand_as(at)
    return fitted


def median_lens(cameras: Cameras) -> Cameras:
    """The camera (batch shape []) with the median horizontal field of view."""
    relative_focal = cameras.K[:, 0, 0] / cameras.width
    return cameras[int(relative_focal.argsort()[(len(cameras) - 1) // 2])]


def _knots(centers: np.ndarray, rotations: Rotation) -> np.ndarray:
    """Strictly increasing path parameter [n]: distance over the rig's size plus the angle turned in radians."""
    step = np.linalg.norm(np.diff(centers, axis=0), axis=1)
    size = max(float(np.linalg.norm(centers - centers.mean(0), axis=1).max()), 1e-12)
    angle = (rotations[:-1].inv() * rotations[1:]).magnitude()
    length = step / size + angle
    return np.concatenate([[0.0], np.cumsum(np.maximum(length, 1e-6 * max(length.max(), 1e-6)))])


def _catmull_rom_tangents(knots: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Tangents [n, 3] of the spline with uneven knots: the slopes of the two neighbours, the nearer one heavier."""
    gap = np.diff(knots)[:, None]
    slope = np.diff(values, axis=0) / gap
    inner = (gap[1:] * slope[:-1] + gap[:-1] * slope[1:]) / (gap[:-1] + gap[1:])
    return np.concatenate([slope[:1], inner, slope[-1:]])


def _linear(at: np.ndarray, knots: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.stack([np.interp(at, knots, column) for column in values.T], axis=1)
