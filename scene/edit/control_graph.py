"""`ControlGraph`: the edges along which control points pull at each other (SC-GS, Huang et al. 2024, section 3.4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree
from torch import Tensor

from ..errors import BadInputError

NEIGHBOURS = 16  # of a control point, at most
SURE_NEIGHBOURS = 3  # that it has however far they are; also the edges that geodesic distances go along
BALL = 1 / 8  # of the bounding box's diagonal, within which the others lie
RING_NEIGHBOURS = 4  # of the graph that rings are counted in
MAX_POINTS = 5000  # beyond it the dense solves take minutes


@dataclass(frozen=True)
class ControlGraph:
    """Directed edges from each of M control points to its nearest K or fewer, nearest first."""

    index: Tensor  # [M, K] int64
    weights: Tensor  # [M, K] float64; each row sums to one, and 0 is no edge
    lengths: Tensor  # [M, K] float64 distances by which they were chosen, infinite where there is no edge

    def __len__(self) -> int:
        return len(self.index)

    def edges(self) -> Tensor:
        """Pairs [E, 2] of control points that are joined, each pair once, the smaller number first."""
        start = torch.arange(len(self))[:, None].expand_as(self.index)
        pairs = torch.stack([start, self.index], dim=-1)[self.weights > 0]
        return pairs.sort(dim=-1).values.unique(dim=0)


def trajectory_graph(
    trajectories: Tensor,  # [S, M, 3] places of the control points at S moments
    rest: Tensor,  # [M, 3] places at the moment that is edited
    neighbours: int = NEIGHBOURS,
) -> ControlGraph:
    """The graph between points that stay near each other at all moments: what only touches at one is not joined.

    Distances are root mean squares over the moments. All but the first three neighbours have to be within an eighth of
    the diagonal of the bounding box of `rest`, in that same unit (the released code divides by S instead of its root,
    which makes its ball four times as large at 16 moments). Weights are exp(-d^2 / mean d^2), the mean over the edges
    that there are. Raises BadInputError for fewer than two points, or more than `MAX_POINTS`.
    """
    check_control_points(rest)
    flat = trajectories.transpose(0, 1).flatten(1).double().numpy() / len(trajectories) ** 0.5
    count = min(neighbours, len(rest) - 1)
    index, lengths = _nearest_others(flat, count)
    radius = BALL * diagonal(rest)
    out = lengths > radius
    out[:, :SURE_NEIGHBOURS] = False
    lengths = lengths.masked_fill(out, torch.inf)
    squares = lengths.square()
    mean = squares.masked_fill(out, 0).sum(-1, keepdim=True) / (~out).sum(-1, keepdim=True)
    weights = (-squares / mean.clamp_min(1e-300)).nan_to_num(0.0, neginf=-torch.inf).exp()
    return ControlGraph(index, weights / weights.sum(-1, keepdim=True), lengths)


def euclidean_graph(rest: Tensor, neighbours: int = NEIGHBOURS) -> ControlGraph:
    """The graph between points [M, 3] that are near each other at one moment, for what is known at no other."""
    return trajectory_graph(rest[None], rest, neighbours)


def check_control_points(points: Tensor) -> None:
    """Raise BadInputError unless there are enough finite points [M, 3] in more than one place, and not too many."""
    if not 2 <= len(points) <= MAX_POINTS:
        raise BadInputError(
            f"The scene has {len(points):,} control points; an edit needs 2 to {MAX_POINTS:,}, so train it with "
            "another number of them."
        )
    if not bool(points.isfinite().all()):
        raise BadInputError("Some control points are at no finite place at this moment; train the run again.")
    if diagonal(points) == 0:
        raise BadInputError("All control points are in one place at this moment; choose another moment.")


def diagonal(points: Tensor) -> float:
    """Length of the diagonal of the bounding box of points [M, 3]."""
    return float((points.amax(0) - points.amin(0)).double().norm())


def ring_graph(rest: Tensor) -> Tensor:
    """The four nearest neighbours [M, 4] int64 (fewer of fewer points) of points [M, 3], which rings are counted in."""
    return _nearest_others(rest.double().numpy(), min(RING_NEIGHBOURS, len(rest) - 1))[0]


def rings(near: Tensor, centres: Tensor, count: int) -> Tensor:
    """The points `centres` [C] and all up to `count` steps away in a `ring_graph` [M, 4], sorted: int64 [H]."""
    reached = torch.zeros(len(near), dtype=torch.bool)
    reached[centres] = True
    for _ in range(count):
        inward = reached[near].any(-1)  # that somebody is one's neighbour is no less near
        reached[near[reached].flatten()] = True
        reached |= inward
    return reached.nonzero()[:, 0]


def nearest_by_geodesic(
    graph: ControlGraph,
    rest: Tensor,  # [M, 3]
    count: int,
) -> tuple[Tensor, Tensor]:
    """(index [M, count] int64 of the nearest points along the graph, themselves first; lengths [M, count] of the ways).

    Ways lead along the edges to three neighbours, as long as they are at `rest`. Where fewer can be reached the length
    is infinite, and the index that of the point itself.
    """
    size, near = len(graph), min(SURE_NEIGHBOURS, graph.index.shape[1])
    start = torch.arange(size)[:, None].expand(-1, near).flatten().numpy()
    end = graph.index[:, :near].flatten().numpy()
    places = rest.double().numpy()
    # A length of zero would be no edge at all.
    lengths = np.linalg.norm(places[start] - places[end], axis=-1).clip(1e-12)
    ways = csr_array(coo_array((lengths, (start, end)), shape=(size, size)))
    ways = ways.maximum(ways.T)
    index = torch.arange(size)[:, None].repeat(1, count)
    found = torch.full((size, count), torch.inf, dtype=torch.float64)
    taken = min(count, size)
    for first in range(0, size, 512):
        rows = np.arange(first, min(first + 512, size))
        distance = torch.from_numpy(dijkstra(ways, directed=False, indices=rows))
        nearest = distance.topk(taken, largest=False)
        reached = nearest.values.isfinite()
        index[rows, :taken] = torch.where(reached, nearest.indices, index[rows, :taken])
        found[rows, :taken] = nearest.values
    return index, found


def _nearest_others(places: np.ndarray, count: int) -> tuple[Tensor, Tensor]:
    """(index [M, count], distance [M, count]) of the nearest other rows of places [M, C]."""
    distance, index = cKDTree(places).query(places, k=count + 1)
    own = np.arange(len(places))[:, None]
    # The point itself is first, unless others are in the same place; the last one goes where it is not among them.
    where = np.where((index == own).any(1), (index == own).argmax(1), count)
    kept = np.arange(count + 1)[None] != where[:, None]
    shape = (len(places), count)
    return torch.from_numpy(index[kept].reshape(shape)), torch.from_numpy(distance[kept].reshape(shape))
