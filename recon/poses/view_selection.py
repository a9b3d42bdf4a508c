"""`most_useful`: the photographs that together show most of a scene, from places that give depth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...scene.capture import Capture, evenly_spaced, fit_size
from ...scene.progress import Progress, silent
from .correspondences import sharpness_of
from .overlap import SIDE_PX, Overlap, overlap_of
from .poses_config import PosesConfig
from .workers import each

BLURRED = 0.6  # of the median sharpness of the photographs around it in name order
AROUND = 4  # photographs on either side
# What a thing is worth that one chosen photograph shows, and one that three or more show, to one that two show: two
# give depth, and a third carries the scale from one pair to the next.
ONCE, THRICE = 0.4, 1.25
MAX_SWEEPS = 10


def most_useful(
    capture: Capture,
    count: int,
    among: Sequence[int],
    config: PosesConfig = PosesConfig(),  # noqa: B008
    progress: Progress = silent,
) -> list[int]:
    """`count` of the indices `among`, ascending, whose photographs together show most things at least twice.

    Each shares enough with another chosen one, and no two are taken from as good as the same place. Blurred
    photographs, and those that share too little with the others, are taken last. Cameras and points of the capture
    are used where it has them, else features of small copies.
    """
    candidates = sorted(among)
    if count >= len(candidates):
        return candidates
    sharp = _sharp(capture, candidates, progress)
    kept = [i for i, is_sharp in zip(candidates, sharp, strict=True) if is_sharp]
    chosen = [kept[k] for k in choose(overlap_of(capture, kept, config, progress), count)] if len(kept) > 1 else []
    for rest in (kept, candidates):  # too few that hang together: the others fill up
        missing = count - len(chosen)
        chosen += evenly_spaced([i for i in rest if i not in set(chosen)], missing) if missing > 0 else []
    return sorted(chosen)


def choose(overlap: Overlap, count: int) -> list[int]:
    """Greedy maximum coverage of things seen twice, improved by exchanges; at most `count` views [V]."""
    chosen = _greedy(overlap, count)
    for _ in range(MAX_SWEEPS):
        if not _improve(overlap, chosen):
            break
    return sorted(chosen)


def _greedy(overlap: Overlap, count: int) -> list[int]:
    """Begin with the best pair, or the view that sees most; then add what gains most and hangs together with it."""
    n = len(overlap.seen)
    usable = overlap.linked & overlap.apart
    seen = overlap.seen.astype(np.float32)
    worth_of_pairs = np.where(usable, seen @ seen.T, -1.0)
    first = np.unravel_index(int(worth_of_pairs.argmax()), worth_of_pairs.shape)
    chosen = [int(i) for i in first] if count >= 2 and usable.any() else [int(seen.sum(1).argmax())]
    for apart in (overlap.apart, np.ones_like(overlap.apart)):  # from the same places only when there are no others
        while len(chosen) < count:
            times = overlap.seen[chosen].sum(0)
            fitting = [v for v in range(n) if v not in chosen and _fits(overlap.linked[v], apart[v], chosen)]
            if not fitting:
                break
            chosen.append(max(fitting, key=lambda v: _worth(times + overlap.seen[v])))
    return chosen


def _improve(overlap: Overlap, chosen: list[int]) -> bool:
    """Exchange chosen views for others where that gains, in place; whether anything changed."""
    changed = False
    for position in range(len(chosen)):
        others = chosen[:position] + chosen[position + 1 :]
        times = overlap.seen[others].sum(0)
        best, worth = chosen[position], _worth(times + overlap.seen[chosen[position]])
        for v in range(len(overlap.seen)):
            if v not in chosen and _worth(times + overlap.seen[v]) > worth and _hang_together(overlap, [*others, v]):
                best, worth = v, _worth(times + overlap.seen[v])
        changed |= best != chosen[position]
        chosen[position] = best
    return changed


def _worth(times: np.ndarray) -> float:
    """Of a choice that shows each thing so many times [T]."""
    return float(ONCE * (times == 1).sum() + (times == 2).sum() + THRICE * (times >= 3).sum())


def _fits(linked: np.ndarray, apart: np.ndarray, chosen: list[int]) -> bool:
    """True where a view with these links [V] joins the chosen, from a place of its own."""
    return bool(linked[chosen].any() and (apart[chosen] | ~linked[chosen]).all())


def _hang_together(overlap: Overlap, chosen: list[int]) -> bool:
    """True where links join all of the chosen, no two of which are from the same place."""
    linked = overlap.linked[np.ix_(chosen, chosen)]
    apart = overlap.apart[np.ix_(chosen, chosen)] | ~linked
    np.fill_diagonal(apart, True)
    if not apart.all():
        return False
    reached = np.zeros(len(chosen), bool)
    reached[0] = True
    for _ in range(len(chosen)):
        reached |= linked[reached].any(0)
    return bool(reached.all())


def _sharp(capture: Capture, among: list[int], progress: Progress) -> np.ndarray:
    """Mask [len(among)] of the photographs that are not much less sharp than those around them in name order."""

    def one(index: int) -> float:
        frame = capture.frames[index]
        return sharpness_of(capture.image(index, *fit_size(frame.width, frame.height, SIDE_PX)).numpy()[..., :3])

    sharpness = np.array(each("Looking for blur", one, among, progress))
    order = sorted(range(len(among)), key=lambda k: capture.frames[among[k]].name)
    sharp = np.ones(len(among), bool)
    for place, k in enumerate(order):
        around = order[max(0, place - AROUND) : place] + order[place + 1 : place + 1 + AROUND]
        sharp[k] = not around or sharpness[k] >= BLURRED * float(np.median(sharpness[around]))
    return sharp
