"""Agreement of verified matches with a model's cameras, pair by pair.

Matches of look-alikes agree with a two-view geometry of their own, often with hundreds of inliers, but not with those
of other pairs around a loop: mapping has to leave some out, and takes the pairs with most matches first, right or
wrong (compare the loop constraints of Zach et al., CVPR 2010).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pycolmap

from ..mapping import Model
from ..verification import Pair, ViewGraph, essential_matrix, sampson_distances

MAX_PX = 10.0  # from a match to the nearest that two cameras allow; look-alikes are off by a hundred and more
LEAST_AGREEING = 0.4  # of a pair's matches; with fewer the cameras contradict the pair
COARSE, FINE = 12, 48  # cells along the longer side of a photograph: how much of it a pair's matches cover
CHANCE = 0.3  # of the fine cells that agreeing pairs usually cover; of less no pair is believed

Cameras = Mapping[int, tuple[np.ndarray, pycolmap.Camera]]  # cam_from_world [3, 4] and lens of each view


@dataclass(frozen=True)
class Agreement:
    """Share of the matches of each verified pair that agree with the cameras of a model, of the views it places."""

    views: Sequence[int]  # of the model
    graph: ViewGraph  # all pairs that were verified, those that were taken out later, too
    shares: Mapping[Pair, float]  # of the pairs between these views

    @property
    def contradicted(self) -> set[Pair]:
        """Pairs that show the cameras elsewhere."""
        return {pair for pair, share in self.shares.items() if share < LEAST_AGREEING}

    @property
    def matches(self) -> dict[Pair, int]:
        """Number of verified matches of each of these pairs."""
        return {pair: len(self.graph.geometries[pair].inlier_matches) for pair in self.shares}

    @property
    def agreeing(self) -> dict[Pair, float]:
        """Number of matches of each pair that agree."""
        return {pair: self.shares[pair] * number for pair, number in self.matches.items()}


def agreement(model: Model, graph: ViewGraph) -> Agreement:
    """Agreement of all verified pairs between the views that the model places."""
    cameras = {view: model.camera(view) for view in model.views}
    placed = [pair for pair in graph.geometries if set(pair) <= cameras.keys()]
    return Agreement(model.views, graph, {pair: _agreeing_share(cameras, graph, pair) for pair in placed})


def contradicted_share(found: Agreement) -> float:
    """Share of the verified pairs that a model contradicts, by the square of what they cover; 0 where there are none.

    Pairs of chance, of which there may be many, cover little and thinly; a look-alike covers as much as what is right.
    """
    wrong = found.contradicted
    fine = {pair: _covered_cells(found.graph, pair, FINE) for pair in found.shares}
    usual = float(np.median([fine[pair] for pair in found.shares.keys() - wrong] or [0]))
    covered = {p: _covered_cells(found.graph, p, COARSE) ** 2 for p, cells in fine.items() if cells >= CHANCE * usual}
    return sum(covered[pair] for pair in wrong & covered.keys()) / max(1, sum(covered.values()))


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
