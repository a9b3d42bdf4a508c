"""Trajectories of a moving splat on the page: lines through the moments, coloured from the first to the last."""

from __future__ import annotations

import cv2
import numpy as np
import torch
import viser
from torch import Tensor

from ...scene.control_points import ControlPointMotion
from ...scene.splat import MovingSplat
from ..stage import Stage

MAX_LINES = 96  # more hide what they are drawn over
MAX_MOMENTS = 60
CHOSEN_FROM = 4096  # Gaussians that the lines of a splat without control points are chosen from


def trajectories(splat: MovingSplat) -> Tensor:
    """Places [T, n, 3] in the world of some control points, or of some Gaussians where there are none.

    Those are taken that are the farthest from each other over the whole motion, so that each part of it has some.
    """
    first, last = splat.time_range_s
    motion = splat.motion
    stored = len(motion.tensors()["times_s"])
    moments = np.linspace(first, last, min(max(stored, 2), MAX_MOMENTS)).tolist()
    if isinstance(motion, ControlPointMotion):
        used = motion.of_used_points()
        places = torch.stack([used.points_at(moment) for moment in moments])
    else:
        some = splat.rows(torch.linspace(0, len(splat) - 1, min(len(splat), CHOSEN_FROM)).long())
        places = torch.stack([some.at(moment).means for moment in moments])
    places = places.detach().cpu()
    places = places[:, places.isfinite().all(-1).all(0)]
    return places[:, _far_apart(places.transpose(0, 1).flatten(1), MAX_LINES)]


def _far_apart(rows: Tensor, count: int) -> Tensor:
    """Indices of `count` rows [n, D] at most, each the farthest from those before it."""
    if len(rows) <= count:
        return torch.arange(len(rows))
    chosen = [0]
    distance = (rows - rows[0]).square().sum(-1)
    while len(chosen) < count:
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, (rows - rows[chosen[-1]]).square().sum(-1))
    return torch.tensor(chosen)


def draw_trajectories(
    server: viser.ViserServer, path: str, splat: MovingSplat, stage: Stage
) -> list[viser.LineSegmentsHandle]:
    """The lines, from blue at the first moment to red at the last; none where nothing can be seen of them."""
    places = trajectories(splat)
    if places.shape[0] < 2 or places.shape[1] == 0:
        return []
    page = stage.place(places)
    segments = np.stack([page[:-1], page[1:]], axis=2).reshape(-1, 2, 3)
    levels = np.linspace(25, 230, len(page)).astype(np.uint8)  # the ends of the map are dark
    ramp = cv2.applyColorMap(levels[:, None], cv2.COLORMAP_TURBO)[:, 0, ::-1]
    ramp = np.rint(255 * (ramp / 255) ** 2.2).astype(np.uint8)  # viser takes colours of vertices as linear light
    ends = np.stack([ramp[:-1], ramp[1:]], axis=1)  # [T - 1, 2, 3]
    colors = np.repeat(ends[:, None], page.shape[1], axis=1).reshape(-1, 2, 3)
    return [
        server.scene.add_line_segments(
            f"{path}/trajectories", segments, np.ascontiguousarray(colors), thickness=2.0, thickness_units="screen"
        )
    ]
