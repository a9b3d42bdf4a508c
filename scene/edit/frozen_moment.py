"""`FrozenMoment`: a splat held still at one moment, with the control points and the graph that deform it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from ..control_points import ControlPointMotion
from ..errors import BadInputError
from ..farthest_points import farthest_points
from ..fitted_rotations import fitted_rotations
from ..gaussians import Gaussians
from ..geometry import quat_from_rotation
from ..mesh_bound import MeshBoundMotion
from ..splat import MovingSplat, Splat, StaticSplat
from .as_rigid_as_possible import Deformation
from .control_graph import (
    ControlGraph,
    check_control_points,
    nearest_by_geodesic,
    ring_graph,
    trajectory_graph,
)
from .floaters import FloaterLimits, floaters
from .held_mesh import HeldMesh

MOMENTS = 16  # of a trajectory
SUPPORTS = 8  # control points that carry a Gaussian, and edges that the turn of a control point is told from
# Of the mean length of a control point's three shortest edges: how fast a control point's pull fades with distance. The
# released 1e-3 world units lets each Gaussian follow its nearest point alone, which creases between coarse ones.
FADE = 0.5
MADE_POINTS = 512  # control points of a splat that has none
SOLID = FloaterLimits(min_opacity=0.1)  # what such points are chosen from
_CANDIDATES = 20_000


@dataclass(frozen=True)
class FrozenMoment:
    """N Gaussians at a moment, M control points with the graph between them, and the 8 that carry each Gaussian."""

    still: StaticSplat
    points: Tensor  # [M, 3] float64
    graph: ControlGraph
    near: Tensor  # [M, 4] int64 neighbours at this moment, which rings are counted in
    supports: Tensor  # [N, 8] int32
    weights: Tensor  # [N, 8] float32, each row summing to one
    time_s: float | None  # None of a splat that does not move
    mesh: HeldMesh | None = None  # of Gaussians that lie on one: it is deformed, and they stay on its faces

    def nearest(self, place: Tensor) -> tuple[int, float]:
        """(the control point that is nearest to a place [3] in the world, how far it is)."""
        distance = (self.points - place.double()).norm(dim=-1)
        return int(distance.argmin()), float(distance.min())

    def edited(self, deformation: Deformation) -> StaticSplat:
        """The splat under one deformation of the control points."""
        return self.filmed([0.0], [deformation]).still()

    def filmed(self, times_s: Sequence[float], deformations: Sequence[Deformation]) -> MovingSplat:
        """The splat under a deformation at each of some rising moments; in between it moves from one to the next.

        The canonical Gaussians are those of the frozen moment, and turn with the control points.
        """
        turns = torch.stack([quat_from_rotation(self._turns(d.points)) for d in deformations])
        for i in range(1, len(turns)):  # q and -q are one rotation, and only near ones can be blended
            turns[i] = torch.where((turns[i] * turns[i - 1]).sum(-1, keepdim=True) < 0, -turns[i], turns[i])
        motion = ControlPointMotion(
            torch.tensor(times_s, dtype=torch.float64),
            self.points.float(),
            torch.stack([d.points - self.points for d in deformations]).float(),
            turns.float(),
            self.supports,
            self.weights,
        )
        s = self.still
        bound = motion if self.mesh is None else self.mesh.carried(motion)
        return MovingSplat(s.gaussians, s.antialiased, s.up, s.notes, s.background, motion=bound)

    def _turns(self, deformed: Tensor) -> Tensor:
        """Rotations [M, 3, 3] of the control points: of the directions to their eight nearest, the nearer the more."""
        near = self.graph.index[:, :SUPPORTS]
        before, after = (torch.nn.functional.normalize(p[:, None] - p[near], dim=-1) for p in (self.points, deformed))
        lengths = self.graph.lengths[:, :SUPPORTS]
        known = lengths.isfinite()
        mean = lengths.masked_fill(~known, 0).sum(-1, keepdim=True) / known.sum(-1, keepdim=True).clamp_min(1)
        weights = (-lengths / mean.clamp_min(1e-300)).nan_to_num(0.0, neginf=-torch.inf).softmax(-1)
        return fitted_rotations(before, after, weights)


def freeze(splat: Splat, time_s: float | None = None) -> FrozenMoment:
    """Hold a splat still at a moment, the first one when None, to be edited by control points.

    A motion by control points brings its own; for any other splat up to 512 Gaussians that are solid and spread out,
    in space and in their motion, become the control points. Raises BadInputError for a moment outside of the motion, or
    where there is too little to hold on to.
    """
    moments = splat.time_range_s
    if moments is not None and time_s is not None and not moments[0] <= time_s <= moments[1]:
        raise BadInputError(f"The splat moves from {moments[0]:g} s to {moments[1]:g} s; {time_s:g} s is not within.")
    if moments is None:
        time_s = None
    elif time_s is None:
        time_s = moments[0]
    gaussians = splat.at(time_s).detach().to("cpu")
    carried = None
    if isinstance(splat, MovingSplat) and isinstance(splat.motion, ControlPointMotion):
        motion = splat.motion
        trajectories = torch.stack([motion.points_at(t) for t in _moments(motion.time_range_s)]).detach().cpu()
        points = motion.points_at(motion.time_range_s[0] if time_s is None else time_s).detach().cpu()
        carried = motion.neighbours.cpu().long().masked_fill(motion.weights.cpu() <= 0, -1)
    else:
        chosen = _made_points(splat, gaussians)
        trajectories = _trajectories(splat.rows(chosen))
        points = gaussians.means[chosen]
    check_control_points(points)
    graph = trajectory_graph(trajectories, points)
    supports, weights = _supports(gaussians.means, points.double(), graph, carried)
    still = StaticSplat(gaussians, splat.antialiased, splat.up, splat.notes, splat.background)
    mesh = None
    if isinstance(splat, MovingSplat) and isinstance(splat.motion, MeshBoundMotion):
        held = splat.motion.to("cpu").frozen(time_s or 0.0)
        carriers = _supports(held.vertices, points.double(), graph, None)
        mesh = HeldMesh(held, carriers[0].int(), carriers[1].float())
    near = ring_graph(points)
    return FrozenMoment(still, points.double(), graph, near, supports.int(), weights.float(), time_s, mesh)


def _trajectories(splat: Splat) -> Tensor:
    """Places [S, N, 3] of all Gaussians, at one moment where they do not move."""
    if splat.time_range_s is None:
        return splat.at().means.detach().cpu()[None]
    return torch.stack([splat.at(t).means.detach().cpu() for t in _moments(splat.time_range_s)])


def _moments(time_range_s: tuple[float, float]) -> list[float]:
    return torch.linspace(*time_range_s, MOMENTS, dtype=torch.float64).tolist()


def _made_points(splat: Splat, gaussians: Gaussians) -> Tensor:
    """Indices [M] of Gaussians that are made control points."""
    out = torch.stack(list(floaters(gaussians, SOLID).values())).any(0)
    solid = (~out & gaussians.means.isfinite().all(-1)).nonzero()[:, 0]
    if len(solid) < 2:
        raise BadInputError(
            f"Of {len(gaussians):,} Gaussians {len(solid)} are solid enough to be held; a splat with two or more is "
            "expected."
        )
    even = torch.linspace(0, len(solid) - 1, min(len(solid), _CANDIDATES)).round().long()
    solid = solid[even]
    places = _trajectories(splat.rows(solid)).transpose(0, 1).flatten(1)
    return solid[farthest_points(places, MADE_POINTS)].sort().values


def _supports(
    places: Tensor,  # [N, 3]
    points: Tensor,  # [M, 3]
    graph: ControlGraph,
    carried: Tensor | None,  # [N, K] control points that carry a place already, -1 for none
) -> tuple[Tensor, Tensor]:
    """(control points [N, 8] that carry each Gaussian or vertex, weights [N, 8]).

    They are those nearest along the graph to a place's own one: the nearest, of those that carry it where some do,
    as the nearest of all may belong to another part that it only touches. Weights fall as exp(-d / fade) with the
    straight distance d (the released code adds a squared length to a plain one).
    """
    means = places.double().nan_to_num()
    own = torch.from_numpy(cKDTree(points.numpy()).query(means.numpy())[1])
    if carried is not None:
        distance = (means[:, None] - points[carried.clamp_min(0)]).norm(dim=-1).masked_fill(carried < 0, torch.inf)
        best = distance.min(-1)
        own = torch.where(best.values.isfinite(), carried.gather(1, best.indices[:, None])[:, 0], own)
    near, ways = nearest_by_geodesic(graph, points, SUPPORTS)
    fade = FADE * float((points[:, None] - points[graph.index[:, :3]]).norm(dim=-1).mean())
    supports = near[own]
    lengths = (means[:, None] - points[supports]).norm(dim=-1).masked_fill(ways[own].isinf(), torch.inf)
    return supports, (-(lengths - lengths.amin(-1, keepdim=True)) / max(fade, 1e-300)).softmax(-1)
