"""Make the frames of a walk round a block of houses, with true cameras: long sequences to measure poses on.

    python scripts/make_walk.py OUT [--frames 500] [--step 0.35] [--size 480 270] [--seed 0]

The block is as large as the walk is long, so that walks of any length have the same steps, see equally much and end
where they began. Streets are lined with unlike posters, and crates stand in them. The folder is `images/` and
`transforms.json` (nerfstudio's layout, metres, y up; EXIF holds no focal length). A frame takes a tenth of a second:
surfaces are plane, so that each is one homography of its picture, and the nearest of a pixel is the one with the
largest inverse depth, which is linear in the image. The same arguments and library versions give the same bytes. CC0.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import sample_textures as paint
from make_look_alikes import color, panel
from make_sample import held_by_hand
from numpy.random import Generator
from PIL import Image

FOCAL = 0.85  # of the longer side
FINER = 2  # rays along a side of a pixel
STREET_M, HEIGHT_M, PANEL_M = 5.0, 4.0, 3.0
TEXELS_PER_M = 96
REACH_M = 40.0  # beyond it nothing is drawn
NEAR_M = 0.05
CLEARLY = 1.0001  # of two surfaces in one plane the first is shown
CRATE_EVERY_M = 3.5
JPEG_QUALITY = 92


@dataclass(frozen=True)
class Rectangle:
    """A picture on a plane: its point at (u, v) in [0, 1] is corner + u * right + v * down."""

    corner: np.ndarray  # [3] metres
    right: np.ndarray  # [3]
    down: np.ndarray  # [3]
    seed: tuple[int, ...]  # of its picture

    def levels(self) -> list[np.ndarray]:
        """Its picture, uint8, in full and in ever smaller halves."""
        width, height = (max(8, round(float(np.linalg.norm(a)) * TEXELS_PER_M)) for a in (self.right, self.down))
        return _levels(self.seed, width, height)


@functools.lru_cache(maxsize=600)
def _levels(seed: tuple[int, ...], width: int, height: int) -> list[np.ndarray]:
    levels = [poster(height, width, np.random.default_rng(seed))]
    while min(levels[-1].shape[:2]) >= 8:
        h, w = levels[-1].shape[:2]
        levels.append(cv2.resize(levels[-1], (w // 2, h // 2), interpolation=cv2.INTER_AREA))
    return levels


def poster(height: int, width: int, rng: Generator) -> np.ndarray:
    """A picture of pictures of several sizes, uint8."""
    picture = paint.mix(color(rng), color(rng), paint.noise(height, width, (6, 6), rng) * 0.4 + 0.5)
    for share, count in ((0.45, 4), (0.2, 10)):
        side = max(8, int(share * min(height, width)))
        for _ in range(count):
            top, left = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
            picture[top : top + side, left : left + side] = panel(side, side, rng)
    return (picture.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def street(perimeter_m: float, seed: int) -> tuple[list[Rectangle], np.ndarray]:
    """Surfaces of the streets round a block, and the four corners [4, 2] (x, z) of the walk in their middle."""
    side = perimeter_m / 4
    walk = np.array([[0, 0], [side, 0], [side, side], [0, side]])
    rng = np.random.default_rng([seed, 1])
    surfaces: list[Rectangle] = []

    def add(corner: Sequence[float], right: Sequence[float], down: Sequence[float]) -> None:
        surfaces.append(Rectangle(np.array(corner), np.array(right), np.array(down), (seed, 2, len(surfaces))))

    half = STREET_M / 2
    for inset in (-half, half):  # the outer houses, then the block
        corners = walk + np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * inset
        for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            count = max(1, round(float(np.linalg.norm(b - a)) / PANEL_M))
            step = (b - a) / count
            for k in range(count):
                x, z = a + k * step
                add((x, HEIGHT_M, z), (step[0], 0, step[1]), (0, -HEIGHT_M, 0))
    for a, b in zip(walk, np.roll(walk, -1, axis=0), strict=True):  # pavement
        along = (b - a) / np.linalg.norm(b - a)
        across = np.array([-along[1], along[0]])
        count = max(1, round((float(np.linalg.norm(b - a)) + STREET_M) / PANEL_M))
        step = (b - a + along * STREET_M) / count
        for k in range(count):
            x, z = a - along * half - across * half + k * step
            add((x, 0, z), (step[0], 0, step[1]), (across[0] * STREET_M, 0, across[1] * STREET_M))
    for at in np.arange(1.0, perimeter_m - 1.0, CRATE_EVERY_M):  # crates along the houses, the walk passes between
        a, along = _place(walk, at)
        across = np.array([-along[1], along[0]])
        middle = a + across * rng.choice([-1, 1]) * rng.uniform(1.3, 1.8) + along * rng.uniform(-0.8, 0.8)
        size, top = rng.uniform(0.5, 0.9), rng.uniform(0.5, 1.6)
        turn = rng.uniform(0, math.pi / 2)
        ring = [middle + size / math.sqrt(2) * np.array([math.cos(turn + q), math.sin(turn + q)])
                for q in np.arange(4) * math.pi / 2]  # fmt: skip
        for p, q in zip(ring, [*ring[1:], ring[0]], strict=True):
            add((p[0], top, p[1]), (q[0] - p[0], 0, q[1] - p[1]), (0, -top, 0))
        p, q, r = ring[0], ring[1], ring[3]
        add((p[0], top, p[1]), (q[0] - p[0], 0, q[1] - p[1]), (r[0] - p[0], 0, r[1] - p[1]))
    return surfaces, walk


def _place(walk: np.ndarray, at_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Point [2] and direction [2] at this distance along the closed walk [4, 2]."""
    side = float(np.linalg.norm(walk[1] - walk[0]))
    leg = int(at_m // side) % 4
    a, b = walk[leg], walk[(leg + 1) % 4]
    return a + (b - a) * (at_m % side) / side, (b - a) / side


def cameras(walk: np.ndarray, frames: int, step_m: float, rng: Generator) -> np.ndarray:
    """world_from_cam [N, 4, 4] of somebody who walks and looks ahead and to the side, in turn."""
    out = []
    phase = rng.uniform(0, 2 * math.pi)
    around = np.stack([_place(walk, k * step_m + d)[0] for k in range(frames) for d in np.linspace(-1.5, 1.5, 7)])
    places = around.reshape(frames, 7, 2).mean(1)  # corners are cut
    headings = np.unwrap(np.arctan2(*(np.roll(places, -1, axis=0) - np.roll(places, 1, axis=0)).T[::-1]))
    for k in range(frames):
        x, z = places[k] + rng.normal(0, 0.03, 2)
        yaw = headings[k] + math.radians(30) * math.sin(phase + k * step_m / 3.0) + rng.normal(0, 0.02)
        pitch = math.radians(-4) + rng.normal(0, 0.02)
        forward = np.array([math.cos(pitch) * math.cos(yaw), math.sin(pitch), math.cos(pitch) * math.sin(yaw)])
        out.append(held_by_hand(np.array([x, 1.6 + rng.normal(0, 0.03), z]), forward, rng.normal(0, 1.5)))
    return np.stack(out)


def view(surfaces: list[Rectangle], world_from_cam: np.ndarray, width: int, height: int) -> np.ndarray:
    """uint8 [height, width, 3] of the nearest surfaces."""
    w, h = width * FINER, height * FINER
    focal = FOCAL * max(w, h)
    turn, eye = world_from_cam[:3, :3].T, world_from_cam[:3, 3]
    K = np.array([[focal, 0, w / 2 - 0.5], [0, focal, h / 2 - 0.5], [0, 0, 1]])
    nearest = np.zeros((h, w), np.float32)  # inverse depth
    picture = np.full((h, w, 3), 200, np.uint8)
    columns, rows = np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32)[:, None]
    for surface in surfaces:
        corner, right, down = turn @ (surface.corner - eye), turn @ surface.right, turn @ surface.down
        corners = np.stack([corner, corner + right, corner + right + down, corner + down])
        normal = np.cross(right, down)
        offset = float(normal @ corner)
        if corners[:, 2].max() < NEAR_M or np.linalg.norm(corners, axis=1).min() > REACH_M or abs(offset) < 1e-9:
            continue
        left, top, wide, tall = _window(corners, K, w, h)
        if wide <= 0 or tall <= 0:
            continue
        # normal . (X / z) = offset / z, and X / z is linear in the pixel.
        a, b, c = normal @ np.linalg.inv(K) / offset
        inverse_depth = a * columns[left : left + wide] + (b * rows[top : top + tall] + np.float32(c))
        levels = surface.levels()
        texels = np.sqrt(levels[0].shape[0] * levels[0].shape[1] / max(1e-9, np.linalg.norm(normal)))  # a metre
        per_pixel = texels * max(NEAR_M, float(np.abs(corners[:, 2]).min())) / focal
        source = levels[int(np.clip(math.log2(max(1.0, per_pixel)) + 0.5, 0, len(levels) - 1))]
        th, tw = source.shape[:2]
        to_texel = np.array([[1 / tw, 0, 0.5 / tw], [0, 1 / th, 0.5 / th], [0, 0, 1]])  # texel index to u, v
        pixel_from_texel = K @ np.stack([right, down, corner], axis=1) @ to_texel
        shifted = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]]) @ pixel_from_texel
        drawn = cv2.warpPerspective(source, shifted, (wide, tall), borderMode=cv2.BORDER_REPLICATE)
        uv1 = np.linalg.inv(shifted @ np.linalg.inv(to_texel))
        x, y = np.arange(wide, dtype=np.float32), np.arange(tall, dtype=np.float32)[:, None]
        u, v, s = (np.float32(r[0]) * x + (np.float32(r[1]) * y + np.float32(r[2])) for r in uv1)
        s = np.where(np.abs(s) < 1e-12, 1e-12, s)
        inside = (u / s >= 0) & (u / s <= 1) & (v / s >= 0) & (v / s <= 1)
        before = nearest[top : top + tall, left : left + wide]
        seen = inside & (inverse_depth > before * CLEARLY) & (inverse_depth < 1 / NEAR_M)
        before[seen] = inverse_depth[seen]
        picture[top : top + tall, left : left + wide][seen] = drawn[seen]
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def _window(corners: np.ndarray, K: np.ndarray, width: int, height: int) -> tuple[int, int, int, int]:
    """left, top, width, height of the pixels in which a rectangle can be seen."""
    if corners[:, 2].min() < NEAR_M:
        return 0, 0, width, height
    xy = (corners @ K.T)[:, :2] / corners[:, 2:]
    left, top = (max(0, math.floor(m)) for m in xy.min(0))
    right, bottom = min(width, math.ceil(xy[:, 0].max()) + 1), min(height, math.ceil(xy[:, 1].max()) + 1)
    return left, top, right - left, bottom - top


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--frames", type=int, default=500)
    parser.add_argument("--step", type=float, default=0.35, help="metres from frame to frame")
    parser.add_argument("--size", type=int, nargs=2, default=(480, 270), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    width, height = args.size
    (args.output / "images").mkdir(parents=True, exist_ok=True)
    surfaces, walk = street(args.frames * args.step, args.seed)
    rng = np.random.default_rng([args.seed, 3])
    frames = []
    for number, world_from_cam in enumerate(cameras(walk, args.frames, args.step, rng)):
        image = view(surfaces, world_from_cam, width, height)
        noisy = image + rng.normal(0, 1.5, image.shape)
        name = f"images/{number:04d}.jpg"
        Image.fromarray((noisy.clip(0, 255) + 0.5).astype(np.uint8)).save(args.output / name, quality=JPEG_QUALITY)
        opengl = world_from_cam @ np.diag([1.0, -1, -1, 1])
        frames.append({"file_path": name, "transform_matrix": opengl.tolist()})
    focal_px = FOCAL * max(width, height)
    lens = {"camera_model": "PINHOLE", "w": width, "h": height, "fl_x": focal_px, "fl_y": focal_px}
    lens |= {"cx": width / 2, "cy": height / 2}
    (args.output / "transforms.json").write_text(json.dumps({**lens, "frames": frames}))


if __name__ == "__main__":
    main()
