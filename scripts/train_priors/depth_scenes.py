"""Generated scenes for the depth prior: rooms, tables, streets, clutter."""

from __future__ import annotations

import math

import numpy as np
from depth_bodies import Builder, Scene, rotation
from numpy.random import Generator


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
