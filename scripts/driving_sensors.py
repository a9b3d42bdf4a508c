"""A LiDAR and cameras that look at the streets of `driving_world`: rays against blocks and the ground, in NumPy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from driving_world import KINDS, PARKING_D, WALK_D, Paint, World

BEAMS_DEG = np.linspace(10.67, -30.67, 32)  # from the top one down
LIDAR_RANGE_M = 70.0
RANGE_NOISE_M = 0.02
GROUND, SKY = -1, -2  # what a ray has hit, besides blocks
SUN = np.array([0.42, 0.27, 0.87])
_FACE_SIDES = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])  # a block's corners in halves


@dataclass(frozen=True)
class Blocks:
    """M upright blocks, as they stand at one moment."""

    center: np.ndarray  # [M, 3]
    half: np.ndarray  # [M, 3]
    yaw: np.ndarray  # [M]
    thing: np.ndarray  # [M] int64, -1 for buildings
    intensity: np.ndarray  # [M]
    paints: tuple[Paint, ...]

    @classmethod
    def of(cls, world: World, time_s: float) -> Blocks:
        rows, paints, things, intensities = [], [], [], []
        for index, (thing, (x, y, z, yaw)) in enumerate(zip(world.things, world.poses(time_s), strict=True)):
            w, length, h = thing.size_wlh
            half = np.array([length, w, h]) / 2
            for part in KINDS[thing.kind].parts:
                offset = half * part.middle
                c, s = math.cos(yaw), math.sin(yaw)
                at = (x + c * offset[0] - s * offset[1], y + s * offset[0] + c * offset[1], z + offset[2])
                rows.append((*at, *(half * part.half), yaw))
                paints.append(part.paint or Paint(thing.color))
                things.append(index)
                intensities.append(KINDS[thing.kind].intensity)
        for wall in world.walls:
            x, y, yaw = world.road.place(wall.s, wall.d)
            w, length, h = wall.size_wlh
            rows.append((float(x), float(y), h / 2, length / 2, w / 2, h / 2, float(yaw)))
            paints.append(wall.paint)
            things.append(-1)
            intensities.append(15.0)
        table = np.array(rows).reshape(-1, 7)
        return cls(table[:, :3], table[:, 3:6], table[:, 6], np.array(things), np.array(intensities), tuple(paints))

    def near(self, origin: np.ndarray, reach_m: float) -> Blocks:
        """Those that may be hit from a place."""
        away = np.linalg.norm(self.center[:, :2] - origin[:2], axis=1) - np.linalg.norm(self.half[:, :2], axis=1)
        rows = np.flatnonzero(away < reach_m)
        arrays = (self.center, self.half, self.yaw, self.thing, self.intensity)
        return Blocks(*(a[rows] for a in arrays), tuple(self.paints[i] for i in rows))

    def things(self, blocks: np.ndarray) -> np.ndarray:
        """The things of blocks (or GROUND, or SKY), -1 where there is none."""
        return np.append(self.thing, -1)[np.maximum(blocks, -1)]

    def corners(self) -> np.ndarray:
        """[M, 8, 3]"""
        local = _FACE_SIDES * self.half[:, None]
        return _turned(local, self.yaw[:, None]) + self.center[:, None]


def _turned(vectors: np.ndarray, yaw: np.ndarray) -> np.ndarray:
    """Vectors [..., 3] turned about z by [...] radians."""
    c, s = np.cos(yaw), np.sin(yaw)
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    return np.stack([c * x - s * y, s * x + c * y, np.broadcast_to(z, x.shape)], axis=-1)


def _enter(origin: np.ndarray, directions: np.ndarray, half: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances [...] to blocks around the local origin (inf: missed, or started inside), and the axis [...] of the
    face that is hit. `origin`, `directions` and `half` are [..., 3] in the block's axes."""
    near, far, axis = np.float64(-np.inf), np.float64(np.inf), np.int64(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        for k in range(3):  # one axis after the other: reducing over a last axis of three is much slower
            inverse = 1 / directions[..., k]
            a, b = (-half[..., k] - origin[..., k]) * inverse, (half[..., k] - origin[..., k]) * inverse
            entry = np.fmin(a, b)
            axis = np.where(entry > near, k, axis)
            near, far = np.fmax(near, entry), np.fmin(far, np.fmax(a, b))
    return np.where((near > 0) & (near <= far), near, np.inf), axis


@dataclass(frozen=True)
class Sweep:
    """One turn of the LiDAR. Points are in its own frame; `thing` is the row of what they lie on, -1 for all else."""

    xyz: np.ndarray  # [P, 3] float32
    intensity: np.ndarray  # [P] float32
    ring: np.ndarray  # [P] int64
    thing: np.ndarray  # [P] int64
    visible: np.ndarray  # [things] the part of the rays at a thing that reach it, 0 where there are none


def sweep(
    blocks: Blocks, global_from_lidar: np.ndarray, columns: int, n_things: int, rng: np.random.Generator
) -> Sweep:
    """Measure with a LiDAR of 32 beams: the nearest hit of each ray, some lost, all with noise along the ray."""
    origin, rotation = global_from_lidar[:3, 3], global_from_lidar[:3, :3]
    azimuth = (np.arange(columns) + 0.5) / columns * 2 * math.pi - math.pi
    elevation = np.deg2rad(BEAMS_DEG)
    local = np.stack(
        [
            np.cos(elevation) * np.cos(azimuth[:, None]),
            np.cos(elevation) * np.sin(azimuth[:, None]),
            np.broadcast_to(np.sin(elevation), (columns, len(elevation))),
        ],
        axis=-1,
    )  # [columns, 32, 3]
    directions = local @ rotation.T
    blocks = blocks.near(origin, LIDAR_RANGE_M)
    block, column = _facing(blocks, origin, rotation, columns)
    to_block = -blocks.yaw
    start = _turned(origin - blocks.center, to_block)
    rays = _turned(directions[column], to_block[block][:, None])
    distance, _ = _enter(start[block][:, None], rays, blocks.half[block][:, None])  # [pairs, 32]
    pair, beam = np.nonzero(distance < LIDAR_RANGE_M)
    hit, ray = distance[pair, beam], column[pair] * len(elevation) + beam
    order = np.argsort(-hit, kind="stable")  # the nearest is written last
    with np.errstate(divide="ignore"):
        ground = -origin[2] / directions[..., 2].reshape(-1)
    best = np.where((ground > 0) & (ground < LIDAR_RANGE_M), ground, np.inf)
    what = np.full(len(best), GROUND)
    behind = hit[order] < best[ray[order]]
    what[ray[order][behind]] = block[pair][order][behind]
    best[ray[order][behind]] = hit[order][behind]
    thing = blocks.things(what)
    visible = _visible(blocks.thing[block[pair]], ray, thing, n_things)
    return _measured(best, what, thing, local.reshape(-1, 3), directions.reshape(-1, 3), blocks, visible, rng)


def _facing(blocks: Blocks, origin: np.ndarray, rotation: np.ndarray, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """(block [pairs], column [pairs]): which columns of rays may hit which block."""
    seen = (blocks.corners() - origin) @ rotation  # in the LiDAR's axes
    middle = (blocks.center - origin) @ rotation
    towards = np.arctan2(middle[:, 1], middle[:, 0])
    spread = np.arctan2(seen[..., 1], seen[..., 0]) - towards[:, None]
    spread = np.abs((spread + math.pi) % (2 * math.pi) - math.pi).max(axis=1)
    spread = np.where(spread > 2.5, math.pi, spread)  # around the LiDAR: wherever it looks
    step = 2 * math.pi / columns
    low = np.floor((towards - spread + math.pi) / step - 0.5).astype(int)
    count = np.minimum(np.ceil(2 * spread / step).astype(int) + 2, columns)
    block = np.repeat(np.arange(len(count)), count)
    column = low[block] + np.arange(len(block)) - np.repeat(np.cumsum(count) - count, count)
    return block, column % columns


def _visible(aimed: np.ndarray, ray: np.ndarray, seen: np.ndarray, n_things: int) -> np.ndarray:
    """[things]: rays whose nearest hit is the thing, of all rays that would hit it if it were alone."""
    own = aimed >= 0
    alone = np.unique(aimed[own] * len(seen) + ray[own]) // len(seen)
    could = np.bincount(alone, minlength=n_things)
    does = np.bincount(seen[seen >= 0], minlength=n_things)
    return does / np.maximum(could, 1)


def _measured(
    distance: np.ndarray,
    what: np.ndarray,
    thing: np.ndarray,
    local: np.ndarray,
    directions: np.ndarray,
    blocks: Blocks,
    visible: np.ndarray,
    rng: np.random.Generator,
) -> Sweep:
    """Far points and those on ground that is seen at a low angle are lost more often."""
    n = len(distance)
    slant = np.abs(directions[:, 2])
    lost = 0.03 + 0.3 * (np.minimum(distance, LIDAR_RANGE_M) / LIDAR_RANGE_M) ** 2
    lost = np.where(what == GROUND, lost + 0.35 * (slant < 0.05), lost)
    kept = np.flatnonzero(np.isfinite(distance) & (rng.random(n) >= lost))
    measured = distance[kept] + rng.normal(0, RANGE_NOISE_M, len(kept))
    bright = np.where(what[kept] >= 0, blocks.intensity[what[kept]], 12.0)
    intensity = np.clip(np.round(bright * rng.uniform(0.5, 1.5, len(kept))), 0, 255)
    xyz = (local[kept] * measured[:, None]).astype(np.float32)
    return Sweep(xyz, intensity.astype(np.float32), kept % len(BEAMS_DEG), thing[kept], visible)


@dataclass(frozen=True)
class Picture:
    """Picture of one camera, and for each pixel the thing that it shows (-1 for all else)."""

    rgb: np.ndarray  # uint8 [H, W, 3]
    thing: np.ndarray  # int64 [H, W]


def picture(
    world: World, blocks: Blocks, global_from_cam: np.ndarray, K: np.ndarray, width: int, height: int, seed: list[int]
) -> Picture:
    """One ray through each pixel's centre, coloured by what it hits and how that faces the sun."""
    origin, rotation = global_from_cam[:3, 3], global_from_cam[:3, :3]
    u, v = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    local = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones_like(u)], axis=-1)
    directions = local @ rotation.T  # of length 1 along the optical axis: distances are depths
    with np.errstate(divide="ignore"):
        depth = -origin[2] / directions[..., 2]
    depth = np.where(depth > 0, depth, np.inf)
    what = np.where(np.isfinite(depth), GROUND, SKY)
    axis = np.full(what.shape, 2)
    blocks = blocks.near(origin, 120.0)
    for index, (rows, columns) in _windows(blocks, global_from_cam, K, width, height):
        rays = _turned(directions[rows, columns], np.float64(-blocks.yaw[index]))
        start = _turned(origin - blocks.center[index], -blocks.yaw[index])
        t, face = _enter(start, rays, blocks.half[index])
        closer = t < depth[rows, columns]
        depth[rows, columns][closer] = t[closer]
        what[rows, columns][closer] = index
        axis[rows, columns][closer] = face[closer]
    rgb = _sky(directions)
    where = what == GROUND
    rgb[where] = _ground(world, origin + depth[where][:, None] * directions[where])
    for index in np.unique(what[what >= 0]):
        where = what == index
        points = origin + depth[where][:, None] * directions[where]
        rgb[where] = _painted(blocks, int(index), points - blocks.center[index], directions[where], axis[where])
    rng = np.random.default_rng(seed)
    rgb = 255 * rgb * world.light + rng.normal(0, 2.0, rgb.shape)
    return Picture(rgb.clip(0, 255).astype(np.uint8), blocks.things(what))


