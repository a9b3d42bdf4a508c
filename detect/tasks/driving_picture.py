"""One picture of a key frame: boxes in the photographs and from above, with a legend."""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch

from ...render.draw_boxes import class_color, draw_boxes, draw_boxes_from_above, draw_from_above, draw_scale_bar
from ...scene.boxes import Boxes
from .driving_sample import DrivingSample
from .picture_legend import TEXT_COLOR, legend

WIDTH_PX = 640  # of each photograph
ABOVE_PX = 720  # side of the view from above where there are no photographs
REACH_M = 55.0
SCALE_BAR_M = 20.0
TRUTH_COLOR = (40, 200, 60)
# Six photographs as they stand around the car: left, ahead and right above, behind them below.
PLACES_OF_SIX = (0, 1, 2, 5, 4, 3)
# Size and middle of the car that recorded nuScenes (a Renault Zoe), from the middle of its rear axle.
EGO_SIZE_M, EGO_CENTER_M = (4.08, 1.73, 1.56), (1.4, 0.0, 0.78)


def frame_picture(
    sample: DrivingSample,
    boxes: Boxes,  # with scores, in the LiDAR's frame
    min_score: float = 0.0,
    truth: bool = True,  # whether annotated boxes are drawn, too, in green and thin
    random_weights: bool = False,  # whether the picture says that its boxes mean nothing
) -> np.ndarray:
    """uint8 [H, W, 3]: photographs in two rows, to their right the view from above, and the legend below.

    The view from above has x to the right and y up, the recording car in black, and a bar of 20 m.
    """
    if boxes.scores is not None:
        boxes = boxes[boxes.scores >= min_score]
    annotated = sample.boxes if truth else None
    photographs = _photographs(sample, boxes, annotated)
    side = ABOVE_PX if photographs is None else photographs.shape[0]
    above = _from_above(sample, boxes, annotated, side)
    picture = above if photographs is None else np.concatenate([photographs, above], axis=1)
    entries = [(name, class_color(name)) for name in dict.fromkeys(boxes.name(i) for i in range(len(boxes)))]
    if annotated is not None:
        entries.append(("annotated", TRUTH_COLOR))
    entries.append(("recording car", TEXT_COLOR))
    warning = "RANDOM WEIGHTS: these boxes mean nothing" if random_weights else ""
    return np.concatenate([picture, legend(picture.shape[1], sample.token, min_score, entries, warning)])


def _photographs(sample: DrivingSample, boxes: Boxes, annotated: Boxes | None) -> np.ndarray | None:
    images = sample.load_images()
    count = len(images)
    if not count:
        return None
    columns = math.ceil(count / 2)
    height = round(WIDTH_PX * images.shape[1] / images.shape[2])
    tiles = []
    for view in PLACES_OF_SIX if count == len(PLACES_OF_SIX) else range(count):
        tile = cv2.resize(images[view], (WIDTH_PX, height), interpolation=cv2.INTER_AREA)
        if annotated is not None:
            tile = draw_boxes(tile, sample.cameras[view], annotated, thickness_px=1, color=TRUTH_COLOR)
        tiles.append(draw_boxes(tile, sample.cameras[view], boxes, thickness_px=2, labels=True))
    tiles += [np.full_like(tiles[0], 255)] * (-count % columns)
    rows = [np.concatenate(tiles[i : i + columns], axis=1) for i in range(0, len(tiles), columns)]
    return np.concatenate(rows, axis=0)


def _from_above(sample: DrivingSample, boxes: Boxes, annotated: Boxes | None, side_px: int) -> np.ndarray:
    points = sample.points[sample.points[:, 4] == 0, :3]
    above = draw_from_above(points, reach_m=REACH_M, side_px=side_px)
    above = draw_boxes_from_above(above, _recording_car(sample), reach_m=REACH_M, color=TEXT_COLOR)
    if annotated is not None:
        above = draw_boxes_from_above(above, annotated, reach_m=REACH_M, color=TRUTH_COLOR)
    above = draw_boxes_from_above(above, boxes, reach_m=REACH_M)
    return draw_scale_bar(above, SCALE_BAR_M, reach_m=REACH_M)


def _recording_car(sample: DrivingSample) -> Boxes:
    center, size = torch.tensor([EGO_CENTER_M]), torch.tensor([EGO_SIZE_M])
    car = Boxes.upright(
        center.double(), size.double(), torch.zeros(1).double(), torch.zeros(1, dtype=torch.int64), ("car",)
    )
    return car.moved(torch.linalg.inv(sample.ego_from_lidar))
