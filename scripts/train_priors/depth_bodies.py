"""Parts of generated scenes: bodies, things put together of them, light, and a place to photograph from.

World: metres, y down as in the cameras, so that "up" is -y. Bodies are boxes, ellipsoids and cylinders in frames of
their own. Everything is decided by the generator that is handed in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator

BOX, ELLIPSOID, CYLINDER = range(3)


@dataclass
class Body:
    kind: int
    world_from_local: np.ndarray  # [3, 3] rotation
    center: np.ndarray  # [3]
    half: np.ndarray  # [3] half sizes; a cylinder's axis is its y
    texture: int
    texture_m: float  # side of the texture
    gloss: float = 0.0


@dataclass
class Scene:
    """Bodies, light, and where a photograph could be taken."""

    bodies: list[Body] = field(default_factory=list)
    lamp: np.ndarray | None = None  # [3] a lamp's place; None for the sun
    sun: np.ndarray = field(default_factory=lambda: np.array([0.0, -1, 0], np.float32))  # [3] towards it
    ambient: float = 0.4
    eye: np.ndarray = field(default_factory=lambda: np.zeros(3, np.float32))
    target: np.ndarray = field(default_factory=lambda: np.array([0, 0, 1], np.float32))
    sky: np.ndarray = field(default_factory=lambda: np.ones(3, np.float32))


def rotation(rng: Generator, tilt_deg: float) -> np.ndarray:
    """A turn about the vertical by any angle, after a tilt of up to so many degrees about any level axis."""
    turn, axis = rng.uniform(0, 2 * math.pi, 2)
    tilt = math.radians(rng.uniform(0, tilt_deg))
    c, s = math.cos(turn), math.sin(turn)
    upright = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    x, z, c, s = math.cos(axis), math.sin(axis), math.cos(tilt), math.sin(tilt)
    k = np.array([[0, -z, 0], [z, 0, -x], [0, x, 0]])
    return ((np.eye(3) + s * k + (1 - c) * k @ k) @ upright).astype(np.float32)


class Builder:
    """Bodies put together to things."""

    def __init__(self, rng: Generator, textures: int) -> None:
        self.rng, self.textures, self.scene = rng, textures, Scene()

    def texture(self) -> int:
        return int(self.rng.integers(self.textures))

    def add(self, kind: int, center: object, half: object, turn: np.ndarray, **more: object) -> Body:
        rng = self.rng
        texture = int(more.get("texture", self.texture()))  # type: ignore[call-overload]
        size = float(more.get("texture_m", rng.uniform(0.3, 2.0)))  # type: ignore[arg-type]
        gloss = float(rng.random() < 0.2) * rng.uniform(0, 0.6)
        body = Body(
            kind, turn, np.asarray(center, np.float32), np.asarray(half, np.float32), texture, size, gloss=gloss
        )
        self.scene.bodies.append(body)
        return body

    def slab(self, center: object, half: object, turn: np.ndarray, **more: object) -> Body:
        return self.add(BOX, center, half, turn, **more)

    def at(self, center: np.ndarray, turn: np.ndarray, offset: object) -> np.ndarray:
        return center + turn @ np.asarray(offset, np.float32)

    def table(self, foot: np.ndarray, size: float) -> np.ndarray:
        """A top on four legs; the middle of its top."""
        rng = self.rng
        turn, texture = rotation(rng, 0), self.texture()
        w, d, h = size * rng.uniform(0.4, 1), size * rng.uniform(0.3, 0.8), size * rng.uniform(0.4, 1)
        thick, leg = rng.uniform(0.01, 0.04), rng.uniform(0.015, 0.05)
        top = foot - np.array([0, h, 0], np.float32)
        self.slab(top, (w, thick, d), turn, texture=texture)
        for x in (-1, 1):
            for z in (-1, 1):
                place = self.at(top, turn, (x * (w - leg), h / 2, z * (d - leg)))
                self.add(BOX if rng.random() < 0.6 else CYLINDER, place, (leg, h / 2, leg), turn, texture=texture)
        return top - np.array([0, thick, 0], np.float32)

    def chair(self, foot: np.ndarray, size: float) -> None:
        turn, texture = rotation(self.rng, 0), self.texture()
        w, h, leg = 0.25 * size, 0.45 * size, 0.02 * size
        seat = foot - np.array([0, h, 0], np.float32)
        self.slab(seat, (w, 0.02 * size, w), turn, texture=texture)
        if self.rng.random() < 0.5:
            self.slab(self.at(seat, turn, (0, -0.3 * size, w)), (w, 0.25 * size, 0.02 * size), turn, texture=texture)
        else:
            for x in np.linspace(-0.9, 0.9, 4):
                place = self.at(seat, turn, (x * w, -0.3 * size, w))
                self.add(CYLINDER, place, (0.012 * size, 0.3 * size, 0.012 * size), turn, texture=texture)
        for x in (-1, 1):
            for z in (-1, 1):
                self.slab(self.at(seat, turn, (x * (w - leg), h / 2, z * (w - leg))), (leg, h / 2, leg), turn)

    def shelf(self, foot: np.ndarray, size: float) -> None:
        rng, turn, texture = self.rng, rotation(self.rng, 0), self.texture()
        w, d, h, boards = 0.5 * size, 0.15 * size, rng.uniform(0.6, 1) * size, int(rng.integers(2, 5))
        for x in (-1, 1):
            self.slab(self.at(foot, turn, (x * w, -h, 0)), (0.015, h, d), turn, texture=texture)
        for y in np.linspace(0, 2 * h, boards):
            self.slab(self.at(foot, turn, (0, -y, 0)), (w, 0.015, d), turn, texture=texture)
            for _ in range(int(rng.integers(0, 4))):
                half = rng.uniform(0.02, 0.12, 3) * size
                half[2] = min(half[2], d)
                place = self.at(foot, turn, (rng.uniform(-0.8, 0.8) * w, -y - half[1], 0))
                self.add(int(rng.integers(3)), place, half, turn)

    def blob(self, center: np.ndarray, size: float) -> None:
        """Ellipsoids grown together, as fruit, toys, bushes and animals are."""
        rng, texture, place = self.rng, self.texture(), center.copy()
        one = rng.random() < 0.6
        for _ in range(int(rng.integers(2, 8))):
            half = size * rng.uniform(0.15, 0.6, 3)
            own = {"texture": texture} if one or rng.random() < 0.5 else {}
            self.add(ELLIPSOID, place, half, rotation(rng, 90), texture_m=rng.uniform(0.5, 2) * size, **own)
            place = place + rng.uniform(-0.5, 0.5, 3).astype(np.float32) * size

    def thing(self, foot: np.ndarray, size: float) -> None:
        """Something that stands on a surface."""
        rng, up = self.rng, np.array([0, -1, 0], np.float32)
        kind = rng.integers(5)
        if kind == 0:
            half = size * rng.uniform(0.15, 0.7, 3)
            self.slab(foot + up * half[1], half, rotation(rng, 0), texture_m=rng.uniform(0.5, 3) * size)
        elif kind == 1:
            r, h = size * rng.uniform(0.1, 0.5), size * rng.uniform(0.2, 0.8)
            self.add(CYLINDER, foot + up * h, (r, h, r), rotation(rng, 0), texture_m=rng.uniform(0.5, 3) * size)
        elif kind == 2:
            half = size * rng.uniform(0.2, 0.6, 3)
            self.add(ELLIPSOID, foot + up * half[1], half, rotation(rng, 0), texture_m=rng.uniform(0.5, 3) * size)
        elif kind == 3:
            self.blob(foot + up * 0.4 * size, size)
        else:
            self.add(BOX, foot + up * 0.3 * size, size * rng.uniform(0.02, 0.5, 3), rotation(rng, 60))

    def pole(self, foot: np.ndarray, size: float) -> None:
        rng = self.rng
        h, r = size * rng.uniform(0.5, 1.2), size * rng.uniform(0.004, 0.03)
        self.add(
            CYLINDER, foot - np.array([0, h, 0], np.float32), (r, h, r), rotation(rng, 8 if rng.random() < 0.3 else 0)
        )

    def facade(self, center: np.ndarray, turn: np.ndarray, w: float, h: float) -> None:
        """A wall with windows that stand out or are let in, and ledges; `center` is at its foot, its front is -z."""
        rng, wall = self.rng, self.texture()
        glass, frame = self.texture(), self.texture()
        self.slab(self.at(center, turn, (0, -h, 0)), (w, h, 0.5), turn, texture=wall, texture_m=rng.uniform(0.8, 5))
        columns, rows = int(rng.integers(2, 7)), int(rng.integers(1, 5))
        a, b, deep = 0.6 * w / columns, 0.6 * h / rows, rng.uniform(0.05, 0.3)
        ww, hh = rng.uniform(0.4, 0.95) * a, rng.uniform(0.5, 0.95) * b
        for row in range(rows):
            y = -2 * h * (row + 0.5) / rows
            for column in range(columns):
                x = w * (2 * (column + 0.5) / columns - 1)
                self.slab(self.at(center, turn, (x, y, -0.5)), (ww, hh, 0.02), turn, texture=glass)
                for side in (-1, 1):
                    place = self.at(center, turn, (x + side * ww, y, -0.5 - deep / 2))
                    self.slab(place, (0.08, hh, deep / 2), turn, texture=frame)
                self.slab(self.at(center, turn, (x, y + hh, -0.5 - deep / 2)), (ww, 0.08, deep), turn, texture=frame)
            if rng.random() < 0.4:
                place = self.at(center, turn, (0, y - 0.9 * h / rows, -0.5))
                self.slab(place, (w, 0.12, rng.uniform(0.1, 0.5)), turn, texture=frame)
