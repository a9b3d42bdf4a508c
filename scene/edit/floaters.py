"""Floaters, which probably are no part of the scene: faint, huge, lonely and needle-like Gaussians."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from ..errors import BadInputError
from ..gaussians import Gaussians

NEIGHBOURS = 8  # enough that a stray pair or trio still counts as alone


@dataclass(frozen=True)
class FloaterLimits:
    """Beyond which values a Gaussian counts as a floater; None leaves a test out."""

    min_opacity: float | None = 0.02  # in [0, 1]; below it a Gaussian hardly shows on its own
    max_size: float | None = 0.5  # largest standard deviation over the scene's radius (`scene_radius`)
    # Mean distance to the neighbours over its median in the scene. Thinly covered background stands alone, too: on
    # two runs of the fox a limit of 10 took 0.1 and 1.0 dB off the held-out views, one of 20 none and 0.05 dB.
    max_isolation: float | None = 20.0
    max_needle: float | None = None  # longest over second axis; thin structures are needles too

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not 0 <= value < float("inf"):
                raise BadInputError(f"{name}: {value} cannot be a limit; a number from 0 upwards is expected.")


def floaters(
    gaussians: Gaussians,
    limits: FloaterLimits = FloaterLimits(),
    distance: Tensor | None = None,  # [N] of `neighbour_distance`, where it is known already
) -> dict[str, Tensor]:
    """Masks [N] of the Gaussians beyond each limit, by the limit's name; a floater is in any of them."""
    found = {}
    if limits.min_opacity is not None:
        found["min_opacity"] = gaussians.opacities < limits.min_opacity
    if limits.max_size is not None:
        radius = scene_radius(gaussians.means) or float("inf")  # in one place nothing is large or small
        found["max_size"] = largest_sigma(gaussians) > limits.max_size * radius
    if limits.max_isolation is not None:
        distance = neighbour_distance(gaussians.means) if distance is None else distance
        found["max_isolation"] = isolation(distance) > limits.max_isolation
    if limits.max_needle is not None:
        found["max_needle"] = needle_aspect(gaussians) > limits.max_needle
    return found


def scene_radius(means: Tensor) -> float:
    """The distance from the median point within which half of the finite points [N, 3] lie; 0 without any."""
    means = means[torch.isfinite(means).all(-1)]
    if len(means) == 0:
        return 0.0
    return float((means - means.median(0).values).norm(dim=-1).median())


def largest_sigma(gaussians: Gaussians) -> Tensor:
    """[N] standard deviation along the longest axis, world units."""
    return gaussians.log_scales.amax(-1).exp()


def needle_aspect(gaussians: Gaussians) -> Tensor:
    """[N] longest over second longest axis: 1 for balls and discs, infinite for a line, NaN for a point."""
    longest, second, _ = gaussians.log_scales.sort(-1, descending=True).values.unbind(-1)
    return (longest - second).exp()


def neighbour_distance(means: Tensor, neighbours: int = NEIGHBOURS) -> Tensor:
    """[N] float32 mean distance to the nearest `neighbours` other places, infinite for a point that is not finite.

    Points in one place count once: a stack of Gaussians is as alone as one. A k-d tree on all cores: a second or two
    for 300 000 points on two.
    """
    out = torch.full((len(means),), float("inf"))
    finite = torch.isfinite(means).all(-1)
    rows = np.ascontiguousarray(means[finite].float().numpy()).view([(axis, np.float32) for axis in "xyz"])[:, 0]
    # Without this step a splat with many equal positions would make the tree's leaves, and the search, quadratic.
    places, place_of = np.unique(rows, return_inverse=True)
    count = min(neighbours, len(places) - 1)
    if count < 1:
        return out
    xyz = places.view(np.float32).reshape(-1, 3).astype(np.float64)
    tree = cKDTree(xyz)
    # Asked in the order of the tree's leaves, one search finds in the cache what the last one has read: 3 times faster.
    distance = np.empty(len(xyz), np.float32)
    distance[tree.indices] = tree.query(xyz[tree.indices], k=np.arange(2, count + 2), workers=-1)[0].mean(1)
    out[finite] = torch.from_numpy(distance[place_of.reshape(-1)])
    return out


def isolation(distance: Tensor) -> Tensor:
    """[N] `neighbour_distance` [N] over its median in the scene: 1 is usual, 10 stands far from everything."""
    finite = distance[torch.isfinite(distance)]
    if len(finite) == 0:  # a single place is as usual as can be
        return torch.zeros_like(distance)
    return distance / finite.median().clamp_min(1e-30)
