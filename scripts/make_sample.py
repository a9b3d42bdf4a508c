"""Make the 12 photographs that ship with the package: a still life in a tiled kitchen corner, ray cast from code alone.

    python scripts/make_sample.py [--output scene/sample] [--cameras tests/data/sample_cameras.json]

The same library versions give the same bytes. Nothing but this script and its two modules goes into the pictures,
which are dedicated to the public domain (CC0).
"""

from __future__ import annotations

import argparse
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sample_textures as paint
import torch
from fewview.scene.files import write_bytes, write_json
from PIL import Image
from sample_raycaster import Box, Lathe, Patch, Scene, linear_albedo, pose, smooth_profile
from torch import Tensor

WIDTH, HEIGHT = 800, 600
FOCAL_35MM = 30  # millimetres on a frame whose diagonal is 43.27 mm, as EXIF has it
FOCAL_PX = FOCAL_35MM * math.hypot(WIDTH, HEIGHT) / math.hypot(36, 24)
VIEWS = 12
OVERSAMPLING = 3  # rays per pixel along each axis
JPEG_QUALITY = 88
LICENSE = "These photographs were made by scripts/make_sample.py and are dedicated to the public domain (CC0 1.0).\n"


@dataclass(frozen=True)
class Quality:
    """Fineness of the painting and the light of the scene."""

    texels_per_cm: float = 9.0  # of the pictures on the surfaces
    light_cm: float = 0.7  # size of a texel of a light map
    window_side: int = 6  # shadow rays per texel, squared
    room_rays: int = 64  # rays per texel that gather the room's light


Paint = Callable[[int, int], np.ndarray]  # (height, width) px -> sRGB picture


class Builder:
    """Places painted bodies; all randomness comes from one generator."""

    def __init__(self, quality: Quality) -> None:
        self.quality = quality
        self.rng = np.random.default_rng(12)
        self.bodies: list[Box | Lathe] = []

    def box(
        self,
        size: tuple[float, float, float],  # cm
        foot: tuple[float, float, float],  # the middle of the lower face, cm
        faces: dict[str, Paint],  # keys of "-x +x -y +y -z +z", and "other"
        turn: Tensor | None = None,
        gloss: float = 0.1,
        light_texels: float = 1.0,
    ) -> None:
        half = torch.tensor(size) / 2
        low, high = torch.stack([-half, half]) + torch.tensor([0, size[1] / 2, 0])
        body = Box(pose() if turn is None else turn, torch.tensor(foot), low, high, gloss, light_texels)
        for number, name in enumerate(("-x", "+x", "-y", "+y", "-z", "+z")):
            painter = faces[name if name in faces else "other"]
            w, h = (max(8, round(s * self.quality.texels_per_cm)) for s in body.face_size(number))
            body.patches.append(Patch(linear_albedo(painter(h, w)), torch.zeros(4, 1, 1)))
        self.bodies.append(body)

    def lathe(
        self,
        profile: list[tuple[float, float]],  # (radius, y) cm, from the bottom of the outside
        foot: tuple[float, float, float],  # where the profile's origin stands, cm
        painter: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],  # (points, v, u) -> sRGB
        turn: Tensor | None = None,
        gloss: float = 0.3,
        segments: int = 40,
    ) -> None:
        curve = smooth_profile(profile, segments)
        radius, (bottom, top) = curve[:, 0].max().item(), curve[:, 1].aminmax()
        low, high = torch.tensor([-radius, bottom - 1e-3, -radius]), torch.tensor([radius, top + 1e-3, radius])
        turn = pose() if turn is None else turn
        body = Lathe(turn, torch.tensor(foot), low, high, gloss, profile=curve)
        w, h = (max(8, round(s * self.quality.texels_per_cm)) for s in body.face_size(0))
        v, u = np.meshgrid((np.arange(h) + 0.5) / h, (np.arange(w) + 0.5) / w, indexing="ij")
        flat = [torch.from_numpy(a.ravel()).float() for a in (u, v)]
        points = body.surface(0, *flat)[0].reshape(h, w, 3).double().numpy()
        body.patches.append(Patch(linear_albedo(painter(points, v, u)), torch.zeros(4, 1, 1), wraps=True))
        self.bodies.append(body)


def _plain(color: paint.Color) -> Paint:
    return lambda h, w: np.broadcast_to(np.float32(color), (h, w, 3)).copy()


