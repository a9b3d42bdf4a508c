"""3D boxes drawn into photographs and seen from above."""

from __future__ import annotations

import colorsys
import zlib

import cv2
import numpy as np
import torch
from torch import Tensor

from ..scene.boxes import Boxes
from ..scene.cameras import Cameras
from ..scene.geometry import transform_points

NEAR_M = 0.1  # what is nearer to the camera's plane is cut off
_SUBPIXEL_BITS = 4  # cv2 draws in 1/16 pixel
# sRGB, apart from each other on grey asphalt and on white.
CLASS_COLORS = {
    "car": (255, 158, 0),
    "truck": (255, 99, 71),
    "bus": (255, 69, 160),
    "trailer": (200, 120, 60),
    "construction_vehicle": (233, 200, 70),
    "pedestrian": (40, 110, 255),
    "motorcycle": (255, 61, 99),
    "bicycle": (220, 20, 60),
    "traffic_cone": (20, 170, 170),
    "barrier": (130, 140, 160),
    "other": (150, 150, 150),
}


def class_color(name: str) -> tuple[int, int, int]:
    """sRGB of a class; one that is not listed gets a colour of its own from its name, always the same."""
    if name in CLASS_COLORS:
        return CLASS_COLORS[name]
    hue = (zlib.crc32(name.encode()) % 360) / 360
    r, g, b = (round(255 * c) for c in colorsys.hsv_to_rgb(hue, 0.75, 0.95))
    return r, g, b


def project_segments(
    segments: Tensor,  # [M, 2, 3] world
    camera: Cameras,  # batch shape []
) -> tuple[Tensor, Tensor]:
    """Lines in the image, cut at the near plane and at the image's border: ([V, 2, 2] pixels, [V] which of the M).

    What lies behind the camera or beside the image is not among them.
    """
    ends = transform_points(camera.cam_from_world.to(segments), segments.reshape(-1, 3)).reshape(-1, 2, 3)
    which = torch.nonzero((ends[..., 2] > NEAR_M).any(dim=1)).flatten()
    ends = ends[which]
    a, b = ends[:, 0], ends[:, 1]
    # Where the line meets the near plane; the division is by zero only for lines that do not cross it.
    crossing = a + ((NEAR_M - a[:, 2:]) / (b[:, 2:] - a[:, 2:])) * (b - a)
    ends = torch.where(ends[..., 2:] < NEAR_M, crossing[:, None], ends)
    K = camera.K.to(ends)
    pixels = (ends @ K.T)[..., :2] / ends[..., 2:]
    inside, clipped = _clip(pixels, float(camera.width), float(camera.height))
    return clipped[inside], which[inside]


def _clip(pixels: Tensor, width: float, height: float) -> tuple[Tensor, Tensor]:
    """(bool [M], [M, 2, 2]): which lines touch the image, and their parts inside (Liang and Barsky, 1984)."""
    start, step = pixels[:, 0], pixels[:, 1] - pixels[:, 0]
    enter, leave = torch.zeros_like(start[:, 0]), torch.ones_like(start[:, 0])
    touches = torch.ones_like(enter, dtype=torch.bool)
    for axis, size in ((0, width), (1, height)):
        for direction, room in ((-step[:, axis], start[:, axis]), (step[:, axis], size - start[:, axis])):
            parallel = direction == 0
            t = room / torch.where(parallel, torch.ones_like(direction), direction)
            touches &= ~parallel | (room >= 0)
            enter = torch.where(direction < 0, torch.maximum(enter, t), enter)
            leave = torch.where(direction > 0, torch.minimum(leave, t), leave)
    touches &= enter <= leave
    clipped = start[:, None] + torch.stack([enter, leave], dim=1)[..., None] * step[:, None]
    return touches, clipped


def draw_boxes(
    image: np.ndarray,  # uint8 [H, W, 3] sRGB
    camera: Cameras,  # batch shape []; for this image, or for its original: it is resized to fit
    boxes: Boxes,  # in the camera's world
    *,
    thickness_px: int = 2,
    labels: bool = False,
    color: tuple[int, int, int] | None = None,
) -> np.ndarray:
    """A copy with the boxes' edges in their class's colour (or all in `color`), the far ones first.

    A line on the floor from the middle to the front edge shows the heading.
    """
    out = np.ascontiguousarray(image).copy()
    camera = camera.resized(out.shape[1], out.shape[0])
    order = torch.argsort((boxes.centers - camera.centers.to(boxes.centers)).norm(dim=-1), descending=True).tolist()
    segments = boxes.segments.double()
    for i in order:
        lines, _ = project_segments(segments[i], camera)
        if not len(lines):
            continue
        name = boxes.name(i)
        paint = class_color(name) if color is None else color
        _draw_lines(out, lines, paint, thickness_px)
        if labels:
            score = "" if boxes.scores is None else f" {float(boxes.scores[i]):.2f}"
            _draw_label(out, lines, name + score, paint)
    return out


