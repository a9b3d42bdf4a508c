"""Monocular disparity made ready for one Gaussian a pixel: sharp edges, and layers of similar depth (section 4)."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy.cluster import hierarchy
from torch import Tensor

from ....scene.errors import BadInputError

SHIFT = 0.2  # of normalised disparity, so that the farthest is 5 away and not infinitely far
WINDOWS_PX = (7, 7, 5, 5, 5)  # of the passes that sharpen
EDGE = 0.1  # difference of 1 / (disparity + SHIFT) between neighbours from which they lie on two surfaces
SAMPLE_PX, MOST_SAMPLES = 10, 4000  # of the clustering, whose cost grows with their square


def normalised_disparity(disparity: Tensor, name: str) -> Tensor:
    """Disparity [H, W] in [0, 1], the nearest 1. Raises BadInputError where it says nothing."""
    if not bool(disparity.isfinite().all()) or float(disparity.min()) < 0:
        raise BadInputError(f"The monocular depth of {name} has values that are negative or no numbers.")
    if float(disparity.max() - disparity.min()) <= 1e-6 * float(disparity.max()):
        raise BadInputError(
            f"The monocular depth of {name} is the same everywhere, so it says nothing of the scene: give another one, "
            "or take --method instantsplat."
        )
    return disparity / disparity.max()


def sharpened(disparity: Tensor) -> Tensor:
    """Disparity [H, W], normalised and shifted, with steps where it had slopes between two surfaces.

    In each pass a pixel near a discontinuity takes the median of what in its window is none; where all of it is, the
    pixel stays.
    """
    for window in WINDOWS_PX:
        edge = _discontinuities(1 / disparity)
        near = F.max_pool2d(edge.float()[None], window, stride=1, padding=window // 2)[0] > 0
        values = torch.where(edge, torch.inf, disparity)
        pad = window // 2
        patches = F.pad(values, (pad, pad, pad, pad), value=torch.inf).unfold(0, window, 1).unfold(1, window, 1)
        inside = patches[near].flatten(1).sort(dim=1).values  # [M, window^2], discontinuous ones last
        count = inside.isfinite().sum(1)
        middle = [(count - 1).clamp_min(0) // 2, count // 2]
        low, high = (inside.gather(1, k[:, None])[:, 0] for k in middle)
        disparity = disparity.clone()
        disparity[near] = torch.where(count > 0, (low + high) / 2, disparity[near])
    return disparity


def _discontinuities(depth: Tensor) -> Tensor:
    """bool [H, W]: pixels that differ from one of their four neighbours by more than `EDGE`."""
    edge = torch.zeros_like(depth, dtype=torch.bool)
    down, right = depth.diff(dim=0).abs() > EDGE, depth.diff(dim=1).abs() > EDGE
    edge[:-1] |= down
    edge[1:] |= down
    edge[:, :-1] |= right
    edge[:, 1:] |= right
    return edge


def layer_thresholds(disparity: Tensor, layers: int, counts: Tensor | None = None) -> Tensor:
    """Disparities [layers - 1], ascending, that part a map [H, W] by Ward's clustering of its samples.

    Each is the least of a cluster. With fewer different values than layers the last ones coincide, and are empty.
    """
    step = max(SAMPLE_PX, int((disparity.numel() / MOST_SAMPLES) ** 0.5))
    grid = (slice(step // 2, None, step), slice(step // 2, None, step))
    samples = disparity[grid] if counts is None else disparity[grid][counts[grid]]
    low, high = disparity.min(), disparity.max()
    values = ((samples.flatten() - low) / (high - low)).double().cpu().numpy()
    if len(values) < 2:
        return disparity.new_full((layers - 1,), float(high))
    clusters = hierarchy.fcluster(hierarchy.ward(values[:, None]), layers, "maxclust")
    least = np.sort([values[clusters == c].min() for c in np.unique(clusters)])[1:]
    found = low + (high - low) * torch.from_numpy(least).to(disparity)
    return torch.cat([found, disparity.new_full((layers - 1 - len(found),), float(high))])


def layer_index(disparity: Tensor, thresholds: Tensor) -> Tensor:
    """Number [H, W] int64 of each pixel's layer, 0 the farthest; the intervals are (lower, upper].

    The released code leaves out what is farther than a hundredth; here it belongs to the farthest layer.
    """
    return torch.bucketize(disparity, thresholds)