def _add_room(b: Builder) -> None:
    rng, scale = b.rng, b.quality.texels_per_cm
    dark = _plain((0.4, 0.3, 0.2))
    b.box(
        (190, 4, 190),
        (0, -4, 74.35),
        {"+y": lambda h, w: paint.planks(h, w, scale, rng), "other": dark},
        pose(45),
        gloss=0.35,
        light_texels=1.4,
    )

    def wall(h: int, w: int) -> np.ndarray:
        return paint.tiled_wall(h, w, scale, rng, top_cm=46, tile_cm=11.5)

    along = 190 / math.sqrt(8)
    b.box((190, 110, 2), (-along - 0.7, 0, along - 60.7), {"+z": wall, "other": dark}, pose(45), 0.25, 4.0)
    b.box((190, 110, 2), (along + 0.7, 0, along - 60.7), {"+z": wall, "other": dark}, pose(-45), 0.25, 4.0)


def _add_pictures(b: Builder) -> None:
    rng, scale = b.rng, b.quality.texels_per_cm

    def wood(h: int, w: int) -> np.ndarray:
        return paint.planks(h, w, scale, rng, 40) * 0.75

    def framed(inner: Paint, color: paint.Color) -> Paint:
        def draw(h: int, w: int) -> np.ndarray:
            rim = max(2, round(1.6 * scale))
            picture = paint.worn(_plain(color)(h, w), rng, 0.2)
            picture[rim:-rim, rim:-rim] = inner(h - 2 * rim, w - 2 * rim)
            return paint.frame_lines(picture, rim, 2, (0.1, 0.08, 0.06))

        return draw

    oil = framed(lambda h, w: paint.landscape(h, w, rng), (0.62, 0.46, 0.20))
    poster = framed(lambda h, w: paint.alphabet(h, w, rng), (0.18, 0.14, 0.12))
    b.box((27, 20, 1.4), (32, 0, -9), {"+z": oil, "other": wood}, pose(-41, -15))
    b.box((30, 38, 1.2), (-46, 0, -3), {"+z": poster, "other": wood}, pose(43, -8))


def _add_cloth_and_books(b: Builder) -> None:
    rng, scale = b.rng, b.quality.texels_per_cm
    b.box(
        (66, 0.35, 38),
        (3, 0, 9),
        {"+y": lambda h, w: paint.cloth(h, w, scale, rng), "other": _plain((0.8, 0.74, 0.62))},
        pose(-9),
        gloss=0,
    )
    books = [
        ((25, 3.4, 18), 24, (0.20, 0.29, 0.33), (0.90, 0.74, 0.40), ["FIELD NOTES ON", "LIGHT"]),
        ((22.5, 2.6, 16), 9, (0.60, 0.22, 0.17), (0.95, 0.86, 0.66), ["A SHORT HISTORY", "OF GLASS"]),
        ((20, 2.2, 14), 33, (0.87, 0.72, 0.36), (0.22, 0.20, 0.30), ["GARDENS", "OF THE SOUTH"]),
    ]
    y = 0.0
    for size, yaw, base, accent, title in books:
        front = {
            "+y": lambda h, w, c=(base, accent, title): paint.cover(h, w, rng, *c),
            "+z": lambda h, w, c=(base, accent, title): paint.spine(h, w, rng, c[0], c[1], " ".join(c[2])),
            "other": lambda h, w, base=base: paint.pages(h, w, rng, base),
        }
        b.box(size, (-23.0, y, -6.0), front, pose(yaw), gloss=0.1)
        y += size[1]

    def cup(points: np.ndarray, v: np.ndarray, u: np.ndarray) -> np.ndarray:
        return paint.stoneware(points, v, rng, (0.30, 0.52, 0.56), (0.72, 0.56, 0.42))

    profile = [
        (0, 0),
        (2.5, 0),
        (2.9, 0.6),
        (3.8, 3.0),
        (4.2, 6.4),
        (4.1, 6.6),
        (3.9, 6.4),
        (3.4, 3),
        (2.4, 0.9),
        (0, 0.7),
    ]
    b.lathe(profile, (-24.5, y, -6.5), cup, gloss=0.7)


