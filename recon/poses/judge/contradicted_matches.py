"""Contradicted matches: pairs whose verified matches a model's cameras deny, and the model that denies fewest.

Matches of look-alikes agree with a two-view geometry of their own, often with hundreds of inliers, but not with those
of other pairs around a loop: mapping has to leave some out, and takes the pairs with most matches first, right or
wrong (compare the loop constraints of Zach et al., CVPR 2010).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import pycolmap

from ....scene.readers.safe_paths import listed
from ..mapping import Model
from ..strongest_tree import smaller_sides, strongest_tree
from ..verification import Pair, ViewGraph, essential_matrix, sampson_distances
from .solved_again import MOST_VIEWS

MAX_PX = 10.0  # from a match to the nearest that two cameras allow; look-alikes are off by a hundred and more
LEAST_AGREEING = 0.4  # of a pair's matches; with fewer the pair shows the cameras elsewhere
COARSE, FINE = 12, 48  # cells along the longer side of a photograph: how much of it a pair's matches cover
CHANCE = 0.3  # of the fine cells that agreeing pairs usually cover; of less no pair is believed
# Share from which on other models are looked for. Right ones of the fox, whose photographs match in small look-alikes,
# have up to 0.05, wrong ones 0.04 to 0.3, wrong ones of symmetric things 0.05 to 0.24.
DOUBTFUL_SHARE = 0.05
TRIES, KEPT_PAIRS = 12, 0.65  # models of so many of the pairs, chosen anew each time,
MOST_WORK = 144  # and fewer of more photographs: tries times views
CLEARLY = 1.02  # times as much agrees with a better model
# Strength of a contradicted pair from which on it tears a model; see `contradictions`. Right models contradict pairs of
# up to 0.43 (stamps again and again, symmetric things, a turntable before a still background), of the fox 0.37, walks
# round a block less than 0.2; of wrong ones of symmetric things, tiles and rings that do not close half have 0.51 to 1.
TEARING = 0.47
MOST_NAMED = 3
# Strays: a photograph, or a few that hold each other, of which nearly all contradicted matches are, and whose strongest
# link to the others is weaker than the usual one that these have with each other. Twelve choices of photographs of the
# fox are torn by such, with 0.11 to 0.65 of it, all others right; of five wrong models of symmetric things, laid upon
# themselves, one or two views of which all contradicted matches are have 0.68 to 1.6. Of 9 views parts of 3 and 4 can
# be as loose, and leave the wrong half believed in; so more than two must be a quarter at most.
CONTRADICTED, NEARLY_ALL, LOOSE = 0.8, 0.95, 0.6
MOST_STRAYS, MOST_STRAY_SHARE = 2, 0.25
LEAST_OTHERS = 3  # views that strays may be torn from
# Share of a side's matches with all others from which on pairs that the cameras contradict leave open which of them is
# right, if they are at least so strong as a share of the strongest one that agrees: small look-alikes are many. Of 110
# choices of photographs of the fox 5 of 10 cameras that were told as sure and stood elsewhere, most by a repeat of a
# wallpaper, are of such a side, and 16 of 553 right ones; of 30 others 3 of 3, and none of 138.
OPEN_SHARE, OPEN_STRENGTH = 0.3, 0.5

Cameras = Mapping[int, tuple[np.ndarray, pycolmap.Camera]]  # cam_from_world [3, 4] and lens of each view


def contradicted_share(graph: ViewGraph, agreeing: Mapping[Pair, float]) -> float:
    """Share of the verified pairs that a model contradicts, by the square of what they cover; 0 where there are none.

    `agreeing` are the shares of `agreeing_shares`. Pairs of chance, of which there may be many, cover little and
    thinly; a look-alike covers as much as what is right.
    """
    wrong = {pair for pair, share in agreeing.items() if share < LEAST_AGREEING}
    fine = {pair: _covered_cells(graph, pair, FINE) for pair in agreeing}
    usual = float(np.median([fine[pair] for pair in agreeing.keys() - wrong] or [0]))
    covered = {p: _covered_cells(graph, p, COARSE) ** 2 for p, cells in fine.items() if cells >= CHANCE * usual}
    return sum(covered[pair] for pair in wrong & covered.keys()) / max(1, sum(covered.values()))


def agreeing_shares(model: Model, graph: ViewGraph) -> dict[Pair, float]:
    """Share of each pair's verified matches that agree with the model's cameras, of the pairs that it places."""
    cameras = {view: model.camera(view) for view in model.views}
    return {pair: _agreeing_share(cameras, graph, pair) for pair in graph.geometries if set(pair) <= cameras.keys()}


def contradictions(model: Model, graph: ViewGraph) -> dict[Pair, float]:
    """Strengths of the pairs that the model contradicts: their matches, as a share of the most that the views have.

    That is the geometric mean of the most that either has with any: 1 for each other's best. `graph` holds all pairs
    that were verified, those that were taken out later, too; pairs of views that the model does not place are left out.
    """
    return _strengths(graph, agreeing_shares(model, graph))


def torn_links(model: Model, graph: ViewGraph) -> list[Pair]:
    """Contradicted pairs that match about as well as their views do with any, strongest first.

    A ring of photographs that does not close is torn between two neighbours. A thing of which several sides look alike
    is laid upon itself, and then two photographs that show one side as another one agree with nothing else.
    """
    return _tearing(graph, agreeing_shares(model, graph))


def torn_views(model: Model, graph: ViewGraph) -> list[int]:
    """Views of which `torn_links` leave open where they stand: all of the model, or the strays alone; else none."""
    agreeing = agreeing_shares(model, graph)
    return (_strays(model.views, graph, agreeing) or model.views) if _tearing(graph, agreeing) else []


def outvoted_views(model: Model, graph: ViewGraph) -> set[int]:
    """Views of sides, of half the views at most, of whose matches with all others many are in contradicted pairs.

    Sides are single views and the smaller parts that a link of the strongest tree of agreeing matches holds: a pair of
    photographs that is a repeat of a wallpaper off agrees with a second pair and contradicts a third. Sides that hardly
    agree with anything are wrong themselves, and do not count against the others. None for more than MOST_VIEWS
    photographs: those of a long walk match in so many places by chance that 76 of 200 right ones were among them.
    """
    if len(model.views) > MOST_VIEWS:
        return set()
    agreeing = agreeing_shares(model, graph)
    matches = {pair: len(graph.geometries[pair].inlier_matches) for pair in agreeing}
    return open_views(model.views, agreeing, matches)


def open_views(views: Sequence[int], agreeing: Mapping[Pair, float], matches: Mapping[Pair, int]) -> set[int]:
    """Those of `outvoted_views`, from each pair's agreeing share and number of matches."""
    alone = _outvoted(views, agreeing, matches, 1 - OPEN_SHARE)
    others = {pair: share for pair, share in agreeing.items() if not alone & set(pair)}
    return alone | _outvoted([view for view in views if view not in alone], others, matches, OPEN_SHARE)


