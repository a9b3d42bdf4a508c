"""Furniture out of boxes and cylinders, with the proportions of real pieces, and a look for each part.

A piece stands on z = 0 about the origin, its front along +x. Lengths are metres, colours sRGB in 0..1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator

COLORS = {
    "brown": (0.45, 0.29, 0.16), "white": (0.90, 0.90, 0.88), "black": (0.10, 0.10, 0.11), "gray": (0.50, 0.51, 0.53),
    "red": (0.68, 0.14, 0.13), "blue": (0.17, 0.30, 0.60), "green": (0.22, 0.45, 0.24), "beige": (0.80, 0.72, 0.57),
    "yellow": (0.85, 0.70, 0.20),
}  # fmt: skip
WOODS, CLOTHS, PLAIN = ("brown", "beige", "black", "white"), tuple(COLORS), ("white", "gray", "black", "beige")


@dataclass(frozen=True)
class Part:
    """A box, or an upright elliptic cylinder, about `center`; `texture` is a row of TEXTURES."""

    center: tuple[float, float, float]
    size: tuple[float, float, float]
    color: tuple[float, float, float]
    texture: str = "plain"
    round: bool = False


@dataclass
class Piece:
    """A piece of furniture: its class in ScanNet's words, the colour that one would call it by, and its parts."""

    name: str
    color: str
    parts: list[Part] = field(default_factory=list)

    @property
    def size(self) -> np.ndarray:
        """Extent [3] of all parts."""
        low = np.min([np.subtract(p.center, np.divide(p.size, 2)) for p in self.parts], axis=0)
        high = np.max([np.add(p.center, np.divide(p.size, 2)) for p in self.parts], axis=0)
        return high - low

    def add(
        self,
        center: tuple[float, float, float],
        size: tuple[float, float, float],
        color: str | None = None,
        texture: str = "plain",
        round: bool = False,
    ) -> None:
        self.parts.append(Part(center, size, COLORS[color or self.color], texture, round))

    def legs(self, length: float, width: float, height: float, thick: float, color: str | None = None) -> None:
        """Four legs under the corners of a rectangle."""
        for x in (-1, 1):
            for y in (-1, 1):
                at = (x * (length - thick) / 2, y * (width - thick) / 2, height / 2)
                self.add(at, (thick, thick, height), color)


def _chair(rng: Generator) -> Piece:
    p = Piece("chair", str(rng.choice(CLOTHS)))
    seat, width, depth, back = rng.uniform(0.42, 0.48), rng.uniform(0.42, 0.52), rng.uniform(0.42, 0.5), 0.42
    if rng.random() < 0.4:  # an office chair on one leg
        p.add((0, 0, 0.04), (0.55, 0.55, 0.06), "black", round=True)
        p.add((0, 0, seat / 2), (0.07, 0.07, seat - 0.06), "black", round=True)
    else:
        p.legs(depth, width, seat - 0.03, 0.045, str(rng.choice(WOODS)))
    p.add((0, 0, seat), (depth, width, 0.07), texture="cloth")
    p.add((-depth / 2 + 0.03, 0, seat + 0.06 + back / 2), (0.06, width, back), texture="cloth")
    return p


def _table(rng: Generator) -> Piece:
    p = Piece("table", str(rng.choice(WOODS)))
    height = rng.uniform(0.70, 0.76)
    if rng.random() < 0.35:
        across = rng.uniform(0.8, 1.2)
        p.add((0, 0, height), (across, across, 0.04), texture="wood", round=True)
        p.add((0, 0, height / 2), (0.1, 0.1, height), round=True)
        p.add((0, 0, 0.03), (0.5, 0.5, 0.05), round=True)
    else:
        length, width = rng.uniform(0.75, 0.95), rng.uniform(1.1, 1.7)
        p.add((0, 0, height), (length, width, 0.04), texture="wood")
        p.legs(length, width, height, 0.06)
    return p