def _add_vase(b: Builder) -> None:
    rng = b.rng
    profile = [
        (0, 0), (4.6, 0), (5.0, 0.8), (7.6, 7.0), (8.6, 12.0), (7.4, 17.5), (4.0, 22.0), (3.2, 25.0),
        (4.4, 28.5), (4.2, 28.7), (3.0, 26.0), (2.8, 20.0), (0, 19.5),
    ]  # fmt: skip
    b.lathe(profile, (-4, 0, -20), lambda p, v, u: paint.painted_vase(p, v * 1.28, u, rng), gloss=0.75, segments=64)
    ball = [(2.3 * math.sin(a), -2.3 * math.cos(a)) for a in np.linspace(0, math.pi, 14)]

    def blossom(points: np.ndarray, v: np.ndarray, u: np.ndarray) -> np.ndarray:
        bumps = paint.solid_noise(points, 0.5, rng, 2)
        return paint.mix((0.74, 0.50, 0.08), (0.99, 0.85, 0.26), 0.55 + 0.30 * bumps)

    def stem(points: np.ndarray, v: np.ndarray, u: np.ndarray) -> np.ndarray:
        return paint.mix((0.30, 0.38, 0.16), (0.52, 0.56, 0.26), 0.5 + 0.3 * paint.solid_noise(points, 1.0, rng, 3))

    for length, lean, toward, size in (
        (16, 13, 20, 1.0),
        (21, 7, 150, 0.9),
        (14, 21, 265, 1.1),
        (18, 19, 95, 0.85),
        (12, 24, 330, 0.95),
    ):
        turn = pose(toward, lean)
        root = torch.tensor([-4.0, 20.5, -20.0])
        b.lathe([(0, 0), (0.22, 0.05), (0.2, length), (0, length + 0.1)], tuple(root.tolist()), stem, turn, 0, 12)
        top = root + turn @ torch.tensor([0, length + 1.5 * size, 0])
        b.lathe(ball, tuple(top.tolist()), blossom, turn @ pose(scale=(size, size * 0.9, size)), 0, 24)


def _add_globe(b: Builder) -> None:
    rng, radius = b.rng, 9.5
    sphere = [(radius * math.sin(a), -radius * math.cos(a)) for a in np.linspace(0, math.pi, 30)]
    b.lathe(
        sphere,
        (17, 18.2, -16),
        lambda p, v, u: paint.globe(p, v, u, radius, rng),
        pose(200, 0, -23),
        gloss=0.5,
        segments=56,
    )
    stand = [
        (0, 0),
        (6.6, 0),
        (6.8, 0.8),
        (5.6, 1.8),
        (2.2, 2.6),
        (1.3, 4.0),
        (1.9, 5.4),
        (1.1, 6.6),
        (2.6, 8.2),
        (3.2, 9.4),
        (0, 9.4),
    ]

    def turned_wood(points: np.ndarray, v: np.ndarray, u: np.ndarray) -> np.ndarray:
        grain = paint.solid_noise(points * np.array([1.6, 0.25, 1.6]), 1.4, rng, 5)
        return paint.mix((0.24, 0.12, 0.07), (0.60, 0.36, 0.20), 0.45 + 0.3 * grain)

    b.lathe(stand, (17, 0, -16), turned_wood, gloss=0.5)


