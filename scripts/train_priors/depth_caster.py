"""Rays through generated scenes."""

from __future__ import annotations

import numpy as np
from depth_bodies import BOX, ELLIPSOID, Body, Scene

FAR_M = 1e4  # of rays that hit nothing
LIFT = 1e-3  # relative, by which rays start above a surface


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
