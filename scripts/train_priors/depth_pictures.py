"""Photographs of generated scenes with true depth, and which of their pixels other photographs would see, too."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from depth_bodies import Scene
from depth_caster import FAR_M, LIFT, Caster, caster
from depth_scenes import random_scene
from depth_textures import Textures
from numpy.random import Generator

NEIGHBOURS = 2  # other photographs that the scene is seen from
MIN_SEEN = 0.6  # of the pixels must show something, or the scene is drawn again
FORWARD = 0.25  # of the scenes are seen by cameras that went straight on
NEAREST = 0.02  # of the median depth: nothing may be nearer, or the camera is in it


@dataclass(frozen=True)
class Picture:
    rgb: np.ndarray  # [S, S, 3] uint8 sRGB
    depth: np.ndarray  # [S, S] float32 z in metres, 0 where the sky is seen
    shared: np.ndarray  # [S, S] uint8, other photographs that see the same point


def look_at(eye: np.ndarray, target: np.ndarray, roll: float) -> np.ndarray:
    """world_from_cam rotation [3, 3], OpenCV axes, y down in the world."""
    z = target - eye
    z = z / max(float(np.linalg.norm(z)), 1e-9)
    x = np.cross(np.array([0.0, 1, 0]), z)
    x = x / max(float(np.linalg.norm(x)), 1e-9)
    y = np.cross(z, x)
    c, s = math.cos(roll), math.sin(roll)
    return np.stack([c * x + s * y, -s * x + c * y, z], axis=1).astype(np.float32)


def picture(rng: Generator, textures: Textures, side_px: int) -> Picture:
    """One photograph of one new scene."""
    while True:
        found = _attempt(rng, random_scene(rng, len(textures)), textures, side_px)
        if found is not None:
            return found


def _attempt(rng: Generator, scene: Scene, textures: Textures, side: int) -> Picture | None:
    focal = side / (2 * math.tan(math.radians(rng.uniform(32, 75)) / 2))
    turn = look_at(scene.eye, scene.target, rng.normal(0, 0.06))
    if rng.random() < 0.2:
        turn = turn @ np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]], np.float32)  # held upright
    y, x = np.mgrid[:side, :side].astype(np.float32) + 0.5 - side / 2
    local = np.stack([x / focal, y / focal, np.ones_like(x)], -1).reshape(-1, 3)
    length = np.linalg.norm(local, axis=1)
    directions = (local @ turn.T / length[:, None]).astype(np.float32)
    origins = np.broadcast_to(scene.eye, directions.shape).astype(np.float32)
    rays = caster(scene)
    t, body, at, normal = rays.trace(origins, directions)
    hit = body >= 0
    depth = np.where(hit, t / length, 0).astype(np.float32)
    if hit.mean() < MIN_SEEN or depth[hit].min() < NEAREST * np.median(depth[hit]):
        return None
    points = origins + (t * (1 - LIFT))[:, None] * directions
    rgb = _shade(rng, scene, rays, textures, (t, body, at, normal), points, directions, focal)
    shared = _shared(rng, scene, rays, turn, points, np.median(depth[hit]), focal, side) * hit
    return Picture(_exposed(rng, rgb.reshape(side, side, 3)), depth.reshape(side, side), shared.reshape(side, side))


def _shade(rng, scene, rays, textures, hit, points, directions, focal) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Linear radiance [N, 3]: Lambert with one light that casts shadows, light from above, a little gloss."""
    t, body, at, normal = hit
    rows = np.nonzero(body >= 0)[0]
    bodies = rays.bodies
    color = np.broadcast_to(scene.sky, (len(t), 3)).astype(np.float32).copy()
    own = body[rows]
    texture = np.array([b.texture for b in bodies])[own]
    size = np.array([b.texture_m for b in bodies], np.float32)[own]
    turns = np.stack([b.world_from_local for b in bodies])
    inner = np.einsum("nji,nj->ni", turns[own], normal[rows])
    axis = np.abs(inner).argmax(1)
    others = np.array([[1, 2], [0, 2], [0, 1]])[axis]
    place = np.take_along_axis(at[rows], others, axis=1) / size[:, None] + (own % 17)[:, None] * 0.37
    slant = np.maximum(np.abs((normal[rows] * directions[rows]).sum(1)), 0.15)
    albedo = textures.sample(texture, place, t[rows] / focal / size / np.sqrt(slant))
    n, p = normal[rows], points[rows]
    if scene.lamp is None:
        towards, reach = np.broadcast_to(scene.sun, p.shape), np.full(len(p), FAR_M, np.float32)
        strength = np.full(len(p), 1.2, np.float32)
    else:
        towards = scene.lamp - p
        reach = np.linalg.norm(towards, axis=1)
        towards = towards / np.maximum(reach, 1e-6)[:, None]
        strength = np.minimum(4.0 / (1 + reach**2), 3.0)
    facing = np.maximum((n * towards).sum(1), 0)
    lit = np.nonzero(facing > 0)[0]
    free = np.zeros(len(p), np.float32)
    free[lit] = ~rays.blocked(p[lit], towards[lit].astype(np.float32), 0.999 * reach[lit])
    direct = strength * facing * free
    above = scene.ambient * (0.65 - 0.35 * n[:, 1])
    light = direct[:, None] * np.array([1.0, 0.95, 0.85]) + above[:, None] * np.array([0.85, 0.95, 1.0])
    gloss = np.array([b.gloss for b in bodies], np.float32)[own]
    half = towards - directions[rows]
    half = half / np.maximum(np.linalg.norm(half, axis=1, keepdims=True), 1e-6)
    shine = gloss * free * np.maximum((half * n).sum(1), 0) ** 60
    color[rows] = albedo * light + shine[:, None]
    return color


