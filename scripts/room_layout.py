"""Rooms that could be somebody's: pieces of furniture in places where such pieces stand, without overlap."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from room_furniture import FURNITURE, Part, Piece

HEIGHT_M = 2.6
# Kind of room -> {class: (least, most)}; what does not fit is left out.
KINDS = {
    "office": {"desk": (1, 3), "chair": (2, 5), "bookshelf": (0, 2), "cabinet": (1, 2), "table": (0, 1),
               "other": (1, 3)},
    "living": {"sofa": (1, 2), "table": (1, 2), "chair": (1, 4), "bookshelf": (0, 1), "cabinet": (1, 2),
               "other": (1, 3)},
    "bedroom": {"bed": (1, 2), "cabinet": (1, 3), "desk": (0, 1), "chair": (1, 2), "sofa": (0, 1), "other": (1, 2)},
    "kitchen": {"counter": (1, 2), "refrigerator": (1, 1), "sink": (0, 1), "table": (1, 1), "chair": (2, 5),
                "cabinet": (1, 2), "other": (0, 2)},
    "bathroom": {"toilet": (1, 1), "sink": (1, 2), "bathtub": (0, 1), "cabinet": (0, 2), "shower curtain": (0, 1),
                 "other": (1, 2)},
}  # fmt: skip
HUNG = {"door": (1, 2), "window": (1, 2), "picture": (0, 3), "curtain": (0, 2)}  # in every room
FLOORS = (("boards", (0.55, 0.40, 0.27)), ("tiles", (0.75, 0.74, 0.70)), ("plain", (0.45, 0.44, 0.45)))
WALLS = ((0.88, 0.87, 0.83), (0.80, 0.84, 0.86), (0.86, 0.80, 0.72), (0.78, 0.83, 0.75))


@dataclass(frozen=True)
class Placed:
    """A piece in the room; room point = Rz(yaw) @ local + (x, y, 0)."""

    piece: Piece
    x: float
    y: float
    yaw_rad: float

    @property
    def low_high(self) -> np.ndarray:
        """Least and greatest coordinates [2, 3]; turns are by quarters, so that they are those of the parts."""
        c, s = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        corners = []
        for part in self.piece.parts:
            half = np.divide(part.size, 2)
            reach = np.array([abs(c) * half[0] + abs(s) * half[1], abs(s) * half[0] + abs(c) * half[1], half[2]])
            x, y, z = part.center
            middle = np.array([self.x + c * x - s * y, self.y + s * x + c * y, z])
            corners += [middle - reach, middle + reach]
        return np.stack([np.min(corners, axis=0), np.max(corners, axis=0)])


@dataclass(frozen=True)
class Room:
    """Things on a floor of `size` about the origin, along x and y."""

    kind: str
    size: tuple[float, float]
    things: tuple[Placed, ...]
    shell: tuple[Part, ...]  # the floor, then the four walls

    @property
    def names(self) -> list[str]:
        return [thing.piece.name for thing in self.things]

    @property
    def boxes(self) -> np.ndarray:
        """[M, 2, 3]"""
        return np.stack([thing.low_high for thing in self.things])


def make_room(rng: Generator) -> Room:
    """A room of a random kind."""
    kind = str(rng.choice(list(KINDS)))
    small = kind == "bathroom"
    size = (rng.uniform(2.8, 3.6), rng.uniform(3.0, 4.0)) if small else (rng.uniform(3.8, 5.5), rng.uniform(4.2, 6.5))
    things: list[Placed] = []
    wanted = [(name, "hung") for name, (low, high) in HUNG.items() for _ in range(rng.integers(low, high + 1))]
    for name, (low, high) in KINDS[kind].items():
        wanted += [(name, FURNITURE[name][1])] * int(rng.integers(low, high + 1))
    order = {"hung": 0, "wall": 1, "free": 2}
    for name, place in sorted(wanted, key=lambda w: order[w[1]]):
        piece = FURNITURE[name][0](rng)
        found = _place(piece, place, size, things, rng)
        if found is not None:
            things.append(found)
    return Room(kind, size, tuple(things), _shell(size, rng))


def _place(piece: Piece, place: str, size: tuple[float, float], things: list[Placed], rng: Generator) -> Placed | None:
    length, width, _ = piece.size
    for _ in range(40):
        quarter = int(rng.integers(4))
        yaw = quarter * math.pi / 2
        turned = (length, width) if quarter % 2 == 0 else (width, length)
        room_for = [(s - t) / 2 - 0.02 for s, t in zip(size, turned, strict=True)]
        if min(room_for) <= 0:
            continue
        x, y = rng.uniform(-room_for[0], room_for[0]), rng.uniform(-room_for[1], room_for[1])
        if place in ("wall", "hung"):  # the back is towards the wall: the front along (cos yaw, sin yaw)
            gap = 0.0 if place == "hung" else 0.04
            if quarter % 2 == 0:
                x = -math.cos(yaw) * (room_for[0] + 0.02 - gap)
            else:
                y = -math.sin(yaw) * (room_for[1] + 0.02 - gap)
        else:
            near = [t for t in things if t.piece.name in ("table", "desk")]
            if piece.name == "chair" and near and rng.random() < 0.75:  # at a table, facing it
                at = near[int(rng.integers(len(near)))].low_high
                middle, half = at.mean(0), (at[1] - at[0]) / 2
                away = [half[0] + length / 2 - 0.05, half[1] + length / 2 - 0.05][quarter % 2]
                x, y = middle[0] - math.cos(yaw) * away, middle[1] - math.sin(yaw) * away
                along = rng.uniform(-0.6, 0.6)
                x, y = (x, y + along * half[1]) if quarter % 2 == 0 else (x + along * half[0], y)
                if abs(x) > room_for[0] or abs(y) > room_for[1]:
                    continue
        candidate = Placed(piece, float(x), float(y), yaw)
        if all(_apart(candidate.low_high, other.low_high) for other in things):
            return candidate
    return None


def _apart(a: np.ndarray, b: np.ndarray, gap: float = 0.04) -> bool:
    return bool((a[0] - gap > b[1]).any() or (b[0] - gap > a[1]).any())


def _shell(size: tuple[float, float], rng: Generator) -> tuple[Part, ...]:
    texture, floor = FLOORS[int(rng.integers(len(FLOORS)))]
    wall = WALLS[int(rng.integers(len(WALLS)))]
    x, y = size
    parts = [Part((0, 0, -0.05), (x + 0.2, y + 0.2, 0.1), floor, texture)]
    for side in (-1, 1):
        parts.append(Part((side * (x / 2 + 0.05), 0, HEIGHT_M / 2), (0.1, y + 0.2, HEIGHT_M), wall))
        parts.append(Part((0, side * (y / 2 + 0.05), HEIGHT_M / 2), (x + 0.2, 0.1, HEIGHT_M), wall))
    return tuple(parts)
