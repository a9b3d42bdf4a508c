"""One picture of a key frame: boxes in the photographs and from above, with a legend."""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch

from ...render.draw_boxes import class_color, draw_boxes, draw_boxes_from_above, draw_from_above, draw_scale_bar
from ...scene.boxes import Boxes
from .driving_sample import DrivingSample

WIDTH_PX = 640  # of each photograph
ABOVE_PX = 720  # side of the view from above where there are no photographs
REACH_M = 55.0
SCALE_BAR_M = 20.0
TRUTH_COLOR = (40, 200, 60)
EGO_COLOR = (20, 20, 20)
WARNING_COLOR = (200, 0, 0)
# Six photographs as they stand around the car: left, ahead and right above, behind them below.
PLACES_OF_SIX = (0, 1, 2, 5, 4, 3)
# Size and middle of the car that recorded nuScenes (a Renault Zoe), from the middle of its rear axle.
EGO_SIZE_M, EGO_CENTER_M = (4.08, 1.73, 1.56), (1.4, 0.0, 0.78)
LINE_PX, PAD_PX, TEXT_SCALE = 26, 10, 0.5


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
    entries.append(("recording car", EGO_COLOR))
    warning = "RANDOM WEIGHTS: these boxes mean nothing" if random_weights else ""
    return np.concatenate([picture, _legend(picture.shape[1], sample.token, min_score, entries, warning)])


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
    above = draw_boxes_from_above(above, _recording_car(sample), reach_m=REACH_M, color=EGO_COLOR)
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


def _legend(
    width_px: int, token: str, min_score: float, entries: list[tuple[str, tuple[int, int, int]]], warning: str
) -> np.ndarray:
    """uint8 [h, width, 3]: as many lines as the words need."""
    # (text, its colour, the colour of the square before it)
    words: list[tuple[str, tuple[int, int, int], tuple[int, int, int] | None]] = []
    if warning:
        words.append((warning, WARNING_COLOR, None))
    words.append((f"{token}, scores from {min_score:g}", EGO_COLOR, None))
    words += [(text, EGO_COLOR, color) for text, color in entries]
    placed, x, line = [], PAD_PX, 0
    for text, color, square in words:
        mark = LINE_PX if square is not None else 0
        taken = mark + cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, TEXT_SCALE, 1)[0][0] + 2 * PAD_PX
        if x > PAD_PX and x + taken > width_px:
            x, line = PAD_PX, line + 1
        placed.append((text, color, square, x, line * LINE_PX))
        x += taken
    out = np.full(((line + 1) * LINE_PX + PAD_PX, width_px, 3), 255, np.uint8)
    for text, color, square, x, top in placed:
        if square is not None:
            cv2.rectangle(out, (x, top + 9), (x + 16, top + LINE_PX - 3), square, cv2.FILLED)
            x += LINE_PX
        at = (x, top + LINE_PX - 5)
        cv2.putText(out, text, at, cv2.FONT_HERSHEY_SIMPLEX, TEXT_SCALE, color, 1, cv2.LINE_AA)
    return out
