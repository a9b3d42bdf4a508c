"""Point clouds on the page, and the tracks that tie sparse points to a photograph."""

from __future__ import annotations

import numpy as np
import torch
import viser
from torch import Tensor

from ...scene.capture import Capture
from ...scene.point_cloud import PointCloud
from ..stage import Stage

POINT_SIZE = 0.02  # page units
TRACK_COLOR = (255, 200, 60)
MAX_TRACKS = 400  # lines of one photograph; more would be a solid fan


def draw_points(
    server: viser.ViserServer, path: str, points: PointCloud, stage: Stage, visible: bool = True
) -> viser.PointCloudHandle:
    return server.scene.add_point_cloud(
        path,
        stage.place(points.xyz),
        points.rgb.numpy(),
        point_size=POINT_SIZE,
        point_shape="circle",
        precision="float32",
        visible=visible,
    )


def tracks_of(capture: Capture, view: int) -> Tensor:
    """Positions [M, 3] in the world of the sparse points that a photograph sees, at most MAX_TRACKS, evenly taken."""
    points = capture.points
    if points is None or points.seen_point is None or points.seen_view is None:
        return torch.zeros(0, 3)
    seen = points.seen_point[points.seen_view == view]
    if len(seen) > MAX_TRACKS:
        seen = seen[torch.linspace(0, len(seen) - 1, MAX_TRACKS).round().long()]
    return points.xyz[seen]


def draw_tracks(
    server: viser.ViserServer, path: str, center_world: Tensor, points_world: Tensor, stage: Stage
) -> viser.LineSegmentsHandle:
    """Lines from a camera's centre [3] to points [M, 3]."""
    ends = stage.place(points_world)
    lines = np.stack([np.broadcast_to(stage.place(center_world), ends.shape), ends], axis=1)
    return server.scene.add_line_segments(
        path, lines, np.array(TRACK_COLOR, np.uint8), thickness=1.0, thickness_units="screen"
    )
