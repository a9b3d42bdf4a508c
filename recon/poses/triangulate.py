"""`triangulate`: sparse points for photographs whose cameras are known."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pycolmap
import torch

from ...scene.cameras import Cameras
from ...scene.capture import Capture
from ...scene.moments import is_synchronised, moments
from ...scene.point_cloud import PointCloud
from ...scene.progress import Progress, silent
from .correspondences import Correspondences, find_correspondences
from .features import Features
from .mapping import MAX_ERROR_PX, pipeline_options, quiet_pycolmap, write_database
from .matchers import load_matcher, matcher_kinds
from .pair_selection import pairs_of_cameras
from .placed_capture import observed_points
from .poses_config import PosesConfig
from .verification import Pair, ViewGraph, verify_with_cameras

MIN_ANGLE_DEG = 1.5  # between two rays to a point; below it an error of a pixel moves the point by a tenth of its depth
ENOUGH_SEEN = 100  # points that each photograph should see; where one sees fewer, the next matcher is asked, too


def triangulate(
    capture: Capture,
    config: PosesConfig = PosesConfig(),  # noqa: B008
    progress: Progress = silent,
) -> PointCloud:
    """Points that the photographs of a capture with cameras have in common, in the cameras' world, with observations.

    The cameras stay as they are. Only opaque, unmasked pixels of what stands still take part. Points that are seen
    under less than MIN_ANGLE_DEG, or that project further than MAX_ERROR_PX from a match in copies of `image_side_px`,
    are left out.
    Photographs that show nothing to match give few points or none.
    Raises ValueError for a capture without cameras.
    """
    if capture.cameras is None:
        raise ValueError("expected a capture with cameras; `estimate_poses` finds them")
    pairs = _pairs(capture, config)
    correspondences: Correspondences | None = None
    best = PointCloud.empty()
    if not pairs:
        return best

    def given_pairs(features: list[Features]) -> list[Pair]:
        return pairs

    for kind in matcher_kinds(config.features, len(capture)):
        matcher = load_matcher(kind, config.keypoints, config.device)
        more = find_correspondences(capture, matcher, given_pairs, config.image_side_px, {}, progress)
        correspondences = more if correspondences is None else correspondences.joined(more)
        found = _points(capture.cameras, correspondences, config.seed)
        best = max(best, found, key=len)
        if int(_seen_in_each(best, len(capture)).min()) >= ENOUGH_SEEN:
            break
    return best


def _pairs(capture: Capture, config: PosesConfig) -> list[Pair]:
    """Pairs to match; where several cameras film the same, those of one moment: what moves is elsewhere in the next."""
    assert capture.cameras is not None
    if not is_synchronised(capture):
        return pairs_of_cameras(capture.cameras, config.all_pairs_up_to, config.neighbours)
    return sorted(
        (frames[a], frames[b])
        for frames in moments(capture)
        for a, b in pairs_of_cameras(capture.cameras[frames], config.all_pairs_up_to, config.neighbours)
    )


def _seen_in_each(points: PointCloud, n_views: int) -> torch.Tensor:
    """Number of points [n_views] that each view sees."""
    assert points.seen_view is not None
    return torch.bincount(points.seen_view, minlength=n_views)


def _points(cameras: Cameras, correspondences: Correspondences, seed: int) -> PointCloud:
    """The points that the correspondences give with these cameras, which are not moved."""
    features = [image.features for image in correspondences.images]
    cam_from_world = _rigid(cameras.unrounded_poses.numpy())
    sizes = torch.tensor([[f.width, f.height] for f in features])
    K = cameras.resized(sizes[:, 0], sizes[:, 1]).K.double().numpy()
    graph = verify_with_cameras(features, correspondences.matches, cam_from_world, K, MAX_ERROR_PX)
    lenses = [_pinhole(view + 1, f, k) for view, (f, k) in enumerate(zip(features, K, strict=True))]
    with quiet_pycolmap():
        reconstruction = _triangulated(graph, lenses, cam_from_world, seed)
    colors = [image.colors for image in correspondences.images]
    xyz, rgb, seen_point, seen_view = observed_points(reconstruction, list(range(len(features))), colors)
    return PointCloud(xyz.float(), rgb, seen_point, seen_view, exact=xyz.double())


def _triangulated(
    graph: ViewGraph, lenses: list[pycolmap.Camera], cam_from_world: np.ndarray, seed: int
) -> pycolmap.Reconstruction:
    """A reconstruction with one camera for each view, all held fixed, and points refined and filtered."""
    posed = pycolmap.Reconstruction()
    for view, lens in enumerate(lenses):
        posed.add_camera_with_trivial_rig(lens)
        image = pycolmap.Image(name=f"{view:06d}", camera_id=lens.camera_id, image_id=view + 1)
        posed.add_image_with_trivial_frame(image, pycolmap.Rigid3d(cam_from_world[view, :3]))
    with tempfile.TemporaryDirectory(prefix="fewview-points-") as folder:
        database, model = Path(folder) / "database.db", Path(folder) / "model"
        model.mkdir()
        write_database(database, graph, lenses, [lens.camera_id for lens in lenses])
        pycolmap.set_random_seed(seed)
        options = pipeline_options(MIN_ANGLE_DEG, seed)
        return pycolmap.triangulate_points(posed, database, folder, model, options=options)


def _pinhole(camera_id: int, features: Features, K: np.ndarray) -> pycolmap.Camera:
    camera = pycolmap.Camera.create_from_model_name(camera_id, "PINHOLE", 1.0, features.width, features.height)
    camera.params = [K[0, 0], K[1, 1], K[0, 2], K[1, 2]]
    camera.has_prior_focal_length = True
    return camera


def _rigid(
    cam_from_world: np.ndarray,  # [N, 4, 4]
) -> np.ndarray:
    """The same with rotations that are orthonormal to float64, where files and float32 are not."""
    u, _, vt = np.linalg.svd(cam_from_world[:, :3, :3])
    out = cam_from_world.copy()
    out[:, :3, :3] = u @ vt
    return out
