"""Generated scenes for the depth prior, and the ray caster that photographs them: rooms, tables, streets, clutter.

World: metres, y down as in the cameras, so that "up" is -y. Bodies are boxes, ellipsoids and cylinders in frames of
their own. Colours are linear until the end. Everything is decided by the generator that is handed in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator

BOX, ELLIPSOID, CYLINDER = range(3)
FAR_M = 1e4  # of rays that hit nothing
LIFT = 1e-3  # relative, by which rays start above a surface


@dataclass
class Body:
    kind: int
    world_from_local: np.ndarray  # [3, 3] rotation
    center: np.ndarray  # [3]
    half: np.ndarray  # [3] half sizes; a cylinder's axis is its y
    texture: int
    texture_m: float  # side of the texture
    inside: bool = False  # seen from inside, as a room is
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


def room(rng: Generator, textures: int) -> Scene:
    b = Builder(rng, textures)
    half = np.array([rng.uniform(1.5, 4), rng.uniform(1.15, 1.7), rng.uniform(1.5, 5)], np.float32)
    up = half[1]
    walls = {"texture": b.texture(), "texture_m": rng.uniform(0.8, 4)}
    for axis, sign in ((0, -1), (0, 1), (2, -1), (2, 1), (1, -1), (1, 1)):
        center, thick = np.zeros(3), half + 0.1
        center[axis], thick[axis] = sign * (half[axis] + 0.1), 0.1
        own = walls if axis != 1 and rng.random() < 0.8 else {"texture_m": rng.uniform(0.5, 3)}
        b.slab(center, thick, np.eye(3, dtype=np.float32), **own)

    def foot(share: float = 0.85) -> np.ndarray:
        return np.array([rng.uniform(-share, share) * half[0], up, rng.uniform(-share, share) * half[2]], np.float32)

    seen = [foot()]
    for _ in range(int(rng.integers(1, 4))):
        top = b.table(foot(), rng.uniform(0.5, 1))
        for _ in range(int(rng.integers(0, 5))):
            b.thing(
                top + np.array([rng.uniform(-0.3, 0.3), 0, rng.uniform(-0.2, 0.2)], np.float32), rng.uniform(0.1, 0.4)
            )
        seen.append(top)
    for _ in range(int(rng.integers(0, 4))):
        b.chair(foot(), rng.uniform(0.8, 1.1))
    for _ in range(int(rng.integers(0, 3))):
        b.shelf(foot(0.95), rng.uniform(0.6, 1))
    for _ in range(int(rng.integers(1, 6))):
        b.thing(foot(), rng.uniform(0.3, 1.2))
    for _ in range(int(rng.integers(0, 3))):
        b.pole(foot(), rng.uniform(0.8, 1.2))
    for _ in range(int(rng.integers(0, 5))):  # pictures and windows
        axis, sign = int(rng.choice([0, 2])), int(rng.choice([-1, 1]))
        center, size = np.array([*rng.uniform(-0.7, 0.7, 3)]) * half, rng.uniform(0.1, 0.6, 3)
        center[axis], size[axis] = sign * half[axis], 0.02
        b.slab(center, size, np.eye(3, dtype=np.float32), texture_m=rng.uniform(0.3, 1.5))
    scene = b.scene
    scene.lamp = np.array([rng.uniform(-0.6, 0.6) * half[0], -0.9 * up, rng.uniform(-0.6, 0.6) * half[2]], np.float32)
    scene.ambient = rng.uniform(0.3, 0.7)
    scene.eye = np.array([*(rng.uniform(-0.8, 0.8, 3) * half)], np.float32)
    scene.eye[1] = rng.uniform(-0.5, 0.3) * up
    scene.target = seen[int(rng.integers(len(seen)))] * rng.uniform(0.3, 1, 3).astype(np.float32)
    return scene


def table_top(rng: Generator, textures: int) -> Scene:
    """Things on a surface, from near: a desk, a carpet, a garden."""
    b = Builder(rng, textures)
    b.slab(
        (0, 0.5, 0), (rng.uniform(0.6, 6), 0.5, rng.uniform(0.6, 6)), rotation(rng, 0), texture_m=rng.uniform(0.2, 1.5)
    )
    if rng.random() < 0.7:  # something far behind
        b.slab((0, rng.uniform(0.5, 1.5), 0), (12, 0.2, 12), rotation(rng, 0))
        for _ in range(int(rng.integers(2, 9))):
            angle, far = rng.uniform(0, 2 * math.pi), rng.uniform(1.5, 6)
            half = rng.uniform(0.2, 2, 3)
            b.add(
                int(rng.integers(3)),
                (far * math.cos(angle), -half[1] / 2, far * math.sin(angle)),
                half,
                rotation(rng, 10),
            )
    if rng.random() < 0.6:
        turn = rotation(rng, 5)
        b.slab(b.at(np.zeros(3, np.float32), turn, (0, -1, rng.uniform(1.2, 4))), (6, 4, 0.1), turn)
    for _ in range(int(rng.integers(1, 10))):
        foot = np.array([rng.uniform(-0.4, 0.4), 0, rng.uniform(-0.4, 0.4)], np.float32)
        b.thing(foot, rng.uniform(0.08, 0.45))
    if rng.random() < 0.3:
        b.pole(np.array([rng.uniform(-0.3, 0.3), 0, rng.uniform(-0.3, 0.3)], np.float32), 0.5)
    scene, angle, high = b.scene, rng.uniform(0, 2 * math.pi), math.radians(rng.uniform(8, 65))
    away = rng.uniform(0.5, 1.6)
    scene.eye = away * np.array(
        [math.cos(high) * math.cos(angle), -math.sin(high), math.cos(high) * math.sin(angle)], np.float32
    )
    scene.target = np.array([rng.uniform(-0.15, 0.15), rng.uniform(-0.2, 0.05), rng.uniform(-0.15, 0.15)], np.float32)
    return _outdoor_light(scene, rng)


def street(rng: Generator, textures: int) -> Scene:
    b = Builder(rng, textures)
    b.slab((0, 1, 0), (80, 1, 80), rotation(rng, 0), texture_m=rng.uniform(1, 4))
    frontal = rng.random() < 0.4
    width = rng.uniform(3, 9)
    if frontal:
        turn = rotation(rng, 0)
        b.facade(np.zeros(3, np.float32), turn, rng.uniform(5, 14), rng.uniform(3, 7))
        if rng.random() < 0.6:
            wing = turn @ np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]], np.float32)
            b.facade(b.at(np.zeros(3, np.float32), turn, (rng.uniform(5, 12), 0, -6)), wing, 6, rng.uniform(3, 6))
        away = rng.uniform(8, 22)
        b.scene.eye = b.at(np.zeros(3, np.float32), turn, (rng.uniform(-5, 5), -rng.uniform(1.2, 2.5), -away))
        b.scene.target = b.at(np.zeros(3, np.float32), turn, (rng.uniform(-4, 4), -rng.uniform(1, 5), 0))
        room_for, along = b.scene.eye, turn
    else:
        for side, turn in (
            (1, np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]], np.float32)),
            (-1, np.array([[0, 0, -1], [0, 1, 0], [1, 0, 0]], np.float32)),
        ):
            z = -4.0
            while z < 50:
                w = rng.uniform(4, 9)
                if rng.random() < 0.85:
                    b.facade(
                        np.array([side * (width + rng.uniform(0, 1.5)), 0, z + w], np.float32),
                        turn,
                        w,
                        rng.uniform(2.5, 7),
                    )
                z += 2 * w
        b.scene.eye = np.array([rng.uniform(-0.6, 0.6) * width, -rng.uniform(1.3, 2), 0], np.float32)
        b.scene.target = np.array(
            [rng.uniform(-0.7, 0.7) * width, -rng.uniform(0.5, 3), rng.uniform(8, 25)], np.float32
        )
        room_for, along = b.scene.eye, np.eye(3, dtype=np.float32)
    for _ in range(int(rng.integers(2, 10))):
        offset = (rng.uniform(-0.9, 0.9) * width, 0, rng.uniform(3, 25 if not frontal else 12))
        foot = b.at(room_for, along, offset)
        foot[1] = 0
        kind = rng.integers(4)
        if kind == 0:
            b.pole(foot, rng.uniform(1.5, 4))
        elif kind == 1:  # a car
            turn, texture = rotation(rng, 0), b.texture()
            b.slab(foot - np.array([0, 0.6, 0], np.float32), (0.85, 0.35, 2.1), turn, texture=texture)
            b.slab(foot - np.array([0, 1.2, 0], np.float32), (0.75, 0.3, 1.1), turn)
        elif kind == 2:  # a tree
            b.pole(foot, 2)
            b.blob(foot - np.array([0, rng.uniform(2, 4), 0], np.float32), rng.uniform(1, 2.5))
        else:
            b.thing(foot, rng.uniform(0.5, 1.8))
    return _outdoor_light(b.scene, rng)


def clutter(rng: Generator, textures: int) -> Scene:
    """Anything anywhere, before slanted walls."""
    b = Builder(rng, textures)
    for _ in range(int(rng.integers(1, 4))):
        turn = rotation(rng, 60)
        b.slab(
            b.at(np.array([0, 0, 4], np.float32), turn, (0, 0, rng.uniform(1, 5))),
            (12, 12, 0.1),
            turn,
            texture_m=rng.uniform(0.5, 4),
        )
    for _ in range(int(rng.integers(6, 30))):
        z = math.exp(rng.uniform(math.log(1.2), math.log(8)))
        center = np.array([rng.uniform(-0.6, 0.6) * z, rng.uniform(-0.6, 0.6) * z, z], np.float32)
        half = math.exp(rng.uniform(math.log(0.05), math.log(0.35))) * z * rng.uniform(0.2, 1, 3)
        if rng.random() < 0.25:
            half[rng.integers(3)] *= 0.06
        b.add(int(rng.integers(3)), center, half, rotation(rng, 90))
    b.scene.eye = rng.uniform(-0.2, 0.2, 3).astype(np.float32)
    b.scene.target = np.array([rng.uniform(-0.3, 0.3), rng.uniform(-0.3, 0.3), 3], np.float32)
    return _outdoor_light(b.scene, rng)


def _outdoor_light(scene: Scene, rng: Generator) -> Scene:
    sun = rng.standard_normal(3)
    sun[1] = -abs(sun[1]) - 0.3
    scene.sun = (sun / np.linalg.norm(sun)).astype(np.float32)
    scene.ambient = rng.uniform(0.3, 1.0)
    scene.sky = np.array([0.6, 0.75, 1.0], np.float32) * rng.uniform(0.5, 1.2) + rng.uniform(0, 0.3)
    return scene


KINDS = (room, table_top, street, clutter)
SHARES = (0.35, 0.3, 0.22, 0.13)


def random_scene(rng: Generator, textures: int) -> Scene:
    return KINDS[int(rng.choice(len(KINDS), p=SHARES))](rng, textures)


class Caster:
    """Rays through a scene."""

    def __init__(self, scene: Scene) -> None:
        self.bodies = scene.bodies
        self.centers = np.stack([b.center for b in scene.bodies])
        self.radii = np.array([np.linalg.norm(b.half) for b in scene.bodies], np.float32) * 1.001

    def trace(self, origins: np.ndarray, directions: np.ndarray, most: np.ndarray | None = None):
        """(distance [N], body [N] or -1, local point [N, 3], world normal [N, 3]) along rays; `most` [N] ends them."""
        n = len(origins)
        best = np.full(n, FAR_M, np.float32) if most is None else most.astype(np.float32)
        body, local, normal = np.full(n, -1), np.zeros((n, 3), np.float32), np.zeros((n, 3), np.float32)
        for index, one in enumerate(self.bodies):
            to = self.centers[index] - origins
            ahead = np.einsum("ij,ij->i", to, directions)
            away = np.einsum("ij,ij->i", to, to) - ahead * ahead
            r = self.radii[index]
            rays = np.nonzero((away < r * r) & (ahead > -r) & (ahead - r < best))[0]
            if not len(rays):
                continue
            o = (origins[rays] - one.center) @ one.world_from_local
            d = directions[rays] @ one.world_from_local
            t, own = _hit(one, o, d)
            closer = t < best[rays]
            rows = rays[closer]
            best[rows], body[rows] = t[closer], index
            local[rows] = o[closer] + t[closer, None] * d[closer]
            normal[rows] = own[closer] @ one.world_from_local.T
        return best, body, local, normal


def _hit(body: Body, o: np.ndarray, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance [M] (FAR_M where missed) and local normal [M, 3] of the entry of local rays."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if body.kind == BOX:
            safe = np.where(np.abs(d) < 1e-9, 1e-9, d)
            a, b = (-body.half - o) / safe, (body.half - o) / safe
            low, high = np.minimum(a, b), np.maximum(a, b)
            near, far = low.max(1), high.min(1)
            axis = low.argmax(1)
            normal = np.zeros_like(o)
            rows = np.arange(len(o))
            normal[rows, axis] = -np.sign(d[rows, axis])
            return np.where((far > near) & (near > 0), near, FAR_M).astype(np.float32), normal
        if body.kind == ELLIPSOID:
            p, q = o / body.half, d / body.half
            a, b, c = (q * q).sum(1), (p * q).sum(1), (p * p).sum(1) - 1
            root = b * b - a * c
            t = (-b - np.sqrt(np.maximum(root, 0))) / a
            hit = (root > 0) & (t > 0)
            normal = (p + t[:, None] * q) / body.half
            normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
            return np.where(hit, t, FAR_M).astype(np.float32), normal
        r = body.half[[0, 2]]
        p, q = o[:, [0, 2]] / r, d[:, [0, 2]] / r
        a, b, c = np.maximum((q * q).sum(1), 1e-12), (p * q).sum(1), (p * p).sum(1) - 1
        root = b * b - a * c
        side = (-b - np.sqrt(np.maximum(root, 0))) / a
        on_side = (root > 0) & (side > 0) & (np.abs(o[:, 1] + side * d[:, 1]) < body.half[1])
        dy = np.where(np.abs(d[:, 1]) < 1e-9, 1e-9, d[:, 1])
        cap = (-np.sign(dy) * body.half[1] - o[:, 1]) / dy
        at = p + cap[:, None] * q
        on_cap = (cap > 0) & ((at * at).sum(1) < 1)
        t = np.minimum(np.where(on_side, side, FAR_M), np.where(on_cap, cap, FAR_M))
        normal = np.zeros_like(o)
        around = (p + np.where(on_side, side, 0)[:, None] * q) / r
        normal[:, [0, 2]] = around / np.maximum(np.linalg.norm(around, axis=1, keepdims=True), 1e-9)
        capped = on_cap & (cap <= np.where(on_side, side, FAR_M))
        normal[capped] = 0
        normal[capped, 1] = -np.sign(dy[capped])
        return t.astype(np.float32), normal
