"""Torn links: pairs that match about as well as any of their views do, and that a model's cameras contradict.

A ring of photographs that does not close is torn between two neighbours. A thing of which several sides look alike is
laid upon itself, and then two photographs that show one side as another one agree with nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ....scene.readers.safe_paths import listed
from ..strongest_tree import across, sides
from ..verification import Pair, ViewGraph
from .agreement import Agreement

# Of a contradicted pair's matches and the most that its views have, the geometric mean of the two shares: 1 for each
# other's best. Right models contradict pairs of up to 0.43 (stamps again and again, symmetric things, a turntable
# before a still background), of the fox 0.37, walks round a block less than 0.2; of wrong ones of symmetric things,
# tiles and rings that do not close half have 0.51 to 1.
TEARING = 0.47
MOST_NAMED = 3
# Strays: a photograph, or a few that hold each other, of which nearly all contradicted matches are, and whose strongest
# link to the others is weaker than the usual one that these have with each other. Twelve choices of photographs of the
# fox are torn by such, with 0.11 to 0.65 of it, all others right; of five wrong models of symmetric things, laid upon
# themselves, one or two views of which all contradicted matches are have 0.68 to 1.6, and of another two right ones,
# between sides of which one is wrong, 0.58. Of 9 views parts of 3 and 4 can be as loose, and leave the wrong half
# believed in; so more than two must be a quarter at most.
CONTRADICTED, NEARLY_ALL, LOOSE = 0.8, 0.95, 0.55
MOST_STRAYS, MOST_STRAY_SHARE = 2, 0.25
LEAST_OTHERS = 3  # views that strays may be torn from


def strengths(graph: ViewGraph, pairs: Iterable[Pair]) -> dict[Pair, float]:
    """Matches of verified pairs over the most that their views have with any, the geometric mean of the two."""
    most = graph.most_inliers()
    return {(a, b): graph.links[a][b] / float(np.sqrt(most[a] * most[b])) for a, b in pairs}


def torn_links(found: Agreement) -> list[Pair]:
    """Contradicted pairs that match about as well as their views do with any, strongest first."""
    strength = strengths(found.graph, found.contradicted)
    return sorted((pair for pair in strength if strength[pair] >= TEARING), key=lambda pair: (-strength[pair], pair))


def torn_views(found: Agreement) -> list[int]:
    """Views of which `torn_links` leave open where they stand: all of the model, or the strays alone; else none."""
    return (_strays(found) or list(found.views)) if torn_links(found) else []


def _strays(found: Agreement) -> list[int]:
    """Few views that hang loosely on the others and that nearly all contradicted matches are of, if there are such."""
    views, matches, held = found.views, found.matches, found.agreeing
    against = {pair: (1 - share) * matches[pair] for pair, share in found.shares.items() if share < CONTRADICTED}
    most = min(max(MOST_STRAYS, int(MOST_STRAY_SHARE * len(views))), len(views) - LEAST_OTHERS)
    loose: list[tuple[float, list[int]]] = []
    for group in sides(views, held):
        if len(group) > most or sum(across(against, group)) < NEARLY_ALL * sum(against.values()):
            continue
        inside = {pair: n for pair, n in held.items() if not group & set(pair)}
        usual = np.median([max((n for p, n in inside.items() if v in p), default=0) for v in views if v not in group])
        strongest = max(across(held, group), default=0.0)
        if strongest < LOOSE * usual:
            loose.append((strongest / float(usual), sorted(group)))
    return min(loose, default=(0.0, []))[1]


def notes_on_torn_links(names: Sequence[str], found: Agreement) -> list[str]:
    """A sentence about the first of `torn_links`, and which photographs may stand elsewhere, where these are few."""
    torn = torn_links(found)
    strays = _strays(found) if torn else []
    what = (
        f"{listed([names[view] for view in strays], MOST_NAMED)} may stand elsewhere"
        if strays
        else "some photographs may be turned or shifted against the others as a whole, as where several sides of a "
        "thing look alike"
    )
    return [
        f"{names[a]} and {names[b]} show the same in {found.graph.links[a][b]} places, and where their cameras were "
        f"put they would not: {what}. More photographs around these two would help."
        for a, b in torn[:MOST_NAMED]
    ]