def _add_fruit(b: Builder) -> None:
    rng = b.rng

    def peel(colors: tuple[paint.Color, paint.Color], cell: float, dots: float = 0.0):
        return lambda p, v, u: paint.skin(p, v, rng, colors, cell, dots)

    bowl = [
        (0, 0.9),
        (4.0, 0.8),
        (4.3, 0),
        (4.9, 0),
        (5.1, 0.9),
        (9.0, 3.4),
        (11.6, 7.4),
        (11.3, 7.7),
        (10.9, 7.4),
        (8.4, 4.2),
        (4.6, 2.2),
        (0, 1.9),
    ]
    b.lathe(
        bowl,
        (7.5, 0.35, 7),
        lambda p, v, u: paint.stoneware(p, v, rng, (0.24, 0.34, 0.56), (0.80, 0.68, 0.52)),
        gloss=0.7,
        segments=56,
    )
    apple = [
        (0, 1.5),
        (0.8, 0.6),
        (2.0, 0.05),
        (3.3, 1.1),
        (4.1, 3.4),
        (4.0, 5.6),
        (2.9, 7.1),
        (1.6, 7.4),
        (0.7, 6.9),
        (0, 6.1),
    ]
    pear = [
        (0, 0.4),
        (0.9, 0),
        (2.6, 0.6),
        (3.6, 2.6),
        (3.4, 4.6),
        (2.2, 6.9),
        (1.7, 8.4),
        (1.2, 9.4),
        (0.4, 9.8),
        (0, 9.6),
    ]
    lemon = [(0, 0), (0.5, 0.1), (1.0, 0.8), (2.3, 2.0), (2.9, 4.0), (2.4, 6.0), (1.1, 7.4), (0.6, 8.1), (0, 8.3)]
    orange = [(3.9 * math.sin(a), 3.7 - 3.7 * math.cos(a)) for a in np.linspace(0, math.pi, 20)]
    red, green = ((0.86, 0.66, 0.24), (0.70, 0.10, 0.10)), ((0.80, 0.76, 0.30), (0.46, 0.58, 0.18))
    tan, yellow = ((0.72, 0.62, 0.22), (0.84, 0.72, 0.30)), ((0.95, 0.78, 0.16), (0.97, 0.86, 0.28))
    amber = ((0.90, 0.44, 0.06), (0.96, 0.56, 0.12))
    b.lathe(apple, (2.6, 3.0, 8.6), peel(red, 1.6), pose(30, 14, 12), gloss=0.5)
    b.lathe(orange, (11.6, 3.3, 10.2), peel(amber, 1.8, 0.25), pose(80, 20), gloss=0.35)
    b.lathe(apple, (9.0, 3.2, 1.6), peel(green, 1.6, 0.2), pose(200, -18, 8), gloss=0.5)
    b.lathe(lemon, (3.4, 8.8, 3.4), peel(yellow, 1.3), pose(-25, 8, -74), gloss=0.4)
    b.lathe(pear, (24.5, 0.35, 16), peel(tan, 1.4, 0.7), pose(60, 5, 4), gloss=0.3)
    b.lathe(apple, (-8.5, 0.35, 5.5), peel(red, 1.7), pose(140, 6, -7), gloss=0.5)
    b.lathe(lemon, (27.5, 2.9, 5.0), peel(yellow, 1.3), pose(35, 0, -90), gloss=0.4)
    stick = [(0, 0), (0.22, 0.02), (0.16, 1.2), (0.24, 2.2), (0, 2.25)]

    def bark(points: np.ndarray, v: np.ndarray, u: np.ndarray) -> np.ndarray:
        return paint.mix((0.20, 0.13, 0.07), (0.42, 0.30, 0.16), 0.5 + 0.3 * paint.solid_noise(points, 0.5, rng, 2))

    b.lathe(stick, (24.1, 9.7, 16.8), bark, pose(60, 14), 0, 10)
    b.lathe(stick, (-8.0, 6.5, 6.2), bark, pose(20, 10, -8), 0, 10)


def _add_foreground(b: Builder) -> None:
    rng = b.rng

    def beech(points: np.ndarray, v: np.ndarray, u: np.ndarray) -> np.ndarray:
        grain = paint.solid_noise(points * np.array([1.8, 0.2, 1.8]), 1.5, rng, 5)
        stripes = paint.step(np.sin(points[..., 1] * 5) + 1.2 * (abs(points[..., 1]) > 13.2), 1.7, 0.2)
        picture = paint.mix((0.62, 0.42, 0.24), (0.90, 0.72, 0.48), 0.55 + 0.28 * grain)
        return paint.mix(picture, (0.60, 0.20, 0.14), stripes * 0.85)

    half = [
        (2.6, 0),
        (2.6, 11.5),
        (2.3, 12.4),
        (1.1, 12.9),
        (1.0, 13.4),
        (1.5, 15),
        (1.6, 16.5),
        (1.1, 17.6),
        (0, 17.9),
    ]
    pin = [(radius, -y) for radius, y in reversed(half[1:])] + half
    b.lathe(pin, (14, 2.6, 36.5), beech, pose(14, 0, 90), gloss=0.3, segments=48)

    def postcard(h: int, w: int) -> np.ndarray:
        picture = paint.frame_lines(paint.landscape(h, w, rng), 3, 7, paint.CREAM)
        return paint.write(picture, "GREETINGS FROM TERRA LENTIS", (0.5, 0.86), 0.1, paint.CREAM)

    b.box((16, 0.1, 11), (-16, 0, 36), {"+y": postcard, "other": _plain(paint.CREAM)}, pose(21))


