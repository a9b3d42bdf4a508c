"""One picture of a sentence: the scan from above with the box, what pruning left, and photographs with the box."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import torch
from torch import Tensor

from ...render.draw_boxes import draw_boxes, draw_boxes_from_above, draw_scale_bar
from ...scene.boxes import Boxes
from ...scene.errors import BadInputError
from .grounding_samples import GroundingSample
from .picture_legend import legend

SIDE_PX = 420  # of each view from above
CUT_M = 2.1  # above the floor: ceilings and the tops of walls are left out
FOUND_COLOR, TRUTH_COLOR, VOXEL_COLOR = (220, 40, 40), (40, 200, 60), (30, 90, 230)
MARGIN_M, LEAST_REACH_M = 0.4, 1.5
PHOTOGRAPHS = 3


def grounding_picture(
    sample: GroundingSample,
    boxes: Boxes,  # with scores; the best one is drawn
    stages: Mapping[str, Tensor],  # name -> voxels that a pruning left, their middles [n, 3] in metres
    random_weights: bool = False,  # whether the picture says that its box means nothing
) -> np.ndarray:
    """uint8 [H, W, 3]: views from above side by side, photographs that show the box below, then the sentence.

    The box that was found is red, the annotated one green, and voxels that are left are blue.
    """
    points = sample.scan.points
    low, high = points.amin(0), points.amax(0)
    reach = max(LEAST_REACH_M, float((high - low)[:2].max()) / 2 + MARGIN_M)
    middle = torch.cat([(low + high)[:2] / 2, torch.zeros(1)])
    base = _from_above(sample, middle, reach)
    panels = [_with_boxes(base, sample, boxes, middle, reach)]
    for name, voxels in stages.items():
        panel = base.copy()
        for x, y in _pixels(voxels - middle, reach):
            cv2.circle(panel, (int(x), int(y)), 3, VOXEL_COLOR, -1, cv2.LINE_AA)
        cv2.putText(panel, f"{name}: {len(voxels)}", (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
        panels.append(panel)
    picture = np.concatenate(panels, axis=1)
    photographs = _photographs(sample, boxes, picture.shape[1])
    if photographs is not None:
        picture = np.concatenate([picture, photographs])
    entries = [("found", FOUND_COLOR), ("voxels kept", VOXEL_COLOR)]
    if sample.boxes is not None:
        entries.append(("annotated", TRUTH_COLOR))
    warning = "RANDOM WEIGHTS: this box means nothing" if random_weights else ""
    return np.concatenate([picture, legend(picture.shape[1], sample.sentence or "", 0.0, entries, warning)])


def _from_above(sample: GroundingSample, middle: Tensor, reach: float) -> np.ndarray:
    """The scan's own colours, what is higher over what is lower, without what is above the cut."""
    scan = sample.scan
    floor = float(torch.quantile(scan.points[:: max(1, len(scan) // 100_000), 2], 0.02))
    order = scan.points[:, 2].argsort()
    order = order[scan.points[order, 2] < floor + CUT_M]
    at = _pixels(scan.points[order] - middle, reach)
    colors = np.full((len(order), 3), 120.0) if scan.colors is None else scan.colors[order].numpy() * 255
    picture = np.full((SIDE_PX, SIDE_PX, 3), 255, np.uint8)
    picture[at[:, 1], at[:, 0]] = colors.astype(np.uint8)
    return picture


def _pixels(points: Tensor, reach: float) -> np.ndarray:
    """int64 [n, 2] columns and rows: x to the right, y up."""
    scaled = ((points[:, :2] / reach).clamp(-1, 1) * torch.tensor([1.0, -1.0]) + 1) / 2 * (SIDE_PX - 1)
    return scaled.round().long().numpy()


def _with_boxes(base: np.ndarray, sample: GroundingSample, boxes: Boxes, middle: Tensor, reach: float) -> np.ndarray:
    move = torch.eye(4)
    move[:3, 3] = -middle
    picture = base.copy()
    if sample.boxes is not None:
        picture = draw_boxes_from_above(picture, sample.boxes.moved(move), reach_m=reach, color=TRUTH_COLOR)
    picture = draw_boxes_from_above(picture, boxes.to(torch.float32).moved(move), reach_m=reach, color=FOUND_COLOR)
    return draw_scale_bar(picture, 1.0, reach_m=reach)


def _photographs(sample: GroundingSample, boxes: Boxes, width_px: int) -> np.ndarray | None:
    """Those that show the box best, in a row; None where no photograph shows it or can be read."""
    scan = sample.scan
    if scan.cameras is None or not len(boxes):
        return None
    camera_points = torch.einsum("vij,j->vi", scan.cameras.cam_from_world[:, :3, :3], boxes.centers[0])
    camera_points = camera_points + scan.cameras.cam_from_world[:, :3, 3]
    depth = camera_points[:, 2]
    pixels = torch.einsum("vij,vj->vi", scan.cameras.K, camera_points)[:, :2] / depth.clamp_min(1e-3)[:, None]
    size = torch.stack([scan.cameras.width, scan.cameras.height], dim=1)
    off = (pixels / size - 0.5).abs().amax(1)
    off = torch.where((depth > 0.3) & (off < 0.5), off + (depth - 2.5).abs() / 10, torch.inf)
    best = [int(i) for i in off.argsort()[:PHOTOGRAPHS] if bool(torch.isfinite(off[i]))]
    tiles = []
    for view in best:
        try:
            photograph = scan.frames[view].load()[..., :3]
        except BadInputError:
            continue
        camera = scan.cameras[view]
        if sample.boxes is not None:
            photograph = draw_boxes(photograph, camera, sample.boxes, thickness_px=1, color=TRUTH_COLOR)
        drawn = draw_boxes(photograph, camera, boxes, thickness_px=2, color=FOUND_COLOR)
        tile_width = width_px // PHOTOGRAPHS
        tile_size = (tile_width, round(tile_width * drawn.shape[0] / drawn.shape[1]))
        tiles.append(cv2.resize(drawn, tile_size, interpolation=cv2.INTER_LINEAR))
    if not tiles:
        return None
    row = np.concatenate(tiles, axis=1)
    return np.pad(row, ((0, 0), (0, width_px - row.shape[1]), (0, 0)), constant_values=255)
