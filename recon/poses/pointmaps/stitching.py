"""Start of global alignment: pointmaps stitched along the strongest pairs, then cameras read off them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from ....scene.geometry import Similarity, align_similarity, se3_from, se3_inverse, transform_points
from ..strongest_tree import strongest_tree
from .pair_prediction import Edge, PairPrediction
from .pointmap_focal import focal_of_pointmap

PNP_MIN_CONFIDENCE = 3.0
PNP_ROUNDS = 10
PNP_MAX_ERROR_PX = 5.0
PNP_MIN_POINTS = 4


@dataclass(frozen=True)
class Stitched:
    """The world pointmaps of all views, and what they imply."""

    points: list[Tensor]  # N of [H, W, 3] in the world, float64
    world_from_cam: Tensor  # [N, 4, 4] float64
    focal_px: list[float]  # N
    world_from_edge: dict[Edge, Similarity]

    def depths(self) -> list[Tensor]:
        """z in each camera, N of [H, W]; not positive behind a camera."""
        cam_from_world = se3_inverse(self.world_from_cam)
        return [
            transform_points(cam_from_world[n], p.reshape(-1, 3))[:, 2].reshape(p.shape[:2])
            for n, p in enumerate(self.points)
        ]

    def moved(self, new_from_world: Similarity) -> Stitched:
        """The same in another world frame."""
        rotation = new_from_world.rotation @ self.world_from_cam[:, :3, :3]
        centers = new_from_world(self.world_from_cam[:, :3, 3])
        edges = {
            edge: Similarity(new_from_world.scale * s.scale, new_from_world.rotation @ s.rotation,
                             new_from_world(s.translation))
            for edge, s in self.world_from_edge.items()
        }  # fmt: skip
        return Stitched([new_from_world(p) for p in self.points], se3_from(rotation, centers), self.focal_px, edges)


def components(edges: Mapping[Edge, float], n: int) -> list[list[int]]:
    """Sets of the views 0 .. n - 1 that edges join, largest first, then the one with the greater sum of scores."""
    group = list(range(n))
    for i, j in edges:
        old, new = group[j], group[i]
        group = [new if g == old else g for g in group]
    sets = [[v for v in range(n) if group[v] == g] for g in sorted(set(group))]
    return sorted(sets, key=lambda s: (-len(s), -sum(score for (i, _), score in edges.items() if i in s), s[0]))


def stitch(
    predictions: Mapping[Edge, PairPrediction],
    scores: Mapping[Edge, float],
    confidences: list[Tensor],  # N of [H, W], the largest over all edges
    focal_px: float | None,
) -> Stitched:
    """Pointmaps placed one after the other along the spanning tree of connected views 0 .. N - 1.

    Focal lengths follow from each view's own pointmap where `focal_px` does not give them. A view that is the first of
    no tree edge gets its camera from perspective-n-point, failing that from the strongest edge that it is the first of.
    """
    n = len(confidences)
    points: dict[int, Tensor] = {}
    poses: dict[int, Tensor] = {}
    tree = strongest_tree(scores)
    while tree:
        edge = next(e for e in tree if not points or e[0] in points or e[1] in points)
        tree.remove(edge)
        _attach(edge, predictions[edge], points, poses)
    world_from_edge = {e: _world_from_edge(e, p, points) for e, p in predictions.items()}
    own_edges = [strongest_edge_of(v, scores) for v in range(n)]
    focals = [focal_px or _focal(e, predictions, points[v]) for v, e in enumerate(own_edges)]
    for view, own in enumerate(own_edges):
        if view not in poses:
            pose = _resected(points[view], confidences[view], focals[view])
            if pose is None and own is not None:
                pose = se3_from(world_from_edge[own].rotation, world_from_edge[own].translation)
            poses[view] = torch.eye(4, dtype=torch.float64) if pose is None else pose
    return Stitched([points[v] for v in range(n)], torch.stack([poses[v] for v in range(n)]), focals, world_from_edge)


def fitted(
    points_a: Tensor,  # [H, W, 3]
    points_b: Tensor,  # [H, W, 3]
    confidence: Tensor,  # [H, W]
) -> Similarity:
    """The similarity a_from_b of two pointmaps of one view, by confidence-weighted Procrustes in float64."""
    return align_similarity(
        points_a.reshape(-1, 3).double(), points_b.reshape(-1, 3).double(), confidence.flatten().double()
    )


def _attach(edge: Edge, pair: PairPrediction, points: dict[int, Tensor], poses: dict[int, Tensor]) -> None:
    """Place the view of the edge that has no place yet, and the camera of its first view."""
    i, j = edge
    if not points:
        points[i], points[j] = pair.points_i.double(), pair.points_j.double()
        poses[i] = torch.eye(4, dtype=torch.float64)
        return
    if i in points:
        world_from_edge = fitted(points[i], pair.points_i, pair.confidence_i)
        points[j] = world_from_edge(pair.points_j.double())
    else:
        world_from_edge = fitted(points[j], pair.points_j, pair.confidence_j)
        points[i] = world_from_edge(pair.points_i.double())
    poses.setdefault(i, se3_from(world_from_edge.rotation, world_from_edge.translation))


def strongest_edge_of(view: int, scores: Mapping[Edge, float]) -> Edge | None:
    """The best edge that the view is the first of: there its pointmap is in its own camera's frame."""
    return max((e for e in scores if e[0] == view), key=lambda e: (scores[e], -e[1]), default=None)


def _focal(edge: Edge | None, predictions: Mapping[Edge, PairPrediction], points: Tensor) -> float:
    return float(max(points.shape[:2])) if edge is None else focal_of_pointmap(predictions[edge].points_i)


def _resected(points: Tensor, confidence: Tensor, focal_px: float) -> Tensor | None:
    """world_from_cam [4, 4] from the world points behind trusted pixels (RANSAC over SQPnP), or None."""
    height, width = confidence.shape
    trusted = confidence > PNP_MIN_CONFIDENCE
    if int(trusted.sum()) < PNP_MIN_POINTS:
        return None
    rows, columns = trusted.nonzero(as_tuple=True)
    pixels = torch.stack([columns + 0.5, rows + 0.5], dim=1).double().numpy()
    K = np.array([[focal_px, 0, width / 2], [0, focal_px, height / 2], [0, 0, 1]])
    found, rotation, translation, _ = cv2.solvePnPRansac(
        points[trusted].numpy(), pixels, K, None,
        iterationsCount=PNP_ROUNDS, reprojectionError=PNP_MAX_ERROR_PX, flags=cv2.SOLVEPNP_SQPNP,
    )  # fmt: skip
    if not found:
        return None
    cam_from_world = np.eye(4)
    cam_from_world[:3, :3], cam_from_world[:3, 3:] = cv2.Rodrigues(rotation)[0], translation
    return se3_inverse(torch.from_numpy(cam_from_world))


def _world_from_edge(edge: Edge, pair: PairPrediction, points: dict[int, Tensor]) -> Similarity:
    return fitted(points[edge[0]], pair.points_i, pair.confidence_i)
