"""Variables of global alignment, in the parameters of DUSt3R's point-cloud optimiser, and what they are fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from ....scene.geometry import Similarity, quat_from_rotation, rotation_from_quat
from .pair_prediction import Edge

FOCAL_SCALE = 20.0  # focal = exp(phi / 20): one learning rate then suits focal lengths and everything else
MEAN_EDGE_SCALE = 0.5  # geometric mean that the edges' scales are held at, so that nothing shrinks to a point


@dataclass(frozen=True)
class Observations:
    """The pointmaps of all edges. Side 2e is view i of edge e = (i, j), side 2e + 1 its view j."""

    edges: tuple[Edge, ...]  # E, indices of views
    points: tuple[Tensor, ...]  # 2E of [H, W, 3] float32, in the frame of the edge's camera i
    weights: tuple[Tensor, ...]  # 2E of [H, W] float32, log of the confidence
    sizes: tuple[tuple[int, int], ...]  # (height, width) of each view, pixels
    view_of_side: tuple[int, ...] = field(init=False)  # 2E
    share: Tensor = field(init=False)  # [2E] one over the number of pixels of all sides of its kind
    units: Tensor = field(init=False)  # [E] weighted mean distance of each edge's own view from its camera

    def __post_init__(self) -> None:
        views = tuple(view for edge in self.edges for view in edge)
        pixels = [self.sizes[v][0] * self.sizes[v][1] for v in views]
        totals = (sum(pixels[0::2]), sum(pixels[1::2]))
        object.__setattr__(self, "view_of_side", views)
        object.__setattr__(self, "share", torch.tensor([1 / totals[s % 2] for s in range(len(views))]))
        object.__setattr__(self, "units", torch.tensor([_mean_distance(self, e) for e in range(len(self.edges))]))


@dataclass(frozen=True)
class Variables:
    """Cameras, depths and edge similarities as unconstrained numbers; those with `requires_grad` are optimised."""

    pose_quats: Tensor  # [N, 4] wxyz of world_from_cam, any length
    pose_logs: Tensor  # [N, 3] signed log of its translation
    phi: Tensor  # [N, 2] 20 log of the focal lengths in x and y, pixels
    centers_px: Tensor  # [N, 2] principal points
    log_depth: Tensor  # [P] views one after the other, row by row
    edge_quats: Tensor  # [E, 4] wxyz of world_from_edge, any length
    edge_logs: Tensor  # [E, 3] signed log of its translation in its unit, which the scale multiplies too
    edge_log_scales: Tensor  # [E] log of the world's length of its unit
    edge_units: Tensor  # [E] constants: steps then do not depend on the unit that a pair's pointmaps come in
    normalise_scales: bool  # hold the edges' geometric mean scale; not where known cameras set the size of the world

    @classmethod
    def of(
        cls,
        world_from_cam: Tensor,  # [N, 4, 4]
        focal_px: Tensor,  # [N, 2]
        centers_px: Tensor,  # [N, 2]
        depths: Sequence[Tensor],  # N of [H, W]; what is not positive becomes 1
        world_from_edge: Sequence[Similarity],  # E
        edge_units: Tensor,  # [E]
        normalise_scales: bool = True,
    ) -> Variables:
        scales = torch.stack([e.scale for e in world_from_edge]) * edge_units
        rotations = torch.stack([e.rotation for e in world_from_edge])
        translations = torch.stack([e.translation for e in world_from_edge]) / scales[:, None]
        flat = torch.cat([d.flatten() for d in depths])
        return cls(
            quat_from_rotation(world_from_cam[:, :3, :3]).float(),
            signed_log(world_from_cam[:, :3, 3]).float(),
            (FOCAL_SCALE * focal_px.log()).float(),
            centers_px.float(),
            torch.where(flat > 0, flat, torch.ones_like(flat)).log().float(),
            quat_from_rotation(rotations).float(),
            signed_log(translations).float(),
            scales.log().float(),
            edge_units.float(),
            normalise_scales,
        )

    def at_rest(self) -> Variables:
        """A copy that is not optimised."""
        copies: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            copies[f.name] = value.detach().clone() if isinstance(value, Tensor) else value
        return Variables(**copies)

    def pose(self) -> tuple[Tensor, Tensor]:
        """Rotations [N, 3, 3] and translations [N, 3] of world_from_cam."""
        return rotation_from_quat(self.pose_quats), signed_exp(self.pose_logs)

    def focal_px(self) -> Tensor:
        """[N, 2]"""
        return (self.phi / FOCAL_SCALE).exp()

    def edge(self) -> tuple[Tensor, Tensor, Tensor]:
        """Scales [E], rotations [E, 3, 3] and translations [E, 3]: world = scale * (rotation @ point + translation).

        Translations are in the unit of the edge's points.
        """
        log_scales = self.edge_log_scales
        if self.normalise_scales:
            log_scales = log_scales - log_scales.mean() + torch.tensor(MEAN_EDGE_SCALE).log().to(log_scales)
        units = self.edge_units
        return (
            log_scales.exp() / units,
            rotation_from_quat(self.edge_quats),
            signed_exp(self.edge_logs) * units[:, None],
        )


def _mean_distance(observations: Observations, edge: int) -> float:
    """Of the points of view i of an edge from its camera, weighted; 1 where nothing has weight."""
    distance = observations.points[2 * edge].norm(dim=-1)
    weights = observations.weights[2 * edge]
    mean = float((weights * distance).sum() / weights.sum().clamp_min(1e-20))
    return mean if mean > 0 else 1.0


def signed_log(x: Tensor) -> Tensor:
    """sign(x) log(1 + |x|)"""
    return x.sign() * x.abs().log1p()


def signed_exp(x: Tensor) -> Tensor:
    """sign(x) (exp|x| - 1), with the slope 1 at 0 that sign and |.| alone would lose."""
    return torch.where(x >= 0, x.clamp_min(0).expm1(), -(-x).clamp_min(0).expm1())
