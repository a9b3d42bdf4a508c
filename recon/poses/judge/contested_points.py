"""Contested points: several photographs show one, and others, which must see the same surface, deny it.

A thing of two-fold symmetry with a mark on one side looks the same from both but for the mark: cameras that were placed
on the wrong side agree with everything around the mark. What hides a point from a camera hides its surroundings, too.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from .second_look import AGREEING, CONFLICTING, Comparison, Comparisons

NEIGHBOURS = 4  # agreeing points around one in the other photograph, which show that its surface is seen there
REACH_PX = 60.0
SAME_DEPTH = 0.05  # relative
MIN_WITNESSES = 3  # photographs that agree on a point; two may share a wrong match
MIN_DENIALS = 2


def contested_share(comparisons: Comparisons) -> dict[int, float]:
    """Share of the points that each view shows, agreed on by MIN_WITNESSES, which MIN_DENIALS photographs deny.

    A view that denies points counts them as its own, too.
    """
    witnesses: dict[int, set[int]] = {}
    denials: dict[int, set[int]] = {}
    for (here, there), compared in comparisons.items():
        for point in compared.point[(compared.alike >= AGREEING) | compared.matched].tolist():
            witnesses.setdefault(point, set()).update((here, there))
        for point in compared.point[_denied(compared)].tolist():
            denials.setdefault(point, set()).add(there)
    shown: dict[int, int] = {}
    contested: dict[int, int] = {}
    for point, who in witnesses.items():
        if len(who) < MIN_WITNESSES:
            continue
        against = denials.get(point, set()) - who
        for view in who | against:
            shown[view] = shown.get(view, 0) + 1
            contested[view] = contested.get(view, 0) + (len(against) >= MIN_DENIALS)
    return {view: contested[view] / count for view, count in shown.items()}


def _denied(compared: Comparison) -> np.ndarray:
    """Mask [M] of the points that conflict where the other photograph shows the surface around them."""
    agreeing = compared.alike >= AGREEING
    if agreeing.sum() < NEIGHBOURS:
        return np.zeros(len(agreeing), bool)
    far, nearest = cKDTree(compared.xy_px[agreeing]).query(compared.xy_px, k=NEIGHBOURS)
    same = np.abs(compared.depth[agreeing][nearest] / compared.depth[:, None] - 1) < SAME_DEPTH
    return (compared.alike < CONFLICTING) & (far[:, -1] < REACH_PX) & same.all(1)
