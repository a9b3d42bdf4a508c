"""Square crops about an object, and the numbers that say where in the photograph they were."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from .....learn.efficientnet_lite0 import IMAGENET_MEAN, IMAGENET_STD

MARGIN = 1.15  # side of the crop over the object's longer side (RelPose++)
CENTRAL = 0.8  # side of the box of an object that nobody marked, over the photograph's shorter side
INSIDE = 0.4  # coverage from which on a pixel is of the object (RelPose++)


@dataclass(frozen=True)
class Box:
    """A square in a photograph, pixels; it may reach beyond the edges."""

    x: float  # centre
    y: float
    side: float

    def descriptor(self, width: int, height: int) -> Tensor:
        """(centre x, centre y, width) [3], where half of the photograph's shorter side is 1 and its middle 0."""
        half = min(width, height) / 2
        return torch.tensor([(self.x - width / 2) / half, (self.y - height / 2) / half, self.side / half])


def box_of(coverage: np.ndarray, margin: float = MARGIN) -> Box | None:
    """The square about all that is covered in [H, W] (bool, or from 0 to 1); None where nothing is."""
    rows, columns = (np.flatnonzero((coverage > INSIDE).any(axis)) for axis in (1, 0))
    if not len(rows):
        return None
    (top, bottom), (left, right) = (rows[0], rows[-1] + 1), (columns[0], columns[-1] + 1)
    side = margin * max(bottom - top, right - left)
    return Box(float(left + right) / 2, float(top + bottom) / 2, float(side))


def central_box(width: int, height: int) -> Box:
    """The box of an object that fills most of a photograph's middle."""
    return Box(width / 2, height / 2, CENTRAL * min(width, height))


def neutral_color() -> np.ndarray:
    """[3] uint8: what the backbone takes for nothing at all."""
    return np.rint(np.array(IMAGENET_MEAN) * 255).astype(np.uint8)


def on_neutral(image: np.ndarray, coverage: np.ndarray) -> np.ndarray:
    """The picture [H, W, 3] uint8 with all that is not covered by [H, W] (0 to 1) in the neutral colour."""
    weight = coverage.astype(np.float32)[..., None]
    return np.rint(image * weight + neutral_color() * (1 - weight)).astype(np.uint8)


def crop(
    image: np.ndarray,  # uint8 [H, W, 3]
    box: Box,
    side_px: int,
) -> np.ndarray:
    """The box, resized to uint8 [side, side, 3]; neutral beyond the photograph's edges."""
    side = max(2, round(box.side))
    left, top = round(box.x - side / 2), round(box.y - side / 2)
    height, width = image.shape[:2]
    canvas = np.broadcast_to(neutral_color(), (side, side, 3)).copy()
    x0, x1, y0, y1 = max(left, 0), min(left + side, width), max(top, 0), min(top + side, height)
    if x1 > x0 and y1 > y0:
        canvas[y0 - top : y1 - top, x0 - left : x1 - left] = image[y0:y1, x0:x1]
    shrinking = side >= side_px
    return cv2.resize(canvas, (side_px, side_px), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR)


def normalised(crops: np.ndarray) -> Tensor:
    """Crops [B, S, S, 3] uint8 as the backbone takes them: [B, 3, S, S] float32."""
    pixels = torch.from_numpy(np.ascontiguousarray(crops)).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return (pixels - mean) / std
