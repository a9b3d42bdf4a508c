"""Points that a photograph shows and that others know without it: what checks its camera.

A photograph that matches two others which were taken from nearly one place is as little checked by them as one of two
photographs alone is: look-alikes agree with a camera somewhere else, and nothing is left over to say that they do not.
"""

from __future__ import annotations

import numpy as np

from ..mapping import Model

PARALLAX_DEG = 4.0  # between the two directions from which a point is known; from one place no depth is


def points_known_without(model: Model) -> dict[int, int]:
    """Number of points of each placed view that two others see too, from directions at least 4 degrees apart."""
    centers = {view: model.reconstruction.image(view + 1).projection_center() for view in model.views}
    counts, apart = dict.fromkeys(centers, 0), np.cos(np.radians(PARALLAX_DEG))
    for point in model.reconstruction.points3D.values():
        views = sorted({element.image_id - 1 for element in point.track.elements} & centers.keys())
        if len(views) < 3:
            continue
        rays = np.stack([centers[view] for view in views]) - point.xyz
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        wide = rays @ rays.T < apart
        pairs, of = int(wide.sum()) // 2, wide.sum(1)
        for view, own in zip(views, of.tolist(), strict=True):
            counts[view] += own < pairs  # some wide pair is left without it
    return counts
