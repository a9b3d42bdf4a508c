"""Which pairs of photographs to match when there are too many for all of them."""

from __future__ import annotations

import itertools

import numpy as np
import torch

from ...scene.progress import Progress, silent
from .features import Features, mutual_nearest
from .verification import Pair

PROBE = 256  # strongest features that vote; matching them costs a hundredth of a full match
STEPS = (1, 2, 4)  # distances in name order that are always tried: photographs of a walk or a film are neighbours


def choose_pairs(
    features: list[Features], all_pairs_up_to: int, neighbours: int, progress: Progress = silent
) -> list[Pair]:
    """Pairs (i < j) to match: all of a few, else sequence neighbours and each view's most alike others.

    Likeness is the number of mutual nearest neighbours among the strongest features. The number of pairs returned
    grows linearly with the number of views.
    """
    n = len(features)
    every = list(itertools.combinations(range(n), 2))
    if n <= all_pairs_up_to:
        return every
    votes = _votes(features, progress)
    chosen = {(i, i + step) for step in STEPS for i in range(n - step)}
    for i in range(n):
        order = np.argsort(-votes[i], kind="stable")[:neighbours]
        chosen.update((min(i, int(j)), max(i, int(j))) for j in order if j != i and votes[i, j] > 0)
    return sorted(chosen)


def _votes(features: list[Features], progress: Progress) -> np.ndarray:
    """Symmetric counts [n, n] of mutual matches among the strongest features."""
    n = len(features)
    strongest = [f.descriptors[:PROBE] for f in features]
    votes = np.zeros((n, n), np.int64)
    with torch.inference_mode():
        for i in range(n):
            progress("Looking for neighbours", i, n)
            for j in range(i + 1, n):
                votes[i, j] = votes[j, i] = len(mutual_nearest(strongest[i], strongest[j], 0.8))
    progress("Looking for neighbours", n, n)
    return votes