def draw_from_above(
    xyz: Tensor,  # [N, 3] metres, z up
    boxes: Boxes | None = None,  # in the same frame
    *,
    reach_m: float = 50.0,
    side_px: int = 800,
    colors: np.ndarray | None = None,  # uint8 [N, 3]
    labels: bool = False,
    color: tuple[int, int, int] | None = None,
) -> np.ndarray:
    """uint8 [side, side, 3]: the square of 2 * reach around the origin, +y up and +x to the right, on white.

    Higher points cover lower ones. Several kinds of boxes: call `draw_boxes_from_above` on the result again.
    """
    out = np.full((side_px, side_px, 3), 255, np.uint8)
    order = torch.argsort(xyz[:, 2]).numpy()
    pixels = np.floor(_from_above(xyz.double(), reach_m, side_px).numpy()[order]).astype(np.int64)
    paint = np.full((len(order), 3), 110, np.uint8) if colors is None else colors[order]
    inside = ((pixels >= 0) & (pixels < side_px)).all(axis=1)
    out[pixels[inside, 1], pixels[inside, 0]] = paint[inside]
    return out if boxes is None else draw_boxes_from_above(out, boxes, reach_m=reach_m, labels=labels, color=color)


def draw_boxes_from_above(
    image: np.ndarray,  # uint8 [side, side, 3] of `draw_from_above`
    boxes: Boxes,
    *,
    reach_m: float = 50.0,
    labels: bool = False,
    color: tuple[int, int, int] | None = None,
) -> np.ndarray:
    """A copy with the boxes' floors and headings, in their class's colour or all in `color`."""
    out, side_px = image.copy(), image.shape[0]
    floor = torch.tensor([2, 10, 6, 11, 12])  # those of `Boxes.segments` that lie on the floor, then the heading
    for i, segments in enumerate(boxes.segments.double()[:, floor]):
        pixels = _from_above(segments.reshape(-1, 3), reach_m, side_px).reshape(-1, 2, 2)
        inside, clipped = _clip(pixels, side_px, side_px)
        if inside.any():
            paint = class_color(boxes.name(i)) if color is None else color
            _draw_lines(out, clipped[inside], paint, 1)
            if labels:
                _draw_label(out, clipped[inside], boxes.name(i), paint)
    return out


def draw_scale_bar(
    image: np.ndarray,  # uint8 [side, side, 3] of `draw_from_above`
    length_m: float,
    *,
    reach_m: float = 50.0,
    color: tuple[int, int, int] = (0, 0, 0),
) -> np.ndarray:
    """A copy with a bar of that length at the lower left, and the length above it."""
    out, side_px = image.copy(), image.shape[0]
    margin, tick = side_px // 30, side_px // 120
    left, right = float(margin), margin + length_m * side_px / (2 * reach_m)
    y = float(side_px - margin)
    bar = [[[left, y], [right, y]], *([[x, y - tick], [x, y + tick]] for x in (left, right))]
    _draw_lines(out, torch.tensor(bar), color, 2)
    scale = max(0.35, side_px / 1600)
    at = (margin, int(y) - 2 * tick)
    cv2.putText(out, f"{length_m:g} m", at, cv2.FONT_HERSHEY_SIMPLEX, scale, color, 1, cv2.LINE_AA)
    return out


def _from_above(points: Tensor, reach_m: float, side_px: int) -> Tensor:
    """Pixels [N, 2] of points [N, 3]."""
    scale = side_px / (2 * reach_m)
    return torch.stack([(points[:, 0] + reach_m) * scale, (reach_m - points[:, 1]) * scale], dim=1)


def _draw_lines(image: np.ndarray, lines: Tensor, color: tuple[int, int, int], thickness_px: int) -> None:
    # Our pixel centres are at +0.5, those of cv2 at whole numbers.
    fixed = ((lines.numpy() - 0.5) * 2**_SUBPIXEL_BITS).round().astype(np.int32)
    for start, end in fixed:
        cv2.line(image, start.tolist(), end.tolist(), color, thickness_px, cv2.LINE_AA, _SUBPIXEL_BITS)


def _draw_label(image: np.ndarray, lines: Tensor, label: str, color: tuple[int, int, int]) -> None:
    """Above the highest line, moved to lie inside of the image; the backing keeps it readable on anything."""
    scale = max(0.35, image.shape[0] / 2000)
    (width, height), below = cv2.getTextSize(label, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    x, y = int(lines[..., 0].min()), int(lines[..., 1].min()) - 3
    x, y = max(0, min(x, image.shape[1] - width)), max(height, min(y, image.shape[0] - below))
    cv2.rectangle(image, (x, y - height), (x + width, y + below), color, cv2.FILLED)
    dark = 0.3 * color[0] + 0.59 * color[1] + 0.11 * color[2] < 128
    cv2.putText(
        image, label, (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255) if dark else (0, 0, 0), 1, cv2.LINE_AA
    )
