"""The model that contradicts fewest verified matches, of several made from some of the pairs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..mapping import Model
from ..verification import ViewGraph
from .agreement import agreement, contradicted_share

# Share from which on other models are looked for. Right ones of the fox, whose photographs match in small look-alikes,
# have up to 0.05, wrong ones 0.04 to 0.3, wrong ones of symmetric things 0.05 to 0.24.
DOUBTFUL_SHARE = 0.05
TRIES, KEPT_PAIRS = 12, 0.65  # models of so many of the pairs, chosen anew each time,
MOST_WORK = 144  # and fewer of more photographs: tries times views
CLEARLY = 1.02  # times as much agrees with a better model


def least_contradicted(
    graph: ViewGraph,
    model: Model,
    again: Callable[[ViewGraph, int], Model | None],
    seed: int,
) -> tuple[Model, ViewGraph]:
    """The model that most verified matches agree with, and the pairs that it is of: this one, or another.

    Where a model contradicts more than DOUBTFUL_SHARE, others are made `again` from some of the pairs, so that they are
    without some that it rests on; what the best of them agrees with is solved as a whole.
    """
    found = agreement(model, graph)
    if contradicted_share(found) <= DOUBTFUL_SHARE:
        return model, graph
    rng = np.random.default_rng(seed)
    pairs = sorted(graph.geometries)
    best, most, of = model, CLEARLY * sum(found.agreeing.values()), 0
    for number in range(min(TRIES, MOST_WORK // len(model.views))):
        left_out = [pair for pair, share in zip(pairs, rng.random(len(pairs)), strict=True) if share > KEPT_PAIRS]
        other = again(graph.without(left_out), number)
        if other is None:
            continue
        others = agreement(other, graph)
        if sum(others.agreeing.values()) > most:
            best, most, of, found = other, sum(others.agreeing.values()), number, others
            if contradicted_share(found) <= DOUBTFUL_SHARE:
                break
    if best is model:
        return model, graph
    consistent = graph.without(found.contradicted)
    whole = again(consistent, of)
    if whole is not None and sum(agreement(whole, graph).agreeing.values()) >= most / CLEARLY:
        best = whole
    return best, consistent
