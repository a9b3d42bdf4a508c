"""Overlaps of boxes and the indoor metric, box by box in plain Python: nothing is shared with the package."""

from __future__ import annotations

import math

Point = tuple[float, float]


def plain_iou(a: list[float], b: list[float]) -> float:
    """Volume overlap of rows x, y, z, length, width, height, yaw: the floors clipped edge by edge."""
    height = min(a[2] + a[5] / 2, b[2] + b[5] / 2) - max(a[2] - a[5] / 2, b[2] - b[5] / 2)
    if height <= 0:
        return 0.0
    shared = plain_floor(a, b) * height
    return shared / (a[3] * a[4] * a[5] + b[3] * b[4] * b[5] - shared)


def plain_floor(a: list[float], b: list[float]) -> float:
    """Area that two rectangles share (Sutherland and Hodgman, 1974, then the shoelace formula)."""
    # Relative to b's centre, so that far from the origin nothing is lost that the rows still hold.
    shape = _corners(a, (a[0] - b[0], a[1] - b[1]))
    clip = _corners(b, (0.0, 0.0))
    for start, end in zip(clip, clip[1:] + clip[:1], strict=True):
        shape = _cut(shape, start, end)
    if not shape:
        return 0.0
    total = 0.0
    for (x0, y0), (x1, y1) in zip(shape, shape[1:] + shape[:1], strict=True):
        total += (x0 - shape[0][0]) * (y1 - shape[0][1]) - (x1 - shape[0][0]) * (y0 - shape[0][1])
    return abs(total) / 2


def _corners(box: list[float], center: Point) -> list[Point]:
    cos, sin = math.cos(box[6]), math.sin(box[6])
    found = []
    for sx, sy in ((1, 1), (-1, 1), (-1, -1), (1, -1)):
        x, y = sx * box[3] / 2, sy * box[4] / 2
        found.append((center[0] + x * cos - y * sin, center[1] + x * sin + y * cos))
    return found


def _cut(shape: list[Point], start: Point, end: Point) -> list[Point]:
    """The part of a polygon to the left of a line."""

    def side(p: Point) -> float:
        return (end[0] - start[0]) * (p[1] - start[1]) - (end[1] - start[1]) * (p[0] - start[0])

    kept: list[Point] = []
    for p, q in zip(shape, shape[1:] + shape[:1], strict=True):
        a, b = side(p), side(q)
        if a >= 0:
            kept.append(p)
        if (a > 0 > b) or (a < 0 < b):
            t = a / (a - b)
            kept.append((p[0] + t * (q[0] - p[0]), p[1] + t * (q[1] - p[1])))
    return kept


def plain_average_precision(
    found: list[tuple[int, float, list[float]]],  # room, score, box; of one class
    truth: list[tuple[int, list[float]]],  # room, box
    threshold: float,
) -> tuple[float, float]:
    """(average precision, recall): every right box counts with the best precision from it on."""
    taken: set[int] = set()
    right: list[bool] = []
    for room, _, box in sorted(found, key=lambda f: -f[1]):
        best, which = -1.0, -1
        for i, (other, true) in enumerate(truth):
            if other == room:
                overlap = plain_iou(box, true)
                if overlap > best:
                    best, which = overlap, i
        right.append(best > threshold and which not in taken)
        if right[-1]:
            taken.add(which)
    precisions = [sum(right[: i + 1]) / (i + 1) for i in range(len(right))]
    total = sum(max(precisions[i:]) for i in range(len(right)) if right[i])
    return total / len(truth), len(taken) / len(truth)
