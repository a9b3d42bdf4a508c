"""`estimate_poses` by a network: it places the training photographs, and held-out ones are registered to its depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pycolmap
import torch

from ....scene.cameras import Cameras
from ....scene.capture import Capture
from ....scene.geometry import Similarity, se3_from, transform_points
from ....scene.progress import Progress, silent
from ...evidence.depth_maps import Stereo
from ..correspondences import Evidence, gather, timed
from ..features import Features
from ..focal_prior import group_lenses
from ..gps_scale import in_metres
from ..held_out import MAX_INTERPOLATED_ERROR_PX, not_registered, pose_of_view
from ..matchers import load_matcher, matcher_kinds
from ..poses_config import Poses, PosesConfig
from .providers import Provider


def estimate_by_network(
    capture: Capture,
    provider: Provider,
    config: PosesConfig = PosesConfig(),  # noqa: B008
    progress: Progress = silent,
) -> tuple[Poses, Stereo]:
    """Placed photographs as `estimate_poses` gives them, and the depth of the training ones among them, in order.

    Photographs in `capture.test` are not shown to the network: they get the pose that their matches with the others
    and the depth there agree on, and change nothing. Raises what the provider raises.
    """
    held_out = sorted(capture.test or ())
    train = [i for i in range(len(capture)) if i not in held_out]
    found = provider.place(capture.subset(train), progress)
    placed = [view for k, view in enumerate(train) if k not in found.unplaced]
    unplaced = {train[k]: reason for k, reason in found.unplaced.items()}
    seconds = dict(found.seconds)
    assert found.capture.cameras is not None
    cameras = dict(zip(placed, (found.capture.cameras[k] for k in range(len(placed))), strict=True))
    with timed("held-out", seconds):
        registered, reasons = _registered(capture, found.stereo, cameras, held_out, config, progress)
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
    stereo, stats = found.stereo, found.stats
    if scale is not None:
        stereo = stereo.transformed(Similarity(torch.tensor(scale.metres), torch.eye(3), torch.zeros(3)))
        stats = stats | {"scale": scale.as_stats()}
    return Poses(whole, views, unplaced, seconds, stats), stereo


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
        matcher = load_matcher(kind, config.keypoints_for(len(capture)))
        evidence = gather(capture, matcher, lambda _, pairs=pairs: pairs, config.image_side_px, {}, progress)  # type: ignore[misc]
        points_of = {
            view: _points_at_keypoints(stereo, k, evidence.images[view].features) for k, view in enumerate(cameras)
        }
        for view in waiting:
            lens = _lens(capture, evidence, cameras, view)
            pose, met = pose_of_view(evidence, view, lens, points_of, MAX_INTERPOLATED_ERROR_PX, config.seed)
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


def _lens(capture: Capture, evidence: Evidence, cameras: dict[int, Cameras], view: int) -> pycolmap.Camera:
    """Of a held-out view, at the size of its keypoints: that of the placed ones that share it, else EXIF's or all's."""
    features = [image.features for image in evidence.images]
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