def _windows(blocks: Blocks, global_from_cam: np.ndarray, K: np.ndarray, width: int, height: int):
    """For each block that may be in the image: its row, and slices (rows, columns) that hold it."""
    corners = (blocks.corners() - global_from_cam[:3, 3]) @ global_from_cam[:3, :3]
    for index, block in enumerate(corners):
        if block[:, 2].max() <= 0:
            continue
        low, high = np.zeros(2), np.array([width, height], float)
        if block[:, 2].min() > 0.1:
            pixels = (block @ K.T)[:, :2] / block[:, 2:]
            low, high = np.maximum(low, pixels.min(axis=0)), np.minimum(high, pixels.max(axis=0))
        x0, y0 = np.floor(low).astype(int)
        x1, y1 = np.ceil(high).astype(int)
        if x0 < x1 and y0 < y1:
            yield index, (slice(y0, y1), slice(x0, x1))


def _sky(directions: np.ndarray) -> np.ndarray:
    up = (directions[..., 2] / np.linalg.norm(directions, axis=-1)).clip(0, 1)[..., None]
    return np.array([0.85, 0.88, 0.92]) * (1 - up) + np.array([0.35, 0.55, 0.85]) * up


def _ground(world: World, points: np.ndarray) -> np.ndarray:
    """Colours [P, 3] of points on the ground: asphalt with lines, kerbs, pavement, grass, all with grain."""
    s, d = world.road.locate(points[:, 0], points[:, 1])
    side = np.abs(d)
    color = np.full((len(points), 3), 0.36)
    color[side > 7.0] = 0.42
    color[side > PARKING_D + 1.2] = (0.62, 0.6, 0.57)
    color[side > WALK_D[1] + 1] = (0.38, 0.47, 0.28)
    dashes = (np.abs(side - 3.5) < 0.08) & (s % 6 < 3)
    color[dashes | (side < 0.08) | (np.abs(side - 7.0) < 0.06)] = 0.85
    # Grain that stays where it is: the fraction of a large number made from the cell's place.
    cell = np.floor(s / 0.25) * 12.9898 + np.floor(d / 0.25) * 78.233
    grain = np.modf(np.abs(np.sin(cell) * 43758.5453))[0]
    return color * (0.9 + 0.2 * grain)[:, None]


def _painted(blocks: Blocks, index: int, offsets: np.ndarray, directions: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Colours [P, 3] of points on one block, given from its centre."""
    paint, yaw = blocks.paints[index], blocks.yaw[index]
    local = _turned(offsets, np.float64(-yaw))
    color = np.broadcast_to(np.array(paint.color), local.shape).copy()
    if paint.second is not None:
        along = np.where(axis == 0, local[:, 1], local[:, 0])
        second = axis != 2
        for place, period in ((along, paint.across_m), (local[:, 2], paint.up_m)):
            if period:
                second = second & ((place + 100 * period) % period < period / 2)
        color[second] = paint.second
    normal = np.zeros_like(local)
    heading = _turned(directions, np.float64(-yaw))
    rows = np.arange(len(local))
    normal[rows, axis] = -np.sign(heading[rows, axis])
    lit = (_turned(normal, np.float64(yaw)) @ SUN).clip(0)
    return color * (0.5 + 0.5 * lit)[:, None]
