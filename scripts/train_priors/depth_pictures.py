"""Photographs of generated scenes with true depth and cameras, and which pixels several of them show."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from depth_bodies import Scene
from depth_caster import FAR_M, LIFT, caster
from depth_scenes import random_scene
from depth_textures import Textures
from numpy.random import Generator

PHOTOGRAPHS = 3  # of a scene
MIN_SEEN = 0.6  # of the pixels must show something, or the scene is drawn again
MIN_SHARED = 0.25  # of the first photograph's pixels must be in another, or cameras are drawn again
FORWARD = 0.2  # of the scenes are seen by cameras that went straight on
NEAREST = 0.02  # of the median depth: nothing may be nearer, or the camera is in it
TRIES = 6  # at another camera of a scene


@dataclass(frozen=True)
class Picture:
    rgb: np.ndarray  # [S, S, 3] uint8 sRGB
    depth: np.ndarray  # [S, S] float32 z in metres, 0 where the sky is seen
    shared: np.ndarray  # [S, S] uint8, other photographs that see the same point
    world_from_cam: np.ndarray  # [4, 4] float64, OpenCV axes
    focal_px: float  # of a pinhole in the middle


@dataclass(frozen=True)
class _Shot:
    """Radiance and surface that one camera sees."""

    eye: np.ndarray  # [3]
    turn: np.ndarray  # [3, 3] world_from_cam
    linear: np.ndarray  # [S, S, 3] radiance
    depth: np.ndarray  # [S, S], 0 for the sky
    points: np.ndarray  # [S * S, 3] world


def look_at(eye: np.ndarray, target: np.ndarray, roll: float) -> np.ndarray:
    """world_from_cam rotation [3, 3], OpenCV axes, y down in the world."""
    z = target - eye
    z = z / max(float(np.linalg.norm(z)), 1e-9)
    x = np.cross(np.array([0.0, 1, 0]), z)
    x = x / max(float(np.linalg.norm(x)), 1e-9)
    y = np.cross(z, x)
    c, s = math.cos(roll), math.sin(roll)
    return np.stack([c * x + s * y, -s * x + c * y, z], axis=1).astype(np.float32)


def photographs(rng: Generator, textures: Textures, side_px: int) -> list[Picture]:
    """PHOTOGRAPHS of one new scene, that show some of the same."""
    while True:
        found = _attempt(rng, random_scene(rng, len(textures)), textures, side_px)
        if found is not None:
            return found


def _attempt(rng: Generator, scene: Scene, textures: Textures, side: int) -> list[Picture] | None:
    focal = side / (2 * math.tan(math.radians(rng.uniform(32, 75)) / 2))
    turn = look_at(scene.eye, scene.target, rng.normal(0, 0.06))
    if rng.random() < 0.2:
        turn = turn @ np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]], np.float32)  # held upright
    rays = caster(scene)
    first = _shot(rng, scene, rays, textures, scene.eye, turn, focal, side)
    if first is None:
        return None
    away = float(np.median(first.depth[first.depth > 0]))
    middle = scene.eye + away * first.turn[:, 2]
    shots = [first]
    driven, apart = rng.random() < FORWARD, math.exp(rng.uniform(math.log(0.08), math.log(0.6)))
    for _ in range(TRIES * (PHOTOGRAPHS - 1)):
        eye = scene.eye + away * apart * rng.uniform(0.5, 1.5) * _unit(rng) * np.array([1, 0.4, 1])
        other = look_at(eye, middle + 0.25 * away * _unit(rng), rng.normal(0, 0.05))
        if driven:  # the cameras of a drive lie behind each other
            eye = scene.eye + away * rng.uniform(-0.5, 0.5) * (turn[:, 2] + 0.1 * _unit(rng))
            other = turn
        shot = _shot(rng, scene, rays, textures, eye, other, focal, side)
        if shot is not None and _sees(shot, first, focal).mean() > MIN_SHARED:
            shots.append(shot)
        if len(shots) == PHOTOGRAPHS:
            return _pictures(rng, shots, focal)
    return None


def _shot(rng, scene, rays, textures, eye, turn, focal, side) -> _Shot | None:  # type: ignore[no-untyped-def]
    """The scene as a camera sees it; None where that is too little, or too near."""
    y, x = np.mgrid[:side, :side].astype(np.float32) + 0.5 - side / 2
    local = np.stack([x / focal, y / focal, np.ones_like(x)], -1).reshape(-1, 3)
    length = np.linalg.norm(local, axis=1)
    directions = (local @ turn.T / length[:, None]).astype(np.float32)
    origins = np.broadcast_to(eye, directions.shape).astype(np.float32)
    hit = rays.trace(origins, directions)
    t, body = hit[:2]
    depth = np.where(body >= 0, t / length, 0).astype(np.float32)
    seen = depth[depth > 0]
    if len(seen) < MIN_SEEN * depth.size or seen.min() < NEAREST * np.median(seen):
        return None
    points = origins + (t * (1 - LIFT))[:, None] * directions
    linear = _shade(scene, rays, textures, hit, points, directions, focal)
    return _Shot(np.asarray(eye, np.float32), turn, linear.reshape(side, side, 3), depth.reshape(side, side), points)


def _sees(shot: _Shot, other: _Shot, focal: float) -> np.ndarray:
    """bool [S, S]: pixels of the other whose surface the shot shows, too, by its depth."""
    side = len(shot.depth)
    local = (other.points - shot.eye) @ shot.turn
    z = np.maximum(local[:, 2], 1e-6)
    column, row = (np.floor(local[:, k] / z * focal + side / 2) for k in (0, 1))
    inside = (local[:, 2] > 0) & (column >= 0) & (row >= 0) & (column < side) & (row < side)
    inside &= other.depth.ravel() > 0
    shown = np.zeros(len(z), np.float32)
    shown[inside] = shot.depth[row[inside].astype(int), column[inside].astype(int)]
    return np.asarray(inside & (shown > 0) & (np.abs(shown / z - 1) < 0.02)).reshape(side, side)


def _pictures(rng: Generator, shots: list[_Shot], focal: float) -> list[Picture]:
    camera = _Camera.drawn(rng, shots[0].linear)
    out = []
    for shot in shots:
        shared = sum(_sees(o, shot, focal).astype(np.uint8) for o in shots if o is not shot)
        world_from_cam = np.eye(4)
        world_from_cam[:3, :3], world_from_cam[:3, 3] = shot.turn, shot.eye
        out.append(Picture(camera.picture(shot.linear, rng), shot.depth, np.asarray(shared), world_from_cam, focal))
    return out


def _shade(scene, rays, textures, hit, points, directions, focal) -> np.ndarray:  # type: ignore[no-untyped-def]
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


def _unit(rng: Generator) -> np.ndarray:
    v = rng.standard_normal(3)
    return v / np.linalg.norm(v)


@dataclass(frozen=True)
class _Camera:
    """Settings by which radiance becomes sRGB bytes."""

    gain: float
    white: np.ndarray  # [3]
    vignette: float
    blur_px: float
    gamma: float
    grain: float
    quality: int  # of the JPEG

    @classmethod
    def drawn(cls, rng: Generator, linear: np.ndarray) -> _Camera:
        """A camera whose exposure suits a picture [S, S, 3]."""
        bright = np.quantile(linear.mean(2), 0.9)
        return cls(
            rng.uniform(0.5, 1.0) / max(bright, 1e-3),
            1 + rng.uniform(-0.12, 0.12, 3),
            rng.uniform(0, 0.8) if rng.random() < 0.5 else 0.0,
            rng.uniform(0.35, 0.8),
            rng.uniform(2.0, 2.5),
            rng.uniform(0.002, 0.02),
            int(rng.integers(70, 98)),
        )

    def picture(self, linear: np.ndarray, rng: Generator) -> np.ndarray:
        """Exposure (a little off from picture to picture), white balance, falling corners, blur, grain, JPEG."""
        side = len(linear)
        picture = linear * (self.gain * math.exp(rng.normal(0, 0.04)) * self.white)
        y, x = np.mgrid[:side, :side] / side - 0.5
        picture = picture * (1 - self.vignette * (x * x + y * y))[..., None]
        picture = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), self.blur_px)
        picture = np.clip(picture, 0, 1) ** (1 / self.gamma)
        picture = picture + rng.normal(0, self.grain, picture.shape)
        pixels = np.clip(np.rint(picture * 255), 0, 255).astype(np.uint8)
        done, code = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, self.quality])
        assert done
        return np.ascontiguousarray(cv2.imdecode(code, cv2.IMREAD_COLOR)[..., ::-1])