def _shared(
    rng: Generator,
    scene: Scene,
    rays: Caster,
    turn: np.ndarray,  # [3, 3] world_from_cam of the photograph
    points: np.ndarray,  # [N, 3]
    away: float,  # of what is looked at
    focal: float,
    side: int,
) -> np.ndarray:
    """uint8 [N]: from how many of the other cameras a point is in the picture and not hidden."""
    seen = np.zeros(len(points), np.uint8)
    driven = rng.random() < FORWARD
    ahead = turn[:, 2]
    middle = scene.eye + (scene.target - scene.eye) / max(np.linalg.norm(scene.target - scene.eye), 1e-6) * away
    for _ in range(NEIGHBOURS):
        eye = scene.eye + away * rng.uniform(0.05, 0.5) * _unit(rng) * np.array([1, 0.4, 1])
        other = look_at(eye, middle + 0.25 * away * _unit(rng), rng.normal(0, 0.05))
        if driven:  # the cameras of a drive lie behind each other
            eye = scene.eye + away * rng.uniform(-0.5, 0.5) * (ahead + 0.1 * _unit(rng))
            other = turn
        to = points - eye
        inside = to @ other
        z = np.maximum(inside[:, 2], 1e-6)
        rows = np.nonzero((inside[:, 2] > 0) & (np.abs(inside[:, :2] / z[:, None]) < side / 2 / focal).all(1))[0]
        length = np.linalg.norm(to[rows], axis=1)
        back = (-to[rows] / np.maximum(length, 1e-6)[:, None]).astype(np.float32)
        seen[rows] += ~rays.blocked(points[rows].astype(np.float32), back, length * (1 - 2 * LIFT))
    return seen


def _unit(rng: Generator) -> np.ndarray:
    v = rng.standard_normal(3)
    return v / np.linalg.norm(v)


def _exposed(rng: Generator, linear: np.ndarray) -> np.ndarray:
    """sRGB bytes as a camera writes them: exposure, white balance, blur of the lens, falling corners, grain, JPEG."""
    side = len(linear)
    bright = np.quantile(linear.mean(2), 0.9)
    picture = linear * (rng.uniform(0.5, 1.0) / max(bright, 1e-3)) * (1 + rng.uniform(-0.12, 0.12, 3))
    y, x = np.mgrid[:side, :side] / side - 0.5
    picture = picture * (1 - rng.uniform(0, 0.8) * (x * x + y * y))[..., None]
    picture = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), rng.uniform(0.35, 0.8))
    picture = np.clip(picture, 0, 1) ** (1 / rng.uniform(2.0, 2.5))
    picture = picture + rng.normal(0, rng.uniform(0.002, 0.02), picture.shape)
    pixels = np.clip(np.rint(picture * 255), 0, 255).astype(np.uint8)
    done, code = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(70, 98))])
    assert done
    return np.ascontiguousarray(cv2.imdecode(code, cv2.IMREAD_COLOR)[..., ::-1])
