"""Ray casting of textured parts with Embree: one light with shadows, an even sky, and coverage as alpha.

World: z up, the object about the origin with radius 1. Cameras: OpenCV axes, pixel centres at +0.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import embreex.rtcore as rtc
import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from object_meshes import Part

LIFT = 2e-3  # rays leave a surface from this far above it, so that they do not hit it again


@dataclass(frozen=True)
class Light:
    """Illumination of a sequence; it stays where it is while the camera goes round."""

    direction: np.ndarray  # [3] unit, towards the light
    color: np.ndarray  # [3] linear
    sky: np.ndarray  # [3] linear, from above; half of it comes from below
    gloss: float

    @classmethod
    def random(cls, rng: np.random.Generator) -> Light:
        angle, height = rng.uniform(0, 2 * np.pi), rng.uniform(0.25, 0.95)
        flat = np.sqrt(1 - height**2)
        direction = np.array([flat * np.cos(angle), flat * np.sin(angle), height])
        tint = rng.uniform(0.9, 1.1, 3)
        return cls(direction, rng.uniform(0.35, 0.9) * tint, rng.uniform(0.35, 0.75) / tint, rng.uniform(0, 0.25))


class ObjectScene:
    """An object that can be seen from anywhere."""

    def __init__(self, parts: tuple[Part, ...], light: Light) -> None:
        self.parts, self.light = parts, light
        self.scene = EmbreeScene(rtc.EmbreeDevice())
        first = np.cumsum([0, *(len(part.vertices) for part in parts)])
        vertices = np.concatenate([part.vertices for part in parts]).astype(np.float32)
        faces = np.concatenate([part.faces + start for part, start in zip(parts, first, strict=False)])
        self.mesh = TriangleMesh(self.scene, vertices, faces.astype(np.int32))
        self.faces, self.part_of_face = faces, np.repeat(np.arange(len(parts)), [len(part.faces) for part in parts])
        self.uv = np.concatenate([part.uv for part in parts])
        self.normals = _vertex_normals(vertices, faces)
        self.textures = [(part.texture.astype(np.float32) / 255) ** 2.2 for part in parts]

    def draw(self, cam_from_world: np.ndarray, focal_px: float, side_px: int, oversampling: int = 2) -> np.ndarray:
        """An RGBA picture [side, side, 4] uint8 sRGB with straight alpha; principal point in the middle."""
        fine = side_px * oversampling
        y, x = (np.mgrid[:fine, :fine].astype(np.float32) + 0.5) / oversampling
        origins, rays = _rays(cam_from_world, focal_px, x - side_px / 2, y - side_px / 2)
        found = self.scene.run(origins, rays, output=1)
        hit = np.flatnonzero(found["primID"] >= 0)
        picture = np.zeros((len(rays), 4), np.float32)
        if len(hit):
            picture[hit, :3] = self._shade({k: v[hit] for k, v in found.items()}, origins[hit], rays[hit])
            picture[hit, 3] = 1
        fine_rows = picture.reshape(side_px, oversampling, side_px, oversampling, 4)
        pixel = [(row, column) for row in range(oversampling) for column in range(oversampling)]
        blocks = sum(fine_rows[:, row, :, column] for row, column in pixel) / oversampling**2
        alpha = blocks[..., 3:]
        color = np.where(alpha > 0, blocks[..., :3] / np.maximum(alpha, 1e-6), 0)
        srgb = np.clip(color, 0, 1) ** (1 / 2.2)
        return np.rint(np.concatenate([srgb, alpha], -1) * 255).astype(np.uint8)

    def surface(self, cam_from_world: np.ndarray, focal_px: float, side_px: int, places: int) -> np.ndarray:
        """The points [places, places, 3] float16 of the world that the middles of even squares show; NaN for none."""
        y, x = (np.mgrid[:places, :places].astype(np.float32) + 0.5) * (side_px / places)
        origins, rays = _rays(cam_from_world, focal_px, x - side_px / 2, y - side_px / 2)
        found = self.scene.run(origins, rays, output=1)
        points = np.where(found["primID"][:, None] >= 0, origins + rays * found["tfar"][:, None], np.nan)
        return points.reshape(places, places, 3).astype(np.float16)

    def _shade(self, found: dict[str, np.ndarray], origins: np.ndarray, rays: np.ndarray) -> np.ndarray:
        u, v = found["u"], found["v"]
        face = self.faces[found["primID"]]
        weights = np.stack([1 - u - v, u, v], 1)  # [n, 3]
        albedo = self._texture(found["primID"], np.einsum("nkc,nk->nc", self.uv[face], weights))
        normal = _unit(np.einsum("nkc,nk->nc", self.normals[face], weights))
        normal *= np.where(_dot(normal, rays) > 0, np.float32(-1), np.float32(1))[:, None]
        points = origins + rays * found["tfar"][:, None]
        direction, color, sky = (v.astype(np.float32) for v in (self.light.direction, self.light.color, self.light.sky))
        to_light = np.ascontiguousarray(np.broadcast_to(direction, points.shape))
        lit = self.scene.run(points + normal * np.float32(LIFT), to_light, query="OCCLUDED") != 0
        facing = np.clip(normal @ direction, 0, 1) * lit
        gloss = np.float32(self.light.gloss) * np.clip(_dot(normal, _unit(direction - rays)), 0, 1) ** 24 * lit
        above = sky * (np.float32(0.75) + np.float32(0.25) * normal[:, 2:])
        return np.clip(albedo * (above + facing[:, None] * color) + gloss[:, None], 0, 1)

    def _texture(self, face: np.ndarray, uv: np.ndarray) -> np.ndarray:
        """Bilinear colours [n, 3] linear, the picture repeated."""
        colors = np.empty((len(face), 3), np.float32)
        part = self.part_of_face[face]
        for number in np.unique(part):
            rows = part == number
            texture = self.textures[number]
            height, width = texture.shape[:2]
            x, y = uv[rows, 0] * np.float32(width) - 0.5, (1 - uv[rows, 1]) * np.float32(height) - 0.5
            x0, y0 = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
            fx, fy = (x - x0).astype(np.float32)[:, None], (y - y0).astype(np.float32)[:, None]
            x0, x1, y0, y1 = x0 % width, (x0 + 1) % width, y0 % height, (y0 + 1) % height
            top = texture[y0, x0] * (1 - fx) + texture[y0, x1] * fx
            colors[rows] = top * (1 - fy) + (texture[y1, x0] * (1 - fx) + texture[y1, x1] * fx) * fy
        return colors


def _rays(
    cam_from_world: np.ndarray,
    focal_px: float,
    x: np.ndarray,  # [H, W] pixels from the principal point
    y: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Origins and unit directions [H * W, 3] float32 in the world."""
    rotation, centre = cam_from_world[:3, :3], -cam_from_world[:3, :3].T @ cam_from_world[:3, 3]
    scale = np.float32(1 / focal_px)
    rays = _unit(np.stack([x * scale, y * scale, np.ones_like(x)], -1).reshape(-1, 3) @ rotation.astype(np.float32))
    return np.ascontiguousarray(np.broadcast_to(centre.astype(np.float32), rays.shape)), rays


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("nc,nc->n", a, b)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.sqrt(_dot(vectors, vectors)), 1e-9)[:, None]


def _vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    corners = vertices[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = np.zeros_like(vertices)
    for column in range(3):
        np.add.at(total, faces[:, column], normal)
    return (total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)).astype(np.float32)
