"""One picture of a key frame: boxes in the six photographs, and from above."""

from __future__ import annotations

import cv2
import numpy as np

from ...render.draw_boxes import draw_boxes, draw_boxes_from_above, draw_from_above
from ...scene.boxes import Boxes
from .driving_sample import DrivingSample

WIDTH_PX = 640  # of each photograph
REACH_M = 55.0
COLUMNS = 3
TRUTH_COLOR = (40, 200, 60)
# The photographs as they stand around the car: left, ahead and right above, behind them below.
PLACES = (0, 1, 2, 5, 4, 3)


def frame_picture(
    sample: DrivingSample,
    boxes: Boxes,  # with scores, in the LiDAR's frame
    min_score: float = 0.0,
    truth: bool = True,  # whether annotated boxes are drawn, too, in green and thin
) -> np.ndarray:
    """uint8 [H, W, 3]: photographs in two rows, and to their right the view from above, x to the right and y up."""
    if boxes.scores is not None:
        boxes = boxes[boxes.scores >= min_score]
    images = sample.load_images()
    tiles = []
    for view in PLACES:
        height = round(WIDTH_PX * images[view].shape[0] / images[view].shape[1])
        tile = cv2.resize(images[view], (WIDTH_PX, height), interpolation=cv2.INTER_AREA)
        if truth and sample.boxes is not None:
            tile = draw_boxes(tile, sample.cameras[view], sample.boxes, thickness_px=1, color=TRUTH_COLOR)
        tiles.append(draw_boxes(tile, sample.cameras[view], boxes, thickness_px=2, labels=True))
    rows = [np.concatenate(tiles[i : i + COLUMNS], axis=1) for i in range(0, len(tiles), COLUMNS)]
    left = np.concatenate(rows, axis=0)
    points = sample.points[sample.points[:, 4] == 0, :3]
    above = draw_from_above(points, reach_m=REACH_M, side_px=left.shape[0])
    if truth and sample.boxes is not None:
        above = draw_boxes_from_above(above, sample.boxes, reach_m=REACH_M, color=TRUTH_COLOR)
    above = draw_boxes_from_above(above, boxes, reach_m=REACH_M)
    return np.concatenate([left, above], axis=1)
