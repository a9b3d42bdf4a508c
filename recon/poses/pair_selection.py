"""Choice of the pairs of photographs to match when there are too many for all of them."""

from __future__ import annotations

import itertools
import math

import torch

from ...scene.cameras import Cameras
from ...scene.progress import Progress, silent
from .features import Features
from .retrieval import likeness
from .verification import Pair

MAX_TURN_DEG = 75.0  # between two viewing directions; matchers find next to nothing across larger ones
STEPS = (1, 2, 4)  # distances in name order that are always tried: photographs of a walk or a film are neighbours


def choose_pairs(
    features: list[Features], all_pairs_up_to: int, neighbours: int, progress: Progress = silent
) -> list[Pair]:
    """Pairs (i < j) to match: all of a few, else sequence neighbours and each view's most alike others.

    The number of pairs returned grows linearly with the number of views.
    """
    n = len(features)
    if n <= all_pairs_up_to:
        return list(itertools.combinations(range(n), 2))
    alike = likeness(features, range(n), progress)
    chosen = {(i, i + step) for step in STEPS for i in range(n - step)}
    for i, ranked in alike.ranked.items():
        chosen.update((min(i, j), max(i, j)) for j in ranked[:neighbours] if alike.between(i, j) > 0)
    return sorted(chosen)


def pairs_of_cameras(cameras: Cameras, all_pairs_up_to: int, neighbours: int) -> list[Pair]:
    """Pairs (i < j) of known cameras [N] to match: those that look in similar directions, near ones if they are many.

    Beyond `all_pairs_up_to` cameras each is paired with every second of its 2 * neighbours nearest: the very nearest
    see the same from nearly the same place, which fixes no depth, and tracks join over them anyway.
    """
    n = len(cameras)
    centers = cameras.centers.double()
    forward = torch.nn.functional.normalize(cameras.cam_from_world[:, 2, :3].double(), dim=-1)
    similar = forward @ forward.T >= math.cos(math.radians(MAX_TURN_DEG))
    distance = torch.cdist(centers, centers).masked_fill(~similar, math.inf).fill_diagonal_(math.inf)
    order = distance.argsort(dim=1, stable=True)
    wanted = range(n - 1) if n <= all_pairs_up_to else range(0, min(2 * neighbours, n - 1), 2)
    chosen = {(min(i, j), max(i, j)) for i in range(n) for j in order[i, list(wanted)].tolist() if similar[i, j]}
    return sorted((i, j) for i, j in chosen if i != j)