def _outvoted(
    views: Sequence[int], agreeing: Mapping[Pair, float], matches: Mapping[Pair, int], least: float
) -> set[int]:
    held = {pair: share * matches[pair] for pair, share in agreeing.items()}
    against = {pair: (1 - share) * matches[pair] for pair, share in agreeing.items() if share < LEAST_AGREEING}
    found: set[int] = set()
    for side in _sides(views, held):
        agrees = _across(held, side)
        strong = OPEN_STRENGTH * max(agrees, default=0.0)
        no, yes = sum(number for number in _across(against, side) if number >= strong), sum(agrees)
        if 2 * len(side) <= len(views) and no > least * (no + yes):
            found |= side
    return found


def _sides(views: Sequence[int], held: Mapping[Pair, float]) -> list[set[int]]:
    return [{view} for view in views] + smaller_sides(strongest_tree({p: n for p, n in held.items() if n}))


def _strengths(graph: ViewGraph, agreeing: Mapping[Pair, float]) -> dict[Pair, float]:
    most = graph.most_inliers()
    return {
        (a, b): graph.links[a][b] / float(np.sqrt(most[a] * most[b]))
        for (a, b), share in agreeing.items()
        if share < LEAST_AGREEING
    }


def _tearing(graph: ViewGraph, agreeing: Mapping[Pair, float]) -> list[Pair]:
    torn = {pair: strength for pair, strength in _strengths(graph, agreeing).items() if strength >= TEARING}
    return sorted(torn, key=lambda pair: (-torn[pair], pair))


def _strays(views: Sequence[int], graph: ViewGraph, agreeing: Mapping[Pair, float]) -> list[int]:
    """Few views that hang loosely on the others and that nearly all contradicted matches are of, if there are such."""
    matches = {pair: len(graph.geometries[pair].inlier_matches) for pair in agreeing}
    held = {pair: share * matches[pair] for pair, share in agreeing.items()}
    against = {pair: (1 - share) * matches[pair] for pair, share in agreeing.items() if share < CONTRADICTED}
    most = min(max(MOST_STRAYS, int(MOST_STRAY_SHARE * len(views))), len(views) - LEAST_OTHERS)
    found: list[tuple[float, list[int]]] = []
    for group in _sides(views, held):
        if len(group) > most or sum(_across(against, group)) < NEARLY_ALL * sum(against.values()):
            continue
        inside = {pair: n for pair, n in held.items() if not group & set(pair)}
        usual = np.median([max((n for p, n in inside.items() if v in p), default=0) for v in views if v not in group])
        strongest = max(_across(held, group), default=0.0)
        if strongest < LOOSE * usual:
            found.append((strongest / float(usual), sorted(group)))
    return min(found, default=(0.0, []))[1]