def _desk(rng: Generator) -> Piece:
    p = Piece("desk", str(rng.choice(WOODS)))
    height, width, depth = rng.uniform(0.72, 0.76), rng.uniform(1.2, 1.6), rng.uniform(0.6, 0.75)
    p.add((0, 0, height), (depth, width, 0.03), texture="wood")
    p.add((0, width / 2 - 0.2, height / 2), (depth - 0.06, 0.4, height - 0.02), texture="drawers")
    p.add((0, -width / 2 + 0.02, height / 2), (depth - 0.06, 0.03, height - 0.02), texture="wood")
    p.add((-depth / 2 + 0.04, 0, height * 0.65), (0.02, width - 0.05, height * 0.5), texture="wood")
    return p


def _sofa(rng: Generator) -> Piece:
    p = Piece("sofa", str(rng.choice(CLOTHS)))
    width, depth, seat = rng.uniform(1.5, 2.1), rng.uniform(0.8, 0.95), rng.uniform(0.40, 0.45)
    p.add((0, 0, seat / 2), (depth, width, seat), texture="cloth")
    p.add((-depth / 2 + 0.1, 0, seat + 0.22), (0.2, width, 0.44), texture="cloth")
    for side in (-1, 1):
        p.add((0, side * (width / 2 - 0.08), seat + 0.1), (depth, 0.16, 0.2), texture="cloth")
    return p


def _bed(rng: Generator) -> Piece:
    p = Piece("bed", str(rng.choice(CLOTHS)))
    length, width = rng.uniform(1.95, 2.1), rng.uniform(0.95, 1.7)
    p.add((0, 0, 0.14), (length, width, 0.22), str(rng.choice(WOODS)), "wood")
    p.add((0, 0, 0.37), (length - 0.04, width - 0.04, 0.24), texture="cloth")
    p.add((-length / 2 + 0.03, 0, 0.5), (0.06, width, 0.95), str(rng.choice(WOODS)), "wood")
    p.add((-length / 2 + 0.3, 0, 0.54), (0.35, width * 0.75, 0.12), "white", "cloth")
    return p


def _cabinet(rng: Generator) -> Piece:
    p = Piece("cabinet", str(rng.choice(WOODS)))
    height, width, depth = rng.uniform(0.75, 1.3), rng.uniform(0.6, 1.2), rng.uniform(0.4, 0.5)
    p.add((0, 0, height / 2), (depth, width, height), texture="doors")
    p.add((0.01, 0, height), (depth + 0.03, width + 0.03, 0.03), texture="wood")
    return p


def _bookshelf(rng: Generator) -> Piece:
    p = Piece("bookshelf", str(rng.choice(WOODS)))
    height, width, depth = rng.uniform(1.5, 2.1), rng.uniform(0.7, 1.2), rng.uniform(0.28, 0.35)
    p.add((-depth / 2 + 0.01, 0, height / 2), (0.02, width, height), texture="wood")
    for side in (-1, 1):
        p.add((0, side * (width / 2 - 0.015), height / 2), (depth, 0.03, height), texture="wood")
    shelves = int(rng.integers(4, 6))
    for i in range(shelves + 1):
        z = 0.03 + (height - 0.05) * i / shelves
        p.add((0, 0, z), (depth, width, 0.025), texture="wood")
        if i < shelves:
            full = rng.uniform(0.4, 0.95)
            p.add(
                (-0.03, (full - 1) * (width - 0.08) / 2, z + 0.13), (0.18, (width - 0.08) * full, 0.24), "red", "books"
            )
    return p


def _counter(rng: Generator) -> Piece:
    p = Piece("counter", str(rng.choice(PLAIN)))
    width = rng.uniform(1.5, 2.4)
    p.add((0, 0, 0.44), (0.6, width, 0.86), texture="doors")
    p.add((0, 0, 0.9), (0.64, width, 0.04), str(rng.choice(PLAIN)), "stone")
    return p


def _refrigerator(rng: Generator) -> Piece:
    p = Piece("refrigerator", str(rng.choice(("white", "gray", "black"))))
    height = rng.uniform(1.5, 1.85)
    p.add((0, 0, height / 2), (0.65, rng.uniform(0.6, 0.75), height), texture="fridge")
    return p


def _toilet(rng: Generator) -> Piece:
    p = Piece("toilet", "white")
    p.add((0.08, 0, 0.2), (0.5, 0.36, 0.4), round=True)
    p.add((-0.25, 0, 0.42), (0.2, 0.42, 0.78))
    return p


