"""One picture of a room: boxes in some of its photographs and from above, with a legend."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from ...render.draw_boxes import class_color, draw_boxes, draw_boxes_from_above, draw_from_above, draw_scale_bar
from ...scene.boxes import Boxes
from .picture_legend import legend
from .room_sample import RoomSample

WIDTH_PX = 400  # of each photograph
VIEWS = 6
TRUTH_COLOR = (40, 200, 60)
MARGIN_M, LEAST_REACH_M = 0.5, 2.0


def room_picture(
    sample: RoomSample,
    boxes: Boxes,  # with scores
    min_score: float = 0.0,
    truth: bool = True,  # whether annotated boxes are drawn, too, in green and thin
    random_weights: bool = False,  # whether the picture says that its boxes mean nothing
) -> np.ndarray:
    """uint8 [H, W, 3]: up to six photographs, to their right the view from above, and the legend below."""
    assert boxes.scores is not None
    boxes = boxes[boxes.scores >= min_score]
    annotated = sample.boxes if truth else None
    photographs = _photographs(sample, boxes, annotated)
    above = _from_above(sample, boxes, annotated, photographs.shape[0])
    picture = np.concatenate([photographs, above], axis=1)
    entries = [(name, class_color(name)) for name in dict.fromkeys(boxes.name(i) for i in range(len(boxes)))]
    if annotated is not None:
        entries.append(("annotated", TRUTH_COLOR))
    warning = "RANDOM WEIGHTS: these boxes mean nothing" if random_weights else ""
    return np.concatenate([picture, legend(picture.shape[1], sample.token, min_score, entries, warning)])


def _photographs(sample: RoomSample, boxes: Boxes, annotated: Boxes | None) -> np.ndarray:
    count = len(sample.frames)
    views = sorted({round(v) for v in np.linspace(0, count - 1, min(count, VIEWS))})
    tiles = []
    for view in views:
        pixels = sample.photograph(view)
        size = (WIDTH_PX, round(WIDTH_PX * pixels.shape[0] / pixels.shape[1]))
        tile = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if pixels.shape[1] > WIDTH_PX else cv2.INTER_CUBIC)
        if annotated is not None:
            tile = draw_boxes(tile, sample.cameras[view], annotated, thickness_px=1, color=TRUTH_COLOR)
        tiles.append(draw_boxes(tile, sample.cameras[view], boxes, thickness_px=2, labels=True))
    height = max(tile.shape[0] for tile in tiles)
    tiles = [np.pad(t, ((0, height - t.shape[0]), (0, 0), (0, 0)), constant_values=255) for t in tiles]
    columns = min(len(tiles), 2)
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % columns)
    return np.concatenate([np.concatenate(tiles[i : i + columns], axis=1) for i in range(0, len(tiles), columns)])


def _from_above(sample: RoomSample, boxes: Boxes, annotated: Boxes | None, side_px: int) -> np.ndarray:
    """The room's middle is the picture's, so that a room anywhere fits."""
    points = torch.zeros(0, 3) if sample.points is None else sample.points[:, :3]
    shown = points if len(points) else sample.cameras.centers
    low, high = shown.amin(dim=0), shown.amax(dim=0)
    middle = torch.cat([(low + high)[:2] / 2, torch.zeros(1)])
    reach = max(LEAST_REACH_M, float((high - low)[:2].max()) / 2 + MARGIN_M)
    move = torch.eye(4)
    move[:3, 3] = -middle
    above = draw_from_above(points - middle, reach_m=reach, side_px=side_px)
    if annotated is not None:
        above = draw_boxes_from_above(above, annotated.moved(move), reach_m=reach, color=TRUTH_COLOR)
    above = draw_boxes_from_above(above, boxes.to(torch.float32).moved(move), reach_m=reach)
    return draw_scale_bar(above, 1.0, reach_m=reach)
