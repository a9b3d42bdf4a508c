"""Photographs that are only measured on: placed in a finished solution, in which they had no say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pycolmap
from scipy.interpolate import LinearNDInterpolator
from scipy.spatial import QhullError

from ...scene.capture import Capture
from .correspondences import Correspondences
from .focal_prior import Lenses
from .mapping import Model

MIN_INLIERS = 8  # matches with points that must agree on a pose; three fix it, five more by chance are unheard of
MAX_ERROR_PX = 6.0  # of a point whose own place is uncertain; the pose is refined on what agrees
MAX_INTERPOLATED_ERROR_PX = 15.0  # of one whose depth is a guess
MAX_TRIALS = 10_000  # the sampling stops earlier when it is sure


def register_held_out(
    capture: Capture,
    correspondences: Correspondences,
    lenses: Lenses,
    model: Model,
    held_out: Sequence[int],
    seed: int,
) -> tuple[dict[int, np.ndarray], dict[int, str]]:
    """cam_from_world [3, 4] of the held-out views in the model's world, and a sentence for each that has none.

    A pose comes from the view's matches with keypoints that the model has points for (P3P in RANSAC, then the inliers'
    least reprojection error). Where these are too few, all matches take part, with depths interpolated between the
    points that their photograph sees, and less is asked of each. Neither cameras nor points of the model change.
    """
    points_of = {view: _points_at_keypoints(model.reconstruction, view) for view in model.views}
    dense_points_of: dict[int, dict[int, np.ndarray]] = {}
    poses: dict[int, np.ndarray] = {}
    reasons: dict[int, str] = {}
    for view in held_out:
        camera = camera_of(lenses, model, view)
        pose, met = pose_of_view(correspondences, view, camera, points_of, MAX_ERROR_PX, seed)
        if pose is None:
            dense_points_of = dense_points_of or _interpolated_points(model, correspondences, points_of)
            pose, met = pose_of_view(correspondences, view, camera, dense_points_of, MAX_INTERPOLATED_ERROR_PX, seed)
        if pose is None:
            reasons[view] = not_registered(capture.names[view], met)
        else:
            poses[view] = pose
    return poses, reasons


def pose_of_view(
    correspondences: Correspondences,
    view: int,
    camera: pycolmap.Camera,  # at the size that the view's keypoints were found at
    points_of: Mapping[int, Mapping[int, np.ndarray]],  # of each placed view, by keypoint: the point [3] behind it
    max_error_px: float,
    seed: int,
) -> tuple[np.ndarray | None, int]:
    """cam_from_world [3, 4] of a view in the world of the points, None where too few agree; and how many it met."""
    xy, xyz = _pixels_and_points(correspondences, view, points_of)
    return _pose(camera, xy, xyz, max_error_px, seed), len(xy)


def not_registered(name: str, met: int) -> str:
    """The sentence about a held-out photograph that has no pose."""
    return (
        f"{name} is held out and could not be registered: {met} of its matches meet what the other photographs show, "
        f"and {MIN_INLIERS} have to agree on its place."
    )


def camera_of(lenses: Lenses, model: Model, view: int) -> pycolmap.Camera:
    """The lens of any view: the model's own where a mapped view shares it, else EXIF's or the model's focal ratio."""
    camera_id = lenses.camera_of_view[view]
    used = {model.reconstruction.image(v + 1).camera_id for v in model.views}
    if camera_id in used:
        return model.reconstruction.camera(camera_id)
    return lenses.cameras("SIMPLE_PINHOLE", model.focal_ratio)[camera_id - 1]


def _pose(
    camera: pycolmap.Camera,
    xy: np.ndarray,  # [M, 2] pixels
    xyz: np.ndarray,  # [M, 3]
    max_error_px: float,
    seed: int,
) -> np.ndarray | None:
    """cam_from_world [3, 4], or None where too few agree."""
    if len(xy) < MIN_INLIERS:
        return None
    pycolmap.set_random_seed(seed)
    options = pycolmap.AbsolutePoseEstimationOptions()
    options.ransac.max_error = max_error_px
    options.ransac.max_num_trials = MAX_TRIALS
    options.ransac.random_seed = seed
    found: dict[str, Any] | None = pycolmap.estimate_and_refine_absolute_pose(xy, xyz, camera, options)
    if found is None or found["num_inliers"] < MIN_INLIERS:
        return None
    return np.asarray(found["cam_from_world"].matrix())


def _points_at_keypoints(reconstruction: pycolmap.Reconstruction, view: int) -> dict[int, np.ndarray]:
    """The point [3] behind each keypoint of a view that has one."""
    keypoints = reconstruction.image(view + 1).points2D
    return {i: reconstruction.point3D(p.point3D_id).xyz for i, p in enumerate(keypoints) if p.has_point3D()}


def _interpolated_points(
    model: Model, correspondences: Correspondences, points_of: dict[int, dict[int, np.ndarray]]
) -> dict[int, dict[int, np.ndarray]]:
    """A point behind every keypoint between those that have one: linear in inverse depth, which planes are."""
    out = {}
    for view, points in points_of.items():
        image = model.reconstruction.image(view + 1)
        cam_from_world = image.cam_from_world()
        in_camera = cam_from_world * np.array(list(points.values())).reshape(-1, 3)
        xy = correspondences.images[view].features.xy_px.numpy().astype(np.float64)
        try:
            inverse_depth = LinearNDInterpolator(xy[list(points)], 1 / in_camera[:, 2])(xy)
        except (QhullError, ValueError):  # fewer than three, or all on one line
            continue
        rays = model.reconstruction.camera(image.camera_id).cam_from_img(xy)
        assert rays is not None  # None is for a single pixel that has no ray
        there = np.isfinite(inverse_depth) & (inverse_depth > 0)
        behind = np.pad(rays[there], ((0, 0), (0, 1)), constant_values=1) / inverse_depth[there, None]
        world = cam_from_world.inverse() * behind
        out[view] = dict(zip(np.flatnonzero(there).tolist(), world, strict=True))
    return out


def _pixels_and_points(
    correspondences: Correspondences, view: int, points_of: Mapping[int, Mapping[int, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels [M, 2] of a view and the points [M, 3] that its matches in mapped views have; each pair once."""
    own_xy = correspondences.images[view].features.xy_px.numpy().astype(np.float64)
    found: dict[tuple[int, bytes], np.ndarray] = {}
    for other, points in points_of.items():
        first = view < other
        matches = correspondences.matches.get((view, other) if first else (other, view))
        if matches is None:
            continue
        for own, theirs in matches if first else matches[:, ::-1]:
            point = points.get(int(theirs))
            if point is not None:
                found[int(own), point.tobytes()] = point
    xy = own_xy[[own for own, _ in found]].reshape(-1, 2)
    return xy, np.array(list(found.values()), np.float64).reshape(-1, 3)
