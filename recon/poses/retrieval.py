"""Retrieval of the photographs that look like one, before anything is matched in full.

Pooled descriptors (VLAD: Jegou et al., CVPR 2010) shorten the list, at a cost that no number of photographs makes felt;
mutual nearest neighbours among the strongest keypoints then put it in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...scene.progress import Progress, silent
from .features import Features, mutual_nearest
from .verification import Pair
from .workers import each

PROBE = 256  # strongest features of a photograph that vote; matching them costs a hundredth of a full match
MIN_COSINE = 0.8
SHORTLIST = 24  # photographs that look most like one; up to one more than these, votes decide alone
WORDS = 32  # of the vocabulary that descriptors are pooled over
VOCABULARY = 20_000  # descriptors that it is learned from, evenly spaced
ROUNDS = 8  # of k-means


@dataclass(frozen=True)
class Likeness:
    """Likeness of photographs, of two at a time."""

    votes: dict[Pair, int]  # mutual matches among the strongest features of pairs that were compared
    ranked: dict[int, list[int]]  # of each view, the views that it has votes with, most first

    def between(self, a: int, b: int) -> int:
        """Votes of two views, in any order."""
        return self.votes.get((min(a, b), max(a, b)), 0)


def likeness(features: Sequence[Features], views: Sequence[int], progress: Progress = silent) -> Likeness:
    """Likeness of some views among each other; it grows with their number, not with that of their pairs."""
    pairs = _shortlisted([features[view] for view in views])
    strongest = [features[view].descriptors[:PROBE] for view in views]
    counts = each(
        "Looking for neighbours",
        lambda pair: len(mutual_nearest(strongest[pair[0]], strongest[pair[1]], MIN_COSINE)),
        pairs,
        progress,
    )
    votes = {
        (min(views[i], views[j]), max(views[i], views[j])): count for (i, j), count in zip(pairs, counts, strict=True)
    }
    compared: dict[int, list[tuple[int, int]]] = {view: [] for view in views}
    for (a, b), count in votes.items():
        compared[a].append((-count, b))
        compared[b].append((-count, a))
    return Likeness(votes, {view: [other for _, other in sorted(found)] for view, found in compared.items()})


def most_alike(features: Sequence[Features], view: int, among: Sequence[int]) -> list[int]:
    """The views `among` which have votes with one view, most first; then those without."""
    probe = features[view].descriptors[:PROBE]
    votes = {v: len(mutual_nearest(probe, features[v].descriptors[:PROBE], MIN_COSINE)) for v in among if v != view}
    return sorted(votes, key=lambda v: (-votes[v], v))


def _shortlisted(features: Sequence[Features]) -> list[Pair]:
    """Pairs of indices into `features` that are worth comparing: all of a few."""
    n = len(features)
    if n <= SHORTLIST + 1:
        return [(i, j) for i in range(n) for j in range(i + 1, n)]
    pooled = pooled_descriptors(features)
    alike = (pooled @ pooled.T).fill_diagonal_(-2.0)
    chosen = set[Pair]()
    for i, row in enumerate(alike.topk(SHORTLIST, dim=1).indices.tolist()):
        chosen.update((min(i, j), max(i, j)) for j in row)
    return sorted(chosen)


def pooled_descriptors(features: Sequence[Features]) -> Tensor:
    """One unit vector [N, WORDS * D] for each photograph: sums of what its descriptors are beyond their words.

    The words are those of these photographs, so that nothing has to be learned beforehand. A photograph without
    features has zeros.
    """
    every = torch.cat([f.descriptors for f in features])
    if len(every) < WORDS:
        return torch.zeros(len(features), WORDS * every.shape[1])
    words = _words(every[:: -(-len(every) // VOCABULARY)])
    out = torch.zeros(len(features), *words.shape)
    for row, f in zip(out, features, strict=True):
        if len(f):
            word = (f.descriptors @ words.T).argmax(1)
            row.index_add_(0, word, f.descriptors - words[word])
    # Each word counts the same, however often a photograph has it (Arandjelovic and Zisserman, CVPR 2013).
    out = torch.nn.functional.normalize(out, dim=2).flatten(1)
    return torch.nn.functional.normalize(out, dim=1)


def _words(descriptors: Tensor) -> Tensor:
    """Unit centres [WORDS, D] of unit descriptors [M, D] by k-means on the sphere."""
    first = np.random.default_rng(0).choice(len(descriptors), WORDS, replace=False)
    words = descriptors[torch.from_numpy(first)]
    for _ in range(ROUNDS):
        word = (descriptors @ words.T).argmax(1)
        sums = torch.zeros_like(words).index_add_(0, word, descriptors)
        found = sums.norm(dim=1, keepdim=True) > 1e-6
        words = torch.where(found, torch.nn.functional.normalize(sums, dim=1), words)
    return words
