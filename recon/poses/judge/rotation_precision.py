"""Precision of placed cameras: what the observations leave open of their rotations."""

from __future__ import annotations

import numpy as np

from ..mapping import Model

LEAST_NOISE_PX = 0.5  # of an observation; two views explain theirs almost perfectly whatever the cameras are
UNKNOWN_DEG = 90.0  # where the observations do not fix a camera at all
MAX_POINTS = 3000  # that take part, evenly spaced; the information of the others is taken to be like theirs
GAUGE = 7  # directions that move the whole world and scale it, of which no observation knows


def rotation_std_deg(model: Model) -> dict[int, float]:
    """Standard deviation in degrees of each placed view's rotation against the others': the median over them.

    From the normal equations of points, poses and focal lengths together, the points eliminated (Triggs et al., 2000,
    section 9), with the model's reprojection error as the noise of an observation. It knows nothing of wrong matches.
    """
    views = model.views
    covariance, rotations = _covariance(model)
    spread = np.full((len(views), len(views)), UNKNOWN_DEG)
    for i in range(len(views)):
        for j in range(i):
            j_from_i = rotations[j] @ rotations[i].T
            a, b = slice(6 * i, 6 * i + 3), slice(6 * j, 6 * j + 3)
            cross = j_from_i @ covariance[a, b]
            variance = np.trace(covariance[b, b] + covariance[a, a] - cross - cross.T)
            if np.isfinite(variance):
                spread[i, j] = spread[j, i] = min(UNKNOWN_DEG, np.degrees(np.sqrt(max(variance, 0.0))))
    return {view: float(np.median(np.delete(spread[i], i))) for i, view in enumerate(views)}


def _covariance(model: Model) -> tuple[np.ndarray, np.ndarray]:
    """Covariance [6N + L, 6N + L] of twists (rotation, translation; applied on the left) and logarithms of the L focal
    lengths, up to the gauge; and the rotations [N, 3, 3] cam_from_world."""
    reconstruction, views = model.reconstruction, model.views
    place = {view: i for i, view in enumerate(views)}
    lens_ids = sorted({reconstruction.image(v + 1).camera_id for v in views})
    poses = np.stack([reconstruction.image(v + 1).cam_from_world().matrix() for v in views])
    lens_of = np.array([lens_ids.index(reconstruction.image(v + 1).camera_id) for v in views])
    focal_px = np.array([reconstruction.camera(lens_ids[k]).mean_focal_length() for k in lens_of])
    size = 6 * len(views) + len(lens_ids)
    information = np.zeros((size, size))
    points = [point for _, point in sorted(reconstruction.points3D.items())]
    used = points[:: max(1, -(-len(points) // MAX_POINTS))]
    for point in used:
        seen = sorted({place[e.image_id - 1] for e in point.track.elements if e.image_id - 1 in place})
        if len(seen) < 2:
            continue
        rotation, focal = poses[seen, :, :3], focal_px[seen]
        x, y, z = (poses[seen] @ np.append(point.xyz, 1.0)).T
        if not (z > 0).all():
            continue
        zero = np.zeros_like(z)
        # d(pixel) / d(point in camera), then by the chain rule for the twist, the focal length and the point.
        slope = (focal / z)[:, None, None] * np.stack(
            [np.stack([zero + 1, zero, -x / z], 1), np.stack([zero, zero + 1, -y / z], 1)], axis=1
        )
        turned = np.stack(
            [np.stack([zero, z, -y], 1), np.stack([-z, zero, x], 1), np.stack([y, -x, zero], 1)], axis=1
        )  # -[X]x, so that d(exp(w) X) = -[X]x w
        # Only the unknowns of the views that see it: the rest of a row is zero.
        lenses = np.unique(lens_of[seen])
        columns = np.concatenate([(6 * np.array(seen)[:, None] + np.arange(6)).ravel(), 6 * len(views) + lenses])
        rows = np.zeros((2 * len(seen), len(columns)))
        for k, view in enumerate(seen):
            rows[2 * k : 2 * k + 2, 6 * k : 6 * k + 3] = slope[k] @ turned[k]
            rows[2 * k : 2 * k + 2, 6 * k + 3 : 6 * k + 6] = slope[k]
            lens = 6 * len(seen) + int(np.searchsorted(lenses, lens_of[view]))
            rows[2 * k : 2 * k + 2, lens] = focal[k] * np.array([x[k] / z[k], y[k] / z[k]])
        by_point = (slope @ rotation).reshape(-1, 3)
        # What the point itself can absorb says nothing about the cameras.
        basis, _ = np.linalg.qr(by_point)
        rows -= basis @ (basis.T @ rows)
        information[np.ix_(columns, columns)] += rows.T @ rows
    information *= len(points) / max(1, len(used)) / max(LEAST_NOISE_PX, model.error_px) ** 2
    scale = np.sqrt(np.maximum(np.diag(information), 1e-12))
    values, vectors = np.linalg.eigh(information / np.outer(scale, scale))
    values = np.where(np.arange(size) < GAUGE, np.inf, np.maximum(values, 1e-12))
    return (vectors / values) @ vectors.T / np.outer(scale, scale), poses[:, :, :3]
