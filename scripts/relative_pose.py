"""Relative pose of two pictures from matched points alone, focal length included.

An incremental mapper needs a first pair with good angles and a focal length near the truth, and two views often give it
neither. Here a few focal lengths are tried, each pose is refined together with its focal length against the Sampson
distance, and what photographs usually have decides where two views cannot.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from fewview.recon.poses.best_model import USUAL_FOCAL_RATIO
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

START_RATIOS = (0.7, 1.1, 1.7)  # focal lengths to start from, of the longer side
FOCAL_SPREAD = 0.35  # standard deviation of the log of photographs' focal lengths around the usual one
PRIOR_SHARE = 0.05  # of the matches that it counts for: their errors are not independent, so a single one is too weak
MAX_ERROR_PX = 2.0  # Sampson distance beyond which a match is wrong
MIN_INLIERS = 15  # as for any verified pair
MIN_SHARE = 0.6  # of the matches: matchers are mostly right, and a pose that half of them contradict is not theirs
MIN_ANGLE_DEG = 1.0  # median between the rays to the points: less says next to nothing about depth
ROUNDS = 2  # of choosing the inliers and refining on them

Geometry = tuple[np.ndarray, np.ndarray, float]  # b_from_a: rotation [3, 3], unit translation [3]; focal ratio


@dataclass(frozen=True)
class RelativePose:
    """Camera b in the frame of camera a, the baseline as the unit, and the matches that agree."""

    b_from_a: np.ndarray  # [4, 4] float64
    focal_ratio: float  # of the longer side, for both
    inliers: np.ndarray  # [K] indices of matches
    points_a: np.ndarray  # [K, 3] in the frame of camera a, in front of both


def relative_pose(
    xy_a: np.ndarray,  # [M, 2] from the principal point, in longer sides of the picture
    xy_b: np.ndarray,  # [M, 2]
    side_px: float,  # longer side: what an error of a pixel is
    focal_ratio: float | None = None,  # known focal length, of the longer side
) -> RelativePose | None:
    """The pose that most matches agree with; None where too few do, or where they show no depth."""
    if len(xy_a) < MIN_INLIERS:
        return None
    found = [
        _refined(xy_a, xy_b, side_px, start, focal_ratio)
        for ratio in ([focal_ratio] if focal_ratio else START_RATIOS)
        for start in _starts(xy_a, xy_b, side_px, ratio)
    ]
    candidates = [c for c in found if c is not None]
    if not candidates:
        return None
    _, geometry = min(candidates, key=lambda c: c[0])
    errors = _sampson_px(xy_a, xy_b, geometry, side_px)
    inliers = np.flatnonzero(np.abs(errors) < MAX_ERROR_PX)
    points, angles_deg, in_front = _triangulated(xy_a[inliers], xy_b[inliers], geometry)
    if int(in_front.sum()) < max(MIN_INLIERS, MIN_SHARE * len(xy_a)) or np.median(angles_deg[in_front]) < MIN_ANGLE_DEG:
        return None
    b_from_a = np.eye(4)
    b_from_a[:3, :3], b_from_a[:3, 3], ratio = geometry
    return RelativePose(b_from_a, ratio, inliers[in_front], points[in_front])


def _starts(xy_a: np.ndarray, xy_b: np.ndarray, side_px: float, ratio: float) -> list[Geometry]:
    """Poses that an essential matrix and a homography give at one focal length.

    A scene that is nearly flat has two poses that explain its plane, and the essential matrix is as likely the one as
    the other; the homography names both, and what lies off the plane then decides.
    """
    a, b = xy_a / ratio, xy_b / ratio
    threshold = MAX_ERROR_PX / (side_px * ratio)
    starts = []
    essential, mask = cv2.findEssentialMat(a, b, np.eye(3), method=cv2.RANSAC, prob=0.9999, threshold=threshold)
    if essential is not None and essential.shape == (3, 3):
        _, rotation, translation, _ = cv2.recoverPose(essential, a, b, np.eye(3), mask=mask)
        starts.append((rotation, translation[:, 0], ratio))
    homography, _ = cv2.findHomography(a, b, cv2.RANSAC, threshold)
    if homography is not None:
        _, rotations, translations, _ = cv2.decomposeHomographyMat(homography, np.eye(3))
        for rotation, translation in zip(rotations, translations, strict=True):
            if np.linalg.norm(translation) > 0:
                starts.append((rotation, translation[:, 0] / np.linalg.norm(translation), ratio))
    return starts


def _refined(
    xy_a: np.ndarray, xy_b: np.ndarray, side_px: float, start: Geometry, known_ratio: float | None
) -> tuple[float, Geometry] | None:
    """Cost and result of least squares over rotation, direction and log focal length, the usual one as a prior."""

    def moved(geometry: Geometry, x: np.ndarray) -> Geometry:
        rotation, translation, ratio = geometry
        direction = translation + x[3:6]
        turned = rotation @ Rotation.from_rotvec(x[:3]).as_matrix()
        return turned, direction / np.linalg.norm(direction), known_ratio or ratio * float(np.exp(x[6]))

    def prior(ratio: float) -> float:
        weight = 0.0 if known_ratio else np.sqrt(PRIOR_SHARE * len(xy_a)) / FOCAL_SPREAD
        return float(weight * np.log(ratio / USUAL_FOCAL_RATIO))

    now = start
    chosen = np.abs(_sampson_px(xy_a, xy_b, now, side_px)) < 2 * MAX_ERROR_PX
    for _ in range(ROUNDS):
        if int(chosen.sum()) < MIN_INLIERS:
            return None

        def residuals(x: np.ndarray, now: Geometry = now, chosen: np.ndarray = chosen) -> np.ndarray:
            new = moved(now, x)
            return np.append(_sampson_px(xy_a[chosen], xy_b[chosen], new, side_px), prior(new[2]))

        now = moved(now, least_squares(residuals, np.zeros(6 if known_ratio else 7), loss="soft_l1", max_nfev=30).x)
        errors = _sampson_px(xy_a, xy_b, now, side_px)
        chosen = np.abs(errors) < MAX_ERROR_PX
    # A match behind a camera is as wrong as one off its line: of mirrored solutions the one in front wins.
    _, _, in_front = _triangulated(xy_a, xy_b, now)
    cost = np.where(in_front, np.minimum(np.square(errors), MAX_ERROR_PX**2), MAX_ERROR_PX**2).sum()
    return float(cost) + prior(now[2]) ** 2, now


def _sampson_px(xy_a: np.ndarray, xy_b: np.ndarray, geometry: Geometry, side_px: float) -> np.ndarray:
    """Signed first-order distances [M] from the epipolar geometry, pixels."""
    rotation, translation, ratio = geometry
    x, y, z = translation
    essential = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ rotation
    to_ray = np.diag([1 / ratio, 1 / ratio, 1])
    fundamental = to_ray @ essential @ to_ray
    a, b = _lifted(xy_a), _lifted(xy_b)
    lines_b, lines_a = a @ fundamental.T, b @ fundamental
    slope = np.sqrt(np.square(lines_b[:, :2]).sum(1) + np.square(lines_a[:, :2]).sum(1))
    distances: np.ndarray = side_px * (b * lines_b).sum(1) / np.maximum(slope, 1e-12)
    return distances


def _triangulated(xy_a: np.ndarray, xy_b: np.ndarray, geometry: Geometry) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points [M, 3] in the frame of camera a, angles between their rays in degrees [M], and which lie in front [M]."""
    rotation, translation, ratio = geometry
    b_from_a = np.column_stack([rotation, translation])
    found = cv2.triangulatePoints(np.eye(3, 4), b_from_a, xy_a.T / ratio, xy_b.T / ratio)
    with np.errstate(divide="ignore", invalid="ignore"):
        points = (found[:3] / found[3]).T
    depth_b = points @ rotation[2] + translation[2]
    ray_a, ray_b = _lifted(xy_a / ratio), _lifted(xy_b / ratio) @ rotation
    cosine = (ray_a * ray_b).sum(1) / (np.linalg.norm(ray_a, axis=1) * np.linalg.norm(ray_b, axis=1))
    in_front = np.isfinite(points).all(1) & (points[:, 2] > 0) & (depth_b > 0)
    return points, np.degrees(np.arccos(np.clip(cosine, -1, 1))), in_front


def _lifted(xy: np.ndarray) -> np.ndarray:
    return np.column_stack([xy, np.ones(len(xy))])
