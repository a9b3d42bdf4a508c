"""Reasons why a photograph could not be placed, as sentences for the person who took it."""

from __future__ import annotations

import numpy as np

from ...scene.capture import Capture
from .verification import MIN_INLIERS, ViewGraph

FEW_FEATURES = 100  # a photograph with fewer shows next to nothing to hold on to
BLURRED = 0.35  # of the median sharpness
# What is blurred by 15 pixels of 1024 has a third of its sharpness; of 91 photographs in three folders that people took
# with care the least sharp one has 0.73 of the median.
USELESS = 0.3  # of the median sharpness: such a photograph, even where it can be placed, teaches a scene its blur


def too_blurred(placed: list[int], sharpness: np.ndarray) -> list[int]:
    """The placed views that the result is better without, if three sharp ones are left."""
    limit = USELESS * float(np.median(sharpness))
    blurred = [view for view in placed if sharpness[view] < limit]
    return blurred if len(placed) - len(blurred) >= 3 else []


def blur_reasons(capture: Capture, blurred: list[int], sharpness: np.ndarray) -> dict[int, str]:
    """A sentence for every view that was placed but is too blurred to be used."""
    median = float(np.median(sharpness))
    return {
        view: f"{capture.names[view]} is blurred: it is {sharpness[view] / median:.0%} as sharp as the others usually "
        "are, less sharp than can be used."
        for view in blurred
    }


def reasons_for_unplaced(
    capture: Capture,
    graph: ViewGraph,
    placed: list[int],
    sharpness: np.ndarray,  # [N]
) -> dict[int, str]:
    """For every view that is not in `placed`, the likeliest reason, naming files."""
    names = capture.names
    group_of = {view: group for group in graph.components() for view in group}
    reasons = {}
    for view in range(len(capture)):
        if view in placed:
            continue
        masked = capture.frames[view].load_mask is not None
        reason = _reason(view, names, graph, placed, group_of[view], masked)
        others = np.delete(sharpness, view)
        if len(others) and sharpness[view] < BLURRED * float(np.median(others)):
            reason += " It is also much less sharp than the others."
        reasons[view] = reason
    return reasons


def _reason(view: int, names: list[str], graph: ViewGraph, placed: list[int], group: list[int], masked: bool) -> str:
    name = names[view]
    n_features = len(graph.features[view])
    if n_features < FEW_FEATURES and not graph.links[view]:
        where = " where its mask is white, which is what counts" if masked else ""
        return (
            f"{name} has too little texture to hold on to{where}: {n_features} features, {FEW_FEATURES} or more are "
            "usual."
        )
    if not graph.links[view]:
        partner, count = graph.best_partner(view)
        if partner is None:
            return f"{name} shares too little with the others: it looks like none of them."
        return (
            f"{name} shares too little with the others: at best {count} matches, with {names[partner]}, and fewer than "
            f"the {MIN_INLIERS} that are needed agree on one motion of the camera."
        )
    if placed and not set(group) & set(placed):
        partner = max(graph.links[view], key=lambda v: graph.links[view][v])
        return (
            f"{name} is not joined to the others: it matches {names[partner]} but none of the {len(placed)} "
            f"photographs that were placed; one that shows parts of both would join them, if they are of one scene."
        )
    linked = sorted(graph.links[view], key=lambda v: -graph.links[view][v])
    inliers = graph.links[view][linked[0]]
    return (
        f"{name} could not be verified: it matches {names[linked[0]]} ({inliers} points), but not enough of them fix "
        f"its place; a photograph from between, or from a step aside, would help."
    )
