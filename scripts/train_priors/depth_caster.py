"""Rays through generated scenes, with Embree where `embreex` is installed; plainly, and slower, where it is not."""

from __future__ import annotations

import importlib.util
import math

import numpy as np
from depth_bodies import BOX, ELLIPSOID, Body, Scene

FAR_M = 1e4  # of rays that hit nothing
LIFT = 1e-3  # relative, by which rays start above a surface
SIDES = 20  # of a cylinder or ellipsoid for Embree, which only says which body is hit
RINGS = 10


def caster(scene: Scene) -> Caster:
    """The fastest caster that can be had."""
    return EmbreeCaster(scene) if importlib.util.find_spec("embreex") else Caster(scene)


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

    def blocked(self, origins: np.ndarray, directions: np.ndarray, most: np.ndarray) -> np.ndarray:
        """bool [N]: something is hit before `most` [N]."""
        return np.asarray(self.trace(origins, directions, most)[1] >= 0)


class EmbreeCaster(Caster):
    """Embree says which body a ray hits first; where it does is worked out from the body's own shape.

    What Embree gets of round bodies lies inside them, so that outlines are a little narrower.
    """

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene

        parts = [_solid(body.kind) for body in scene.bodies]
        vertices = [
            (v * b.half) @ b.world_from_local.T + b.center for b, (v, _) in zip(scene.bodies, parts, strict=True)
        ]
        first = np.cumsum([0, *(len(v) for v in vertices)])
        faces = np.concatenate([f + start for (_, f), start in zip(parts, first, strict=False)])
        self.body_of_face = np.repeat(np.arange(len(parts)), [len(f) for _, f in parts])
        self.scene = EmbreeScene()
        self.mesh = TriangleMesh(self.scene, np.concatenate(vertices).astype(np.float32), faces.astype(np.int32))

    def trace(self, origins: np.ndarray, directions: np.ndarray, most: np.ndarray | None = None):
        """As `Caster.trace`."""
        origins, directions = np.ascontiguousarray(origins), np.ascontiguousarray(directions)
        far = np.full(len(origins), FAR_M, np.float32) if most is None else most.astype(np.float32)
        face = self.scene.run(origins, directions, dists=far)
        body = np.where(face >= 0, self.body_of_face[face], -1)
        best, local, normal = far.copy(), np.zeros_like(origins), np.zeros_like(origins)
        order = np.argsort(body, kind="stable")
        for rays in np.split(order, np.nonzero(np.diff(body[order]))[0] + 1):
            if body[rays[0]] < 0:
                continue
            one = self.bodies[body[rays[0]]]
            o = (origins[rays] - one.center) @ one.world_from_local
            d = directions[rays] @ one.world_from_local
            t, own = _hit(one, o, d)
            body[rays[t >= FAR_M]] = -1  # grazed
            best[rays], local[rays], normal[rays] = t, o + t[:, None] * d, own @ one.world_from_local.T
        return np.where(body >= 0, best, far), body, local, normal

    def blocked(self, origins: np.ndarray, directions: np.ndarray, most: np.ndarray) -> np.ndarray:
        """As `Caster.blocked`."""
        origins, directions = (np.ascontiguousarray(v, np.float32) for v in (origins, directions))
        return np.asarray(self.scene.run(origins, directions, dists=most.astype(np.float32), query="OCCLUDED") >= 0)


def _solid(kind: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [V, 3] and faces [F, 3] of a body of half sizes one."""
    if kind == BOX:
        corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32)
        quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
        return corners, np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))])
    angles = np.arange(SIDES) * 2 * math.pi / SIDES
    ring = np.stack([np.cos(angles), np.zeros(SIDES), np.sin(angles)], 1)
    if kind == ELLIPSOID:
        tilts = np.arange(1, RINGS) * math.pi / RINGS
        rows = [ring * math.sin(t) + np.array([0, -math.cos(t), 0]) for t in tilts]
    else:
        rows = [ring + np.array([0, y, 0]) for y in (-1.0, 1.0)]
    vertices = np.concatenate([*rows, np.array([[0, -1.0, 0], [0, 1.0, 0]])]).astype(np.float32)
    here, then = np.arange(SIDES), (np.arange(SIDES) + 1) % SIDES
    faces = []
    for row in range(len(rows) - 1):
        a, b = row * SIDES, (row + 1) * SIDES
        faces += [np.stack([a + here, a + then, b + then], 1), np.stack([a + here, b + then, b + here], 1)]
    low, high, last = len(vertices) - 2, len(vertices) - 1, (len(rows) - 1) * SIDES
    faces += [
        np.stack([here, then, np.full(SIDES, low)], 1),
        np.stack([last + here, last + then, np.full(SIDES, high)], 1),
    ]
    return vertices, np.concatenate(faces)


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
