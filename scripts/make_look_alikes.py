"""Make photographs of things that look alike from several sides, with true cameras: what misleads matching.

    python scripts/make_look_alikes.py OUT [--scenes 100] [--views 7] [--seed 0]

Each scene is a folder NAME with `images/` and `transforms.json` (nerfstudio's layout; EXIF holds no focal length).
Kinds, in turn: an object of 2- or 4-fold symmetry with one mark, a body covered with one stamp again and again
("curls"), a wall of equal tiles, an object on a turntable before a still background, and ordinary things that no two
sides of look alike.
A test bed for the confidence of cameras. The same arguments and library versions give the same bytes. CC0.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import make_sample
import numpy as np
import sample_textures as paint
import torch
from numpy.random import Generator
from PIL import Image
from sample_raycaster import Box, Lathe, Scene, pose
from torch import Tensor

WIDTH, HEIGHT = 480, 360
FINER = 1.5  # rays along a side of a pixel
TEXELS_PER_CM = 10.0
SEGMENTS = 30  # of a lathed body
FACES = ("-x", "+x", "-y", "+y", "-z", "+z")  # in the order of their numbers
SUN = torch.nn.functional.normalize(torch.tensor([0.45, 0.75, 0.5]), dim=0)
KINDS = ("symmetric", "curls", "tiles", "turntable", "ordinary")


@dataclass
class Shot:
    """One photograph to take."""

    bodies: list[Box | Lathe]
    world_from_cam: Tensor  # [4, 4] OpenCV axes, in the frame that the true cameras are told in
    object_turn_deg: float = 0.0  # of a turntable, already contained in world_from_cam


def color(rng: Generator) -> paint.Color:
    return tuple(rng.uniform(0.15, 0.9, 3))


def panel(height: int, width: int, rng: Generator) -> np.ndarray:
    """A picture with corners and letters that are like no other of the same generator."""
    picture = paint.mix(color(rng), color(rng), paint.noise(height, width, (4, 4), rng) * 0.5 + 0.5)
    for _ in range(rng.integers(8, 16)):
        x, y = rng.uniform(0.05, 0.95, 2) * (width, height)
        size = rng.uniform(0.04, 0.16) * min(width, height)
        shade = tuple(float(c) for c in color(rng))
        if rng.random() < 0.5:
            cv2.circle(picture, (int(x), int(y)), int(size), shade, -1, cv2.LINE_AA)
        else:
            box = cv2.boxPoints(((float(x), float(y)), (2 * size, size), float(rng.uniform(0, 180))))
            cv2.fillPoly(picture, [box.astype(np.int32)], shade, cv2.LINE_AA)
    letters = "".join(rng.choice(list("ABCDEFGHKLMNPRSTUVXYZ2345678"), 5))
    return paint.write(picture, letters, tuple(rng.uniform(0.3, 0.7, 2)), 0.16, color(rng))


def stamped(height: int, width: int, rng: Generator, count: int) -> np.ndarray:
    """One small stamp again and again at random places and turns: curls of stone."""
    picture = paint.mix(color(rng), color(rng), paint.noise(height, width, (3, 6), rng) * 0.25 + 0.5)
    side = int(height * rng.uniform(0.16, 0.24))
    stamp = panel(side, side, rng)
    y, x = np.mgrid[:side, :side] / side - 0.5
    soft = np.clip((0.48 - np.hypot(x, y)) * 20, 0, 1).astype(np.float32)
    for _ in range(count):
        turn = cv2.getRotationMatrix2D((side / 2, side / 2), float(rng.uniform(-25, 25)), float(rng.uniform(0.85, 1.1)))
        own, alpha = (cv2.warpAffine(a, turn, (side, side)) for a in (stamp, soft))
        top, left = int(rng.integers(0, height - side)), int(rng.integers(0, width - side))
        place = picture[top : top + side, left : left + side]
        place[:] = paint.mix(place, own, alpha)
    return picture


def repeated(height: int, width: int, rng: Generator, down: int, across: int, worn: float) -> np.ndarray:
    """Equal panels beside each other, each a little worn in its own way."""
    one = panel(height // down, width // across, rng)
    picture = cv2.resize(np.tile(one, (down, across, 1)), (width, height))
    return np.clip(picture + worn * paint.noise(height, width, (8, 8), rng)[..., None], 0, 1).astype(np.float32)


def marked(picture: np.ndarray, rng: Generator, share: float) -> np.ndarray:
    """The picture with one mark of this share of its height, off its upper and lower edges."""
    height, width = picture.shape[:2]
    side = int(share * height)
    top, left = int(rng.uniform(0.25, 0.8 - share) * height), int(rng.uniform(0.05, 0.9) * (width - side))
    picture[top : top + side, left : left + side] = panel(side, side, rng)
    return picture


def lit(body: Box | Lathe) -> Box | Lathe:
    """The body under sun and sky, without shadows: the same from everywhere."""
    v, u = torch.meshgrid((torch.arange(24) + 0.5) / 24, (torch.arange(48) + 0.5) / 48, indexing="ij")
    for face, patch in enumerate(body.patches):
        _, normals = body.to_world(*body.surface(face, u.flatten(), v.flatten()))
        light = 0.45 + 0.25 * normals[:, 1] + 0.6 * (normals @ SUN).clamp_min(0)
        patch.light = light.reshape(1, 24, 48).expand(4, -1, -1).clone()
    return body


def box(
    size: tuple[float, float, float],  # cm
    foot: tuple[float, float, float],  # cm
    painter: Callable[[int, int, int], np.ndarray],  # (face, height, width) -> sRGB
    turn_deg: float = 0.0,
) -> Box | Lathe:
    builder = make_sample.Builder(make_sample.Quality(texels_per_cm=TEXELS_PER_CM))
    faces = {name: functools.partial(painter, face) for face, name in enumerate(FACES)}
    builder.box(size, foot, faces, pose(turn_deg), gloss=0.0)
    return lit(builder.bodies[0])


def lathe(
    outline: list[tuple[float, float]], painter: Callable[[int, int], np.ndarray], turn_deg: float = 0.0
) -> Box | Lathe:
    builder = make_sample.Builder(make_sample.Quality(texels_per_cm=TEXELS_PER_CM))
    builder.lathe(
        outline, (0.0, 0.0, 0.0), lambda _, v, __: painter(*v.shape), pose(turn_deg), gloss=0.0, segments=SEGMENTS
    )
    return lit(builder.bodies[0])


def profile(rng: Generator) -> list[tuple[float, float]]:
    """A can, a vase or a ball, some 20 cm high."""
    kind = rng.integers(3)
    if kind == 0:
        return [(7.5, 0), (7.6, 6), (7.6, 14), (7.5, 20)]
    if kind == 1:
        return [(5, 0), (9, 5), (9.5, 10), (6, 16), (5, 20)]
    return [(2, 0.2), (7, 2.5), (9.8, 9), (9, 14), (6, 18), (2, 19.8)]


def ground(rng: Generator, textured: bool) -> Box:
    shade = color(rng)
    side = 260.0 if textured else 300.0

    def painter(face: int, h: int, w: int) -> np.ndarray:
        if face != 3 or not textured:
            return np.broadcast_to(np.float32(shade), (h, w, 3)).copy()
        picture = paint.mix(shade, color(rng), paint.noise(h, w, (20, 20), rng) * 0.5 + 0.5)
        for _ in range(60):
            s = int(rng.uniform(0.01, 0.03) * h)
            top, left = rng.integers(0, h - s), rng.integers(0, w - s)
            picture[top : top + s, left : left + s] = panel(s, s, rng)
        return picture

    return box((side, 1.0, side), (0.0, -1.0, 0.0), painter)


def look_at(place: np.ndarray, target: np.ndarray, rng: Generator) -> Tensor:
    """world_from_cam [4, 4] of a camera held by hand, rolled by a few degrees."""
    forward = (target - place) / np.linalg.norm(target - place)
    return torch.from_numpy(make_sample.held_by_hand(place, forward, rng.normal(0, 3.0))).float()


def ring(rng: Generator, views: int, distance_cm: float) -> list[Tensor]:
    """Cameras around the origin: all round or part of it, evenly with some disorder."""
    span = rng.choice([120.0, 240.0, 360.0])
    azimuths = rng.uniform(0, 360) + np.linspace(0, span, views, endpoint=span < 360) + rng.normal(0, 5, views)
    out = []
    for azimuth in np.radians(azimuths):
        elevation = math.radians(rng.uniform(15, 35))
        away = distance_cm * rng.uniform(0.9, 1.1)
        offset = [math.sin(azimuth) * math.cos(elevation), math.sin(elevation), math.cos(azimuth) * math.cos(elevation)]
        out.append(look_at(away * np.array(offset) + [0, 9, 0], np.array([0, 9.0, 0]) + rng.normal(0, 1.0, 3), rng))
    return out


def symmetric(rng: Generator, views: int) -> list[Shot]:
    fold, mark = int(rng.choice([2, 4])), float(rng.uniform(0.15, 0.35))
    if rng.random() < 0.5:
        thing: Box | Lathe = lathe(profile(rng), lambda h, w: marked(repeated(h, w, rng, 1, fold, 0.01), rng, mark))
    else:
        seed, marked_face = int(rng.integers(1 << 30)), int(rng.choice([0, 1, 4, 5]))

        def painter(face: int, h: int, w: int) -> np.ndarray:
            kind = 0 if fold == 4 or face in (0, 1) else 1
            picture = panel(h, w, np.random.default_rng(seed + kind + 2 * (face in (2, 3))))
            return marked(picture, rng, mark) if face == marked_face else picture

        thing = box((14.0, 18.0, 14.0), (0.0, 0.0, 0.0), painter)
    bodies = [thing, ground(rng, bool(rng.random() < 0.4))]
    return [Shot(bodies, camera) for camera in ring(rng, views, 42)]


def curls(rng: Generator, views: int) -> list[Shot]:
    thing = lathe(profile(rng), lambda h, w: stamped(h, w, rng, int(rng.integers(60, 140))))
    bodies = [thing, ground(rng, bool(rng.random() < 0.4))]
    return [Shot(bodies, camera) for camera in ring(rng, views, 42)]


def tiles(rng: Generator, views: int) -> list[Shot]:
    down, across = int(rng.integers(2, 5)), int(rng.integers(5, 9))

    def painter(face: int, h: int, w: int) -> np.ndarray:
        if face != 5:
            return np.full((h, w, 3), 0.5, np.float32)
        picture = repeated(h, w, rng, down, across, 0.015)
        for _ in range(rng.integers(1, 4)):
            picture = marked(picture, rng, 0.12)
        return picture

    wall = box((200.0, 80.0, 2.0), (0.0, -30.0, -1.0), painter)
    shots = []
    for x in np.linspace(-70, 70, views) + rng.normal(0, 4, views):
        place = np.array([x, 8 + rng.normal(0, 3), rng.uniform(70, 95)])
        target = np.array([0.8 * x + rng.normal(0, 8), 8 + rng.normal(0, 3), 0])
        shots.append(Shot([wall], look_at(place, target, rng)))
    return shots


def turntable(rng: Generator, views: int) -> list[Shot]:
    """The camera stands; the object turns before a wall. The true cameras are those around the object."""
    thing_seed, shape = int(rng.integers(1 << 30)), profile(rng)
    step = float(rng.choice([15.0, 30.0, 45.0]))
    busy = bool(rng.random() < 0.7)
    seed = int(rng.integers(1 << 30))
    place = look_at(np.array([0, 20.0, 42.0]), np.array([0, 8.0, 0]), rng)

    def backdrop(face: int, h: int, w: int) -> np.ndarray:
        own = np.random.default_rng(seed + face)
        if not busy or min(h, w) < 100:
            return np.full((h, w, 3), 0.6, np.float32)
        picture = paint.mix(color(own), color(own), paint.noise(h, w, (8, 8), own) * 0.5 + 0.5)
        for _ in range(40):
            s = int(own.uniform(0.04, 0.1) * h)
            top, left = own.integers(0, max(1, h - s)), own.integers(0, max(1, w - s))
            patch = picture[top : top + s, left : left + s]
            patch[:] = panel(s, s, own)[: patch.shape[0], : patch.shape[1]]
        return picture

    wall = box((220.0, 120.0, 2.0), (0.0, -50.0, -50.0), backdrop)
    shots = []
    for view in range(views):
        turn = view * step + float(rng.normal(0, 1))
        own = np.random.default_rng(thing_seed)
        thing = lathe(shape, lambda h, w, own=own: panel_sheet(h, w, own), turn)
        object_from_world = torch.eye(4)
        object_from_world[:3, :3] = pose(turn).T
        shots.append(Shot([thing, wall], object_from_world @ place, turn))
    return shots


def panel_sheet(height: int, width: int, rng: Generator) -> np.ndarray:
    """Panels beside each other, no two alike."""
    count = max(2, round(width / height * 1.5))
    edges = np.linspace(0, width, count + 1).astype(int)
    return np.concatenate([panel(height, b - a, rng) for a, b in itertools.pairwise(edges)], axis=1)


def ordinary(rng: Generator, views: int) -> list[Shot]:
    if rng.random() < 0.5:
        thing: Box | Lathe = lathe(profile(rng), lambda h, w: panel_sheet(h, w, rng))
    else:
        thing = box((14.0, 18.0, 12.0), (0.0, 0.0, 0.0), lambda face, h, w: panel(h, w, rng), 20.0)
    bodies = [thing, ground(rng, bool(rng.random() < 0.5))]
    return [Shot(bodies, camera) for camera in ring(rng, views, 42)]


MAKERS: dict[str, Callable[[Generator, int], list[Shot]]] = {
    "symmetric": symmetric,
    "curls": curls,
    "tiles": tiles,
    "turntable": turntable,
    "ordinary": ordinary,
}


def photograph(shot: Shot, focal_px: float, rng: Generator) -> np.ndarray:
    world_from_cam = shot.world_from_cam.clone()
    if shot.object_turn_deg:
        turn = torch.eye(4)
        turn[:3, :3] = pose(shot.object_turn_deg)
        world_from_cam = turn @ world_from_cam
    scene = Scene(shot.bodies, torch.zeros(4, 3))
    width, height = round(FINER * WIDTH), round(FINER * HEIGHT)
    fine = scene.render(world_from_cam, FINER * focal_px, width, height, 1).numpy()
    picture = cv2.resize(fine, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    return make_sample.develop(torch.from_numpy(picture), rng, 0.95)


def make(folder: Path, kind: str, seed: int, views: int) -> None:
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    focal_px = float(rng.uniform(0.9, 1.3) * WIDTH)
    shots = MAKERS[kind](rng, views)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    frames = []
    for number, shot in enumerate(shots):
        name = f"images/{number:03d}.jpg"
        Image.fromarray(photograph(shot, focal_px, rng)).save(folder / name, quality=92)
        opengl = shot.world_from_cam.double().numpy() @ np.diag([1.0, -1, -1, 1])
        frames.append({"file_path": name, "transform_matrix": opengl.tolist()})
    lens = {"camera_model": "PINHOLE", "w": WIDTH, "h": HEIGHT, "fl_x": focal_px, "fl_y": focal_px}
    lens |= {"cx": WIDTH / 2, "cy": HEIGHT / 2}
    (folder / "transforms.json").write_text(json.dumps({**lens, "frames": frames}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--views", type=int, default=7)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    args = parser.parse_args()
    for number in range(args.scenes):
        kind = args.kinds[number % len(args.kinds)]
        make(args.output / f"{number:03d}_{kind}", kind, args.seed + number, args.views)
        print(f"{number:03d}_{kind}", flush=True)


if __name__ == "__main__":
    main()