def _across(matches: Mapping[Pair, float], group: Collection[int]) -> list[float]:
    return [number for (a, b), number in matches.items() if (a in group) != (b in group)]


def notes_on_torn_links(names: Sequence[str], model: Model, graph: ViewGraph) -> list[str]:
    """A sentence about the first of `torn_links`, and which photographs may stand elsewhere, where these are few."""
    agreeing = agreeing_shares(model, graph)
    torn = _tearing(graph, agreeing)
    strays = _strays(model.views, graph, agreeing) if torn else []
    what = (
        f"{listed([names[view] for view in strays], MOST_NAMED)} may stand elsewhere"
        if strays
        else "some photographs may be turned or shifted against the others as a whole, as where several sides of a "
        "thing look alike"
    )
    return [
        f"{names[a]} and {names[b]} show the same in {graph.links[a][b]} places, and where their cameras were put they "
        f"would not: {what}. More photographs around these two would help."
        for a, b in torn[:MOST_NAMED]
    ]


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
    agreeing = agreeing_shares(model, graph)
    if contradicted_share(graph, agreeing) <= DOUBTFUL_SHARE:
        return model, graph
    rng = np.random.default_rng(seed)
    pairs = sorted(graph.geometries)
    best, most, of = model, CLEARLY * _agreeing_matches(graph, agreeing), 0
    for number in range(min(TRIES, MOST_WORK // len(model.views))):
        left_out = [pair for pair, share in zip(pairs, rng.random(len(pairs)), strict=True) if share > KEPT_PAIRS]
        other = again(graph.without(left_out), number)
        shares = {} if other is None else agreeing_shares(other, graph)
        if other is not None and (matches := _agreeing_matches(graph, shares)) > most:
            best, most, of, agreeing = other, matches, number, shares
            if contradicted_share(graph, agreeing) <= DOUBTFUL_SHARE:
                break
    if best is model:
        return model, graph
    consistent = graph.without([pair for pair, share in agreeing.items() if share < LEAST_AGREEING])
    whole = again(consistent, of)
    if whole is not None and _agreeing_matches(graph, agreeing_shares(whole, graph)) >= most / CLEARLY:
        best = whole
    return best, consistent


def _agreeing_matches(graph: ViewGraph, agreeing: Mapping[Pair, float]) -> float:
    return sum(share * len(graph.geometries[pair].inlier_matches) for pair, share in agreeing.items())


def _covered_cells(graph: ViewGraph, pair: Pair, along: int) -> int:
    """Cells, so many along the longer side, in which a pair's matches lie, in the photograph where these are fewer."""
    matches = np.asarray(graph.geometries[pair].inlier_matches, np.int64)
    counts = []
    for side, view in enumerate(pair):
        features = graph.features[view]
        cell = features.xy_px.numpy()[matches[:, side]] * (along / max(features.width, features.height))
        counts.append(len(np.unique(cell.astype(np.int64), axis=0)))
    return min(counts)


def _agreeing_share(cameras: Cameras, graph: ViewGraph, pair: Pair) -> float:
    """Share of a pair's matches within MAX_PX of what its cameras allow; 1 where these stand at one place."""
    matches = np.asarray(graph.geometries[pair].inlier_matches, np.int64)
    (a_from_world, lens_a), (b_from_world, lens_b) = (cameras[view] for view in pair)
    rotation = b_from_world[:, :3] @ a_from_world[:, :3].T
    b_from_a = np.column_stack([rotation, b_from_world[:, 3] - rotation @ a_from_world[:, 3]])
    if not np.linalg.norm(b_from_a[:, 3]) > 0:
        return 1.0
    rays = []
    for side, (view, lens) in enumerate(zip(pair, (lens_a, lens_b), strict=True)):
        xy = graph.features[view].xy_px.numpy().astype(np.float64)[matches[:, side]]
        rays.append(np.pad(np.asarray(lens.cam_from_img(xy))[:, :2], ((0, 0), (0, 1)), constant_values=1.0))
    focal_px = np.sqrt(lens_a.mean_focal_length() * lens_b.mean_focal_length())
    return float((focal_px * sampson_distances(essential_matrix(b_from_a), *rays) < MAX_PX).mean())