def _sink(rng: Generator) -> Piece:
    p = Piece("sink", "white")
    p.add((-0.05, 0, 0.38), (0.18, 0.18, 0.76), round=True)
    p.add((0, 0, 0.82), (0.45, rng.uniform(0.5, 0.65), 0.14))
    p.add((-0.19, 0, 0.95), (0.03, 0.04, 0.18), "gray")
    return p


def _bathtub(rng: Generator) -> Piece:
    p = Piece("bathtub", "white")
    length, width = rng.uniform(0.7, 0.78), rng.uniform(1.5, 1.75)
    p.add((0, 0, 0.15), (length, width, 0.3))
    for side in (-1, 1):
        p.add((side * (length / 2 - 0.04), 0, 0.43), (0.08, width, 0.28))
        p.add((0, side * (width / 2 - 0.04), 0.43), (length, 0.08, 0.28))
    return p


def _other(rng: Generator) -> Piece:
    kind = str(rng.choice(("bin", "box", "plant", "lamp")))
    if kind == "bin":
        p = Piece("trash can", str(rng.choice(("black", "gray", "blue"))))
        p.add((0, 0, 0.2), (0.3, 0.3, 0.4), round=True)
    elif kind == "box":
        p = Piece("box", "beige")
        p.add((0, 0, 0.2), (rng.uniform(0.35, 0.6), rng.uniform(0.35, 0.6), 0.4), texture="plain")
    elif kind == "plant":
        p = Piece("plant", "green")
        p.add((0, 0, 0.18), (0.32, 0.32, 0.36), "brown", round=True)
        p.add((0, 0, 0.75), (0.5, 0.5, 0.8), "green", "leaves", round=True)
    else:
        p = Piece("lamp", str(rng.choice(("white", "yellow", "red"))))
        p.add((0, 0, 0.02), (0.3, 0.3, 0.04), "black", round=True)
        p.add((0, 0, 0.7), (0.04, 0.04, 1.35), "black", round=True)
        p.add((0, 0, 1.5), (0.36, 0.36, 0.3), round=True)
    return p


def _flat(name: str, size: tuple[float, float, float], z: float, colors: tuple[str, ...], texture: str, spread: float):
    """A thing on a wall: its middle at height `z`, sizes varied by the share `spread`."""

    def make(rng: Generator) -> Piece:
        p = Piece(name, str(rng.choice(colors)))
        width, height = size[1] * rng.uniform(1 - spread, 1 + spread), size[2] * rng.uniform(1 - spread, 1 + spread)
        p.add((0, 0, z), (size[0], width, height), texture=texture)
        return p

    return make


# Name -> (maker, place): "wall" stands with its back to a wall, "free" anywhere, "hung" hangs on a wall.
FURNITURE: dict[str, tuple[Callable[[Generator], Piece], str]] = {
    "cabinet": (_cabinet, "wall"),
    "bed": (_bed, "wall"),
    "chair": (_chair, "free"),
    "sofa": (_sofa, "wall"),
    "table": (_table, "free"),
    "door": (_flat("door", (0.08, 0.9, 2.0), 1.0, ("brown", "white", "gray"), "doors", 0.03), "hung"),
    "window": (_flat("window", (0.1, 1.3, 1.2), 1.45, ("blue", "white"), "panes", 0.2), "hung"),
    "bookshelf": (_bookshelf, "wall"),
    "picture": (_flat("picture", (0.05, 0.8, 0.6), 1.55, ("red", "blue", "green", "yellow"), "painting", 0.3), "hung"),
    "counter": (_counter, "wall"),
    "desk": (_desk, "wall"),
    "curtain": (_flat("curtain", (0.12, 0.6, 2.0), 1.2, ("red", "blue", "green", "beige"), "folds", 0.2), "hung"),
    "refrigerator": (_refrigerator, "wall"),
    "shower curtain": (_flat("shower curtain", (0.1, 1.0, 1.8), 1.05, ("white", "blue"), "folds", 0.1), "hung"),
    "toilet": (_toilet, "wall"),
    "sink": (_sink, "wall"),
    "bathtub": (_bathtub, "wall"),
    "other": (_other, "free"),
}
