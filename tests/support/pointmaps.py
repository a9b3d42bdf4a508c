"""Pairwise pointmaps of views with known cameras and depth: what a perfect pair predictor would give, but for noise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from fewview.recon.poses.pointmaps.alignment_variables import Observations, Variables
from fewview.recon.poses.pointmaps.pair_prediction import Edge, PairPrediction, all_ordered_pairs
from fewview.recon.poses.pointmaps.reference_alignment import pixel_rays
from fewview.scene.geometry import Similarity, se3_inverse, so3_exp, transform_points
from support.posed_photos import arc
from torch import Tensor

FOCAL_PX = 60.0
SIZES = ((32, 48), (48, 32), (32, 48), (24, 48), (32, 48), (32, 32))  # (height, width)


@dataclass(frozen=True)
class PosedViews:
    """Cameras on an arc around a wavy wall."""

    cam_from_world: Tensor  # [N, 4, 4] float64
    focal_px: tuple[float, ...]
    depths: tuple[Tensor, ...]  # [H, W] float64

    def points_in(self, view: int, camera: int) -> Tensor:
        """The view's pointmap [H, W, 3] in another camera's frame."""
        height, width = self.depths[view].shape
        center = torch.tensor([width, height], dtype=torch.float64) / 2
        focal = torch.tensor(self.focal_px[view], dtype=torch.float64).expand(2)
        own = pixel_rays(height, width, focal, center) * self.depths[view][..., None]
        moved = self.cam_from_world[camera] @ se3_inverse(self.cam_from_world[view])
        return transform_points(moved, own.reshape(-1, 3)).reshape(own.shape)


def posed_views(n: int, seed: int = 0, same_size: bool = True, focal_px: tuple[float, ...] | None = None) -> PosedViews:
    generator = torch.Generator().manual_seed(seed)
    sizes = [SIZES[0 if same_size else v % len(SIZES)] for v in range(n)]
    depths = []
    for height, width in sizes:
        y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
        a, b, c = torch.rand(3, generator=generator).tolist()
        depths.append((4 + 0.7 * torch.sin(3 * x + 6 * a) * torch.cos(2 * y + 6 * b) + 0.4 * c * x).double())
    return PosedViews(arc(n, seed), focal_px or (FOCAL_PX,) * n, tuple(depths))


def pair_predictions(
    views: PosedViews, seed: int = 1, noise: float = 0.0, scales: dict[Edge, float] | None = None
) -> dict[Edge, PairPrediction]:
    """All ordered pairs, each in its own unit; `noise` is relative to depth, confidence is between 1 and 8."""
    generator = torch.Generator().manual_seed(seed)

    def one(edge: Edge) -> PairPrediction:
        unit = float(torch.rand((), generator=generator)) + 0.5
        if scales is not None:
            unit = scales.get(edge, 1.0) * unit
        points, confidences = [], []
        for view in edge:
            exact = views.points_in(view, edge[0])
            error = noise * exact[..., 2:] * torch.randn(exact.shape, generator=generator)
            points.append((unit * (exact + error)).float())
            confidences.append(1 + 7 * torch.rand(exact.shape[:2], generator=generator))
        return PairPrediction(*points, *confidences)

    return {edge: one(edge) for edge in all_ordered_pairs(len(views.depths))}


def emptied(pair: PairPrediction) -> PairPrediction:
    """The same points with nothing known about them."""
    return replace(
        pair,
        confidence_i=torch.ones_like(pair.confidence_i),
        confidence_j=torch.ones_like(pair.confidence_j),
    )


def disturbed_problem(seed: int = 3, n: int = 3) -> tuple[Variables, Observations]:
    """Variables some way off the answer, views of different sizes: no residual is 0 there."""
    views = posed_views(n, seed, same_size=False)
    pairs = pair_predictions(views, seed, noise=0.02)
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return 0.05 * torch.randn(*shape, generator=generator, dtype=torch.float64)

    world_from_cam = se3_inverse(views.cam_from_world)
    edges = []
    for i, _ in pairs:
        scale = 1 + noise(1)[0]
        edges.append(Similarity(scale, so3_exp(noise(3)) @ world_from_cam[i, :3, :3],
                                world_from_cam[i, :3, 3] + noise(3)))  # fmt: skip
    sizes = tuple((d.shape[0], d.shape[1]) for d in views.depths)
    centers = torch.tensor([[w / 2, h / 2] for h, w in sizes], dtype=torch.float64)
    focal = torch.full((n, 2), FOCAL_PX, dtype=torch.float64) * (1 + noise(n, 2))
    points = tuple(p for pair in pairs.values() for p in (pair.points_i, pair.points_j))
    weights = tuple(c.log() for pair in pairs.values() for c in (pair.confidence_i, pair.confidence_j))
    observations = Observations(tuple(pairs), points, weights, sizes)
    variables = Variables.of(world_from_cam, focal, centers, views.depths, edges, observations.units)
    return variables, observations