def _add_small_things(b: Builder) -> None:
    rng = b.rng
    tea = ((0.13, 0.36, 0.33), (0.88, 0.70, 0.34), ["TEA", "LEAF & LENS", "No. 12"])

    def tin(h: int, w: int) -> np.ndarray:
        return paint.label(h, w, rng, *tea)

    def lid(h: int, w: int) -> np.ndarray:
        return paint.frame_lines(paint.worn(_plain(tea[1])(h, w), rng, 0.2), h * 0.12, 2, tea[0])

    b.box((9.5, 12.5, 9.5), (-13.5, 0.35, 17.0), {"other": tin}, pose(31), gloss=0.45)
    b.box((10, 1.6, 10), (-13.5, 12.6, 17.0), {"other": lid}, pose(31), gloss=0.45)

    def can(points: np.ndarray, v: np.ndarray, u: np.ndarray) -> np.ndarray:
        h, w = v.shape
        low, high = int(0.21 * h), int(0.765 * h)  # the straight side
        text = [
            paint.label(high - low, w // 2, rng, (0.62, 0.16, 0.12), (0.94, 0.82, 0.52), lines)
            for lines in (["OLIVE", "sun & stone", "1864"], ["SOAP", "of the harbour", "500 g"])
        ]
        wrap = np.concatenate([*text, text[0][:, : w - 2 * (w // 2)]], axis=1)
        metal = 0.66 + 0.08 * paint.solid_noise(points * np.array([1, 6, 1]), 2.0, rng, 4)
        picture = metal[..., None] * np.ones(3)
        picture[low:high] = wrap[::-1, ::-1]  # u runs to the left and v up when seen from outside
        return picture

    cylinder = [(0, 0), (4.1, 0), (4.1, 0.01), (4.1, 11), (4.1, 11.01), (3.8, 11.01), (3.8, 10.6), (0, 10.6)]
    b.lathe(cylinder, (-34, 0, 11), can, pose(75), gloss=0.5, segments=48)
    blocks = [
        ("F", "E", "W", (-1.0, 0.35, 24.5), 18),
        ("V", "I", "S", (4.6, 0.35, 22.8), -24),
        ("O", "K", "X", (1.6, 4.55, 23.6), 40),
    ]
    colors = [paint.TERRACOTTA, paint.COBALT, paint.SAGE]
    for number, (*letters, foot, yaw) in enumerate(blocks):

        def face(h: int, w: int, letter: str, color: paint.Color) -> np.ndarray:
            grain = paint.planks(h, w, b.quality.texels_per_cm, rng, 40) * 0.5 + 0.42
            return paint.frame_lines(paint.write(grain, letter, (0.5, 0.48), 0.8, color), 0.08 * h, 2, color)

        sides = ("+z", "+x", "+y", "-x", "-z", "other")
        texts = [letters[0], letters[1], letters[2], letters[1], letters[0], letters[2]]
        faces = {
            side: (lambda h, w, t=text, c=colors[(number + i) % 3]: face(h, w, t, c))
            for i, (side, text) in enumerate(zip(sides, texts, strict=True))
        }
        b.box((4.2, 4.2, 4.2), foot, faces, pose(yaw), gloss=0.1)
    ball = [(math.sin(a), 1 - math.cos(a)) for a in np.linspace(0, math.pi, 12)]
    pebbles = [
        (33, 22, 2.0, 1.0, 1.6),
        (37.2, 20, 1.5, 0.8, 1.3),
        (35.4, 25.2, 1.2, 0.7, 1.0),
        (-24, 22, 2.2, 1.1, 1.6),
        (-27.5, 25, 1.4, 0.8, 1.1),
    ]
    for k, (x, z, *size) in enumerate(pebbles):
        color = ((0.46, 0.45, 0.44), (0.62, 0.50, 0.40), (0.34, 0.38, 0.42))[k % 3]

        def pebble(points: np.ndarray, v: np.ndarray, u: np.ndarray, color: paint.Color = color) -> np.ndarray:
            return paint.stone(points * 2, rng, color)

        b.lathe(ball, (x, 0, z), pebble, pose(40 * k, 0, 0, tuple(size)), 0.15, 24)


def build_scene(quality: Quality) -> Scene:
    """The still life, painted and lit."""
    builder = Builder(quality)
    for add in (
        _add_room,
        _add_pictures,
        _add_cloth_and_books,
        _add_vase,
        _add_globe,
        _add_fruit,
        _add_small_things,
        _add_foreground,
    ):
        add(builder)
    # The window hangs to the left of the photographer, above the table.
    corners = [[-165, 155, 110], [-110, 155, 175], [-110, 75, 175], [-165, 75, 110]]
    scene = Scene(builder.bodies, torch.tensor(corners).float())
    scene.bake(quality.light_cm, quality.window_side, quality.room_rays)
    return scene


def world_from_cams() -> Tensor:
    """A handheld walk around the table, [12, 4, 4], OpenCV axes, centimetres."""
    rng = np.random.default_rng(7)
    poses = []
    for azimuth in np.linspace(-41, 41, VIEWS) + rng.normal(0, 1.0, VIEWS):
        elevation = 27 + 8 * math.sin(azimuth / 13) + rng.normal(0, 1.0)
        distance = 100 + rng.normal(0, 4)
        a, e = math.radians(azimuth), math.radians(elevation)
        offset = distance * np.array([math.sin(a) * math.cos(e), math.sin(e), math.cos(a) * math.cos(e)])
        target = np.array([-1, 9.5, -1]) + rng.normal(0, 1.2, 3)
        poses.append(held_by_hand(target + offset, -offset / distance, rng.normal(0, 2.0)))
    return torch.from_numpy(np.stack(poses)).float()


def held_by_hand(place: np.ndarray, forward: np.ndarray, roll_deg: float) -> np.ndarray:
    """world_from_cam [4, 4] of a camera at `place` [3] that looks along the unit vector `forward` [3], y up."""
    right = np.cross(forward, [0, 1, 0])
    right /= np.linalg.norm(right)
    down, roll = np.cross(forward, right), math.radians(roll_deg)
    c, s = math.cos(roll), math.sin(roll)
    world_from_cam = np.eye(4)
    world_from_cam[:3] = np.stack([c * right + s * down, c * down - s * right, forward, place], axis=1)
    return world_from_cam


def develop(linear: Tensor, rng: np.random.Generator, exposure: float = 1.0) -> np.ndarray:
    """An 8-bit sRGB photograph: one exposure for all, a soft shoulder, sensor noise."""
    x = linear.double().numpy() * exposure
    x = np.where(x < 0.6, x, 0.6 + 0.4 * (1 - np.exp(-(x - 0.6) / 0.4)))
    x = np.maximum(x + rng.normal(0, 1, x.shape) * np.sqrt(2e-6 + 2.5e-5 * x), 0)
    srgb = np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)
    return np.round(srgb.clip(0, 1) * 255).astype(np.uint8)


def jpeg_bytes(picture: np.ndarray) -> bytes:
    exif = Image.Exif()
    exif[0x0131] = "scripts/make_sample.py"  # Software
    exif[0x8298] = "CC0 1.0"  # Copyright
    exif.get_ifd(0x8769)[0xA405] = FOCAL_35MM  # FocalLengthIn35mmFilm
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "JPEG", quality=JPEG_QUALITY, exif=exif, optimize=True)
    return out.getvalue()


def cameras_json(poses: Tensor, names: list[str]) -> dict:
    """transforms.json: OpenGL axes, world y up, centimetres."""
    opengl = poses.double().numpy() @ np.diag([1.0, -1, -1, 1])
    frames = [
        {"file_path": name, "transform_matrix": np.round(matrix, 7).tolist()}
        for name, matrix in zip(names, opengl, strict=True)
    ]
    return {
        "camera_model": "PINHOLE", "w": WIDTH, "h": HEIGHT, "fl_x": FOCAL_PX, "fl_y": FOCAL_PX,
        "cx": WIDTH / 2, "cy": HEIGHT / 2, "frames": frames,
    }  # fmt: skip


def main() -> None:
    root = Path(__file__).parent.parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=root / "scene" / "sample", help="folder of the photographs")
    parser.add_argument(
        "--cameras", type=Path, default=root / "tests" / "data" / "sample_cameras.json", help="file of the true cameras"
    )
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    poses = world_from_cams()
    names = [f"photo_{k + 1:02d}.jpg" for k in range(VIEWS)]
    scene = build_scene(Quality())
    for number, (name, world_from_cam) in enumerate(zip(names, poses, strict=True)):
        linear = scene.render(world_from_cam, FOCAL_PX, WIDTH, HEIGHT, OVERSAMPLING)
        data = jpeg_bytes(develop(linear, np.random.default_rng(101 + number)))
        write_bytes(args.output / name, data)
        print(f"{name}: {len(data)} bytes")
    write_bytes(args.output / "LICENSE.txt", LICENSE.encode())
    write_json(args.cameras, cameras_json(poses, names))


if __name__ == "__main__":
    main()
