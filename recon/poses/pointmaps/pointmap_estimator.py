"""Pose estimation by a pointmap network: it places the training photographs, the others are registered to its depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pycolmap
import torch

from ....scene.cameras import Cameras
from ....scene.capture import Capture
from ....scene.geometry import Similarity, se3_from, transform_points
from ....scene.progress import Progress, silent
from ...evidence.depth_maps import Stereo
from ..correspondences import find_correspondences, timed
from ..features import Features
from ..focal_prior import group_lenses
from ..gps_scale import in_metres
from ..held_out import MAX_INTERPOLATED_ERROR_PX, not_registered, pose_of_view
from ..matchers import load_matcher, matcher_kinds
from ..pose_estimator import Poses
from ..poses_config import PosesConfig
from ..verification import Pair
from .providers import Provider


@dataclass(frozen=True)
class PointmapEstimator:
    """A network that gives cameras and depth of the training photographs at once; see `PoseEstimator`."""

    provider: Provider
    name: str  # of the file or folder of its weights
    config: PosesConfig = field(default_factory=PosesConfig)  # of the matches that register held-out photographs

    def place(self, capture: Capture, progress: Progress = silent) -> Poses:
        """Placed photographs, and the depth of the training ones among them.

        Photographs in `capture.test` are not shown to the network: they get the pose that their matches with the others
        and the depth there agree on. Raises what the provider raises.
        """
        held_out = sorted(capture.test or ())
        train = [i for i in range(len(capture)) if i not in held_out]
        found = self.provider.place(capture.subset(train), progress)
        placed = [train[k] for k in found.placed]
        unplaced = {train[k]: reason for k, reason in found.unplaced.items()}
        seconds, stats, depths = dict(found.seconds), found.stats, found.depths
        assert depths is not None
        assert found.capture.cameras is not None
        cameras = dict(zip(placed, (found.capture.cameras[k] for k in range(len(placed))), strict=True))
        with timed("held-out", seconds):
            registered, reasons = _registered(capture, depths, cameras, held_out, self.config, progress)
        unplaced |= reasons
        views = sorted([*placed, *registered])
        whole = capture.subset(views)
        points = found.capture.points
        assert points is not None
        assert points.seen_view is not None
        place = torch.tensor([views.index(view) for view in placed])
        whole = replace(
            whole,
            cameras=Cameras.stack([(cameras | registered)[view] for view in views]),
            points=replace(points, seen_view=place[points.seen_view]),
            notes=(*whole.notes, *(f"Not placed: {reason}" for reason in unplaced.values())),
        )
        whole, scale = in_metres(whole)
        if scale is not None:
            depths = depths.transformed(Similarity(torch.tensor(scale.metres), torch.eye(3), torch.zeros(3)))
            stats = stats | {"scale": scale.as_stats()}
        note = f"Cameras and depth come from the network in {self.name}."
        return Poses(whole, views, unplaced, seconds, stats, depths=depths, notes=(note,))


def _registered(
    capture: Capture,
    stereo: Stereo,  # of the placed views, in the order of `cameras`
    cameras: dict[int, Cameras],  # [] each, of the placed views at their frames' sizes
    held_out: Sequence[int],
    config: PosesConfig,
    progress: Progress,
) -> tuple[dict[int, Cameras], dict[int, str]]:
    """Cameras [] of the held-out views at their frames' sizes, and a sentence for each that has none."""
    found: dict[int, Cameras] = {}
    reasons: dict[int, str] = {}
    for kind in matcher_kinds(config.features, len(capture)):
        waiting = [view for view in held_out if view not in found]
        if not waiting:
            break
        pairs = [(min(a, b), max(a, b)) for a in waiting for b in cameras]
        matcher = load_matcher(kind, config.keypoints, config.device)

        def chosen(_: list[Features], pairs: list[Pair] = pairs) -> list[Pair]:
            return pairs

        matched = find_correspondences(capture, matcher, chosen, config.image_side_px, {}, progress)
        features = [image.features for image in matched.images]
        points_of = {view: _points_at_keypoints(stereo, k, features[view]) for k, view in enumerate(cameras)}
        for view in waiting:
            lens = _lens(capture, features, cameras, view)
            pose, met = pose_of_view(matched, view, lens, points_of, MAX_INTERPOLATED_ERROR_PX, config.seed)
            reasons[view] = not_registered(capture.names[view], met)
            if pose is not None:
                found[view] = _camera(pose, lens, capture.frames[view].width, capture.frames[view].height)
    return found, {view: reason for view, reason in reasons.items() if view not in found}


def _points_at_keypoints(stereo: Stereo, view: int, features: Features) -> dict[int, np.ndarray]:
    """The point [3] behind each keypoint of a view whose depth is trusted."""
    camera, depth_map = stereo.cameras[view], stereo.maps[view]
    height, width = depth_map.depth.shape
    xy = features.xy_px * torch.tensor([width / features.width, height / features.height])
    column, row = xy.long().unbind(1)
    column, row = column.clamp(0, width - 1), row.clamp(0, height - 1)
    focal, center = camera.K.diagonal()[:2], camera.K[:2, 2]
    rays = torch.cat([(xy - center) / focal, torch.ones(len(xy), 1)], dim=1)
    xyz = transform_points(camera.world_from_cam, rays * depth_map.depth[row, column, None]).double().numpy()
    trusted = (depth_map.confidence[row, column] > 1).nonzero()[:, 0].tolist()
    return {keypoint: xyz[keypoint] for keypoint in trusted}


def _lens(capture: Capture, features: list[Features], cameras: dict[int, Cameras], view: int) -> pycolmap.Camera:
    """Of a held-out view, at the size of its keypoints: that of the placed ones that share it, else EXIF's or all's."""
    lenses = group_lenses(list(capture.frames), [(f.width, f.height) for f in features])
    ratios = {v: float(camera.K[0, 0]) / max(int(camera.width), int(camera.height)) for v, camera in cameras.items()}
    camera_id = lenses.camera_of_view[view]
    shared = [ratio for v, ratio in ratios.items() if lenses.camera_of_view[v] == camera_id]
    width, height = features[view].width, features[view].height
    focal_px = lenses.focal_px[camera_id - 1]
    if shared or focal_px is None:
        focal_px = float(np.mean(shared or list(ratios.values()))) * max(width, height)
    return pycolmap.Camera.create_from_model_name(camera_id, "SIMPLE_PINHOLE", focal_px, width, height)


def _camera(
    pose: np.ndarray,  # [3, 4]
    lens: pycolmap.Camera,
    width: int,
    height: int,
) -> Cameras:
    matrix = torch.from_numpy(pose)
    cam_from_world = se3_from(matrix[:, :3], matrix[:, 3]).float()
    focal_px = lens.mean_focal_length() * max(width, height) / max(lens.width, lens.height)
    return Cameras.pinhole(cam_from_world, focal_px, width, height)
