"""Sightings of boxes by cameras: the additional annotations that image branches of detectors learn from."""

from __future__ import annotations

import torch
from torch import Tensor

from ...scene.boxes import EDGES, Boxes
from ...scene.cameras import Cameras
from ...scene.geometry import transform_points
from .driving_sample import CameraObjects

NEAR_M = 0.1  # boxes are cut at this depth, as what is behind a camera has no place in its image


def camera_objects(boxes: Boxes, cameras: Cameras) -> CameraObjects:
    """The sightings of `boxes` by `cameras` [V], both in one frame: those whose centre is in the image."""
    if not len(cameras):
        none = torch.zeros(0, dtype=torch.int64)
        return CameraObjects(none, none, none, torch.zeros(0, 2), torch.zeros(0), torch.zeros(0, 4), torch.zeros(0, 9))
    parts = [_in_view(boxes, cameras[view], view) for view in range(len(cameras))]
    return CameraObjects(*(torch.cat([vars(part)[name] for part in parts]) for name in vars(parts[0])))


def _in_view(boxes: Boxes, camera: Cameras, view: int) -> CameraObjects:
    size = torch.stack([camera.width, camera.height]).to(boxes.centers)
    centers = transform_points(camera.cam_from_world.to(boxes.centers), boxes.centers)
    pixels = _project(camera, centers)
    inside = ((pixels > 0) & (pixels < size)).all(dim=1) & (centers[:, 2] > 0)
    rows = torch.nonzero(inside).flatten()
    seen = boxes[rows].moved(camera.cam_from_world)
    headings = seen.rotations[:, :, 0]
    velocities = torch.zeros_like(seen.centers) if seen.velocities is None else seen.velocities.nan_to_num()
    numbers = torch.cat(
        [
            seen.centers,
            seen.sizes[:, [0, 2, 1]],
            torch.atan2(-headings[:, 2], headings[:, 0])[:, None],
            velocities[:, [0, 2]],
        ],
        dim=1,
    )
    return CameraObjects(
        torch.full_like(rows, view),
        rows,
        seen.labels,
        pixels[rows].float(),
        centers[rows, 2].float(),
        _rects(seen, camera, size).float(),
        numbers.float(),
    )


def _project(camera: Cameras, points: Tensor) -> Tensor:
    """Pixels [..., 2] of points [..., 3] in the camera's axes; without meaning where these are behind it."""
    return (points @ camera.K.to(points).T)[..., :2] / points[..., 2:]


def _rects(boxes: Boxes, camera: Cameras, size: Tensor) -> Tensor:
    """[M, 4] centre x, y, width, height of boxes in the camera's axes."""
    ends = boxes.corners[:, torch.tensor(EDGES)]  # [M, 12, 2, 3]
    a, b = ends[..., :1, :], ends[..., 1:, :]
    # Where an edge meets the near plane; not used for edges that do not.
    crossing = a + ((NEAR_M - a[..., 2:]) / (b[..., 2:] - a[..., 2:])) * (b - a)
    behind = ends[..., 2:] < NEAR_M
    pixels = _project(camera, torch.where(behind, crossing, ends))
    gone = behind.all(dim=-2, keepdim=True).expand_as(behind)  # edges wholly behind
    low = pixels.masked_fill(gone, torch.inf).amin(dim=(1, 2))
    high = pixels.masked_fill(gone, -torch.inf).amax(dim=(1, 2))
    low, high = (torch.minimum(v.clamp(min=0), size) for v in (low, high))
    return torch.cat([(low + high) / 2, high - low], dim=1)
