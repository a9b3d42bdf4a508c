"""The scale of a reconstruction in metres, from where the photographs say they were taken."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...scene.capture import Capture
from ...scene.gps import local_positions

USUAL_ERROR_M = 10.0  # of a phone's position where it states none, and the least that a stated one is believed to be
LEAST_ERROR_M = 2.0
MIN_POSITIONS = 3
MAX_UNCERTAINTY = 0.2  # of the scale, one standard deviation; a scale that is known less well is not called metric
MAX_HYPOTHESES = 2000  # pairs of photographs that each propose an alignment


@dataclass(frozen=True)
class GpsScale:
    """Metres in one unit of the world, and how well that is known."""

    metres: float
    uncertainty: float  # of `metres`, relative, one standard deviation
    residual_m: float  # median horizontal distance between the aligned cameras and their positions
    used: int  # positions that agree
    positions: int  # positions that there are

    def as_stats(self) -> dict[str, object]:
        return {
            "source": "GPS",
            "uncertainty": round(self.uncertainty, 3),
            "residual_m": round(self.residual_m, 2),
            "positions": self.positions,
            "used": self.used,
        }


def in_metres(capture: Capture) -> tuple[Capture, GpsScale | None]:
    """The placed capture with its scale in metres where the frames' positions give it, else as it was and None.

    The axes and the origin stay; only lengths change. Frames in `capture.test` have no say.
    """
    train = [i for i in range(len(capture)) if i not in (capture.test or ())]
    known = [i for i in train if capture.frames[i].position is not None]
    if capture.cameras is None or capture.points is None or len(known) < MIN_POSITIONS:
        return capture, None
    positions = [p for p in (capture.frames[i].position for i in known) if p is not None]
    errors_m = torch.tensor([max(p.error_m or USUAL_ERROR_M, LEAST_ERROR_M) for p in positions]).double()
    centers = capture.cameras.centers[known].double()
    scale = fit_gps_scale(centers[:, :2], local_positions(positions)[:, :2], errors_m)
    if scale is None:
        return capture, None
    cam_from_world = capture.cameras.cam_from_world.clone()
    cam_from_world[:, :3, 3] *= scale.metres
    cameras = replace(capture.cameras, cam_from_world=cam_from_world)
    points = replace(capture.points, xyz=capture.points.xyz * scale.metres, metric=True)
    note = (
        f"A unit of the scene is a metre, to within about {scale.uncertainty:.0%}: the scale comes from the GPS "
        f"positions of {scale.used} photographs."
    )
    return replace(capture, cameras=cameras, points=points, notes=(*capture.notes, note)), scale


def fit_gps_scale(
    centers: Tensor,  # [N, 2] float64, horizontal, in a world whose up is known
    positions_m: Tensor,  # [N, 2] float64, east and north
    errors_m: Tensor,  # [N] float64, of the positions
) -> GpsScale | None:
    """The scale that brings the camera centres to their positions by a turn about up, a shift and a scale.

    Heights do not take part: a receiver's are two to three times worse, and people walk on the ground.
    Positions that contradict most others are left out. None where the positions spread too little for their accuracy,
    where more than half disagree, or where there are fewer than three.
    """
    if len(centers) < MIN_POSITIONS:
        return None
    # A plane's turn, scale and shift are w = a z + b in complex numbers.
    z, w = torch.complex(*centers.unbind(1)), torch.complex(*positions_m.unbind(1))
    inside = _largest_agreement(z, w, errors_m)
    if inside is None or int(inside.sum()) < max(MIN_POSITIONS, len(z) // 2 + 1):
        return None
    a, b = _fit(z[inside], w[inside])
    residuals_m = (a * z[inside] + b - w[inside]).abs()
    spread_m = float((w[inside] - w[inside].mean()).abs().square().mean().sqrt())
    if not (math.isfinite(spread_m) and spread_m > 0 and float(a.abs()) > 0):
        return None
    error_m = max(float(residuals_m.square().mean().sqrt()), float(errors_m[inside].median()))
    # The error of one axis over the spread. A receiver's error drifts over minutes, so that many positions of one walk
    # say hardly more than the three that are needed; counting them all would promise too much.
    uncertainty = error_m / math.sqrt(2) / (math.sqrt(MIN_POSITIONS) * spread_m)
    if uncertainty > MAX_UNCERTAINTY:
        return None
    return GpsScale(float(a.abs()), uncertainty, float(residuals_m.median()), int(inside.sum()), len(z))


def _largest_agreement(z: Tensor, w: Tensor, errors_m: Tensor) -> Tensor | None:
    """Mask [N] of the positions within twice their error of the alignment with the least truncated squared error."""
    pairs = list(itertools.combinations(range(len(z)), 2))
    pairs = pairs[:: math.ceil(len(pairs) / MAX_HYPOTHESES)]
    i, j = torch.tensor(pairs).unbind(1)
    apart = (z[j] - z[i]).abs() > 1e-9 * (z - z.mean()).abs().max()
    i, j = i[apart], j[apart]
    if not len(i):
        return None
    a = (w[j] - w[i]) / (z[j] - z[i])  # [H]
    b = w[i] - a * z[i]
    relative = (a[:, None] * z + b[:, None] - w).abs() / (2 * errors_m)  # [H, N]
    cost = relative.square().clamp_max(1).sum(1)
    inside = relative[int(cost.argmin())] <= 1
    for _ in range(5):  # settle between fit and choice
        if int(inside.sum()) < 2:
            return None
        fit, shift = _fit(z[inside], w[inside])
        inside = (fit * z + shift - w).abs() <= 2 * errors_m
    return inside


def _fit(z: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Least-squares a, b of w = a z + b."""
    z0, w0 = z - z.mean(), w - w.mean()
    a = (z0.conj() * w0).sum() / z0.abs().square().sum().clamp_min(1e-300)
    return a, w.mean() - a * z.mean()
