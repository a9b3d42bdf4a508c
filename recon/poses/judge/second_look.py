"""A second look at the photographs: does each show, where its camera must see a point, what others show there?

Matches say where two photographs are alike; nobody asks where they should be and are not. Two sides of a thing that
look alike give hundreds of matches that agree with one motion of the camera, but around them all that differs between
the sides contradicts it (compare the missing correspondences of Zach et al., CVPR 2008, and Roberts et al., CVPR 2011).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pycolmap
import torch
import torch.nn.functional as F

from ..mapping import Model
from ..verification import Pair

MAX_ANGLE_DEG = 30.0  # between two rays to a point; beyond it a patch looks different from both sides anyway
MAX_SCALE = 1.5  # between the distances of two cameras to a point, for the same reason
RADIUS = 6  # pixels around a point that are compared, in the copies that features were found in
BORDER_PX = 8
MIN_CONTRAST = 4.0  # grey levels of 255, standard deviation of a patch that shows something
AGREEING, CONFLICTING = 0.5, 0.2  # normalised cross-correlations of what is the same, and of what is not
MAX_POINTS = 400  # of a view
MAX_TURN_DEG = 60.0  # between two viewing directions
PARTNERS = 12  # of each view, the nearest


@dataclass(frozen=True)
class PairLook:
    """Textured points of one photograph that another must show from nearly the same side, and what it shows there."""

    expected: int
    matched: int  # of these, observed in the other one
    agreeing: int  # of these, alike
    conflicting: int  # of these, unlike

    def __add__(self, other: PairLook) -> PairLook:
        return PairLook(
            self.expected + other.expected,
            self.matched + other.matched,
            self.agreeing + other.agreeing,
            self.conflicting + other.conflicting,
        )


NO_LOOK = PairLook(0, 0, 0, 0)


@dataclass(frozen=True)
class PlacedView:
    """A view's camera at the size of its grey copy, and the points of a model that it observes."""

    cam_from_world: np.ndarray  # [3, 4]
    lens: pycolmap.Camera
    point: np.ndarray  # [M] int64, ascending numbers of points in the model
    image: torch.Tensor  # [1, 1, H, W] float32 grey levels

    @property
    def center(self) -> np.ndarray:
        """Of the camera, in the world [3]."""
        return -self.cam_from_world[:, :3].T @ self.cam_from_world[:, 3]


@dataclass(frozen=True)
class Comparison:
    """Textured points of one view, compared with another's picture of them; M of them."""

    point: np.ndarray  # [M] int64 numbers of points in the model
    alike: np.ndarray  # [M] normalised cross-correlation
    xy_px: np.ndarray  # [M, 2] in the other view
    depth: np.ndarray  # [M] in the other view
    matched: np.ndarray  # [M] bool, observed by the other view

    def look(self) -> PairLook:
        """The comparison in figures."""
        return PairLook(
            len(self.point),
            int(self.matched.sum()),
            int((self.alike >= AGREEING).sum()),
            int((self.alike < CONFLICTING).sum()),
        )


Comparisons = dict[tuple[int, int], Comparison]  # (view whose points they are, view that they are looked for in)


def second_look(
    model: Model,
    grey: Sequence[np.ndarray],  # [H, W] uint8 of every view, in the size that features were found in
    registered: Mapping[int, tuple[np.ndarray, pycolmap.Camera]] | None = None,  # cam_from_world [3, 4] and lens
) -> Comparisons:
    """Comparisons of pairs of placed views, both ways; pairs that share no such side are left out.

    A patch around each point, in the plane that faces both cameras, is compared by normalised cross-correlation. Views
    that are `registered` in a finished model observe no points: the model's are looked for in them, and nothing else
    is compared then.
    """
    xyz, views = _placed_views(model, grey, registered or {})
    # The same points of every view: what one of them shows in one photograph is known in others, too.
    first = np.random.default_rng(0).permutation(len(xyz))
    found = {}
    for a, b in _near_pairs(views):
        if registered and (a in registered) == (b in registered):
            continue
        for here, there in ((a, b), (b, a)):
            compared = _compared(xyz, first, views[here], views[there])
            if len(compared.point):
                found[here, there] = compared
    return found


def looks_of(comparisons: Comparisons) -> dict[Pair, PairLook]:
    """Both ways of each pair together."""
    looks: dict[Pair, PairLook] = {}
    for (here, there), compared in comparisons.items():
        pair = min(here, there), max(here, there)
        looks[pair] = looks.get(pair, NO_LOOK) + compared.look()
    return looks


def _placed_views(
    model: Model, grey: Sequence[np.ndarray], registered: Mapping[int, tuple[np.ndarray, pycolmap.Camera]]
) -> tuple[np.ndarray, dict[int, PlacedView]]:
    """The points [P, 3] of a model, and its views with those that are registered in it."""
    reconstruction = model.reconstruction
    xyz: list[np.ndarray] = []
    observed: dict[int, list[int]] = {view: [] for view in [*model.views, *registered]}
    for number, (_, point) in enumerate(sorted(reconstruction.points3D.items())):
        xyz.append(point.xyz)
        for view in {element.image_id - 1 for element in point.track.elements} & observed.keys():
            observed[view].append(number)
    cameras = dict(registered)
    cameras |= {view: model.camera(view) for view in model.views}
    views = {
        view: PlacedView(*cameras[view], np.array(points, np.int64), torch.from_numpy(grey[view]).float()[None, None])
        for view, points in observed.items()
    }
    return np.array(xyz, np.float64).reshape(-1, 3), views


def _near_pairs(views: Mapping[int, PlacedView]) -> list[Pair]:
    """Pairs of views that look in similar directions, each with its nearest; their number grows with the views."""
    order = [view for view in sorted(views) if views[view].image.numel()]
    if len(order) < 2:
        return []
    centers = np.array([views[v].center for v in order])
    forward = np.array([views[v].cam_from_world[2, :3] for v in order])
    far = np.linalg.norm(centers[:, None] - centers[None], axis=2)
    far[forward @ forward.T < np.cos(np.radians(MAX_TURN_DEG))] = np.inf
    np.fill_diagonal(far, np.inf)
    chosen = set()
    for i, row in enumerate(far):
        for j in np.argsort(row, kind="stable")[:PARTNERS]:
            if np.isfinite(row[j]):
                chosen.add((order[min(i, j)], order[max(i, j)]))
    return sorted(chosen)


def _compared(
    xyz: np.ndarray,  # [P, 3]
    first: np.ndarray,  # [P] order in which points are taken
    a: PlacedView,
    b: PlacedView,
) -> Comparison:
    """The points of view a, looked for in view b."""
    own = a.point[np.argsort(first[a.point])][:MAX_POINTS]
    points = xyz[own]
    rays = [view.center - points for view in (a, b)]
    far = [np.linalg.norm(r, axis=1) for r in rays]
    cosine = (rays[0] * rays[1]).sum(1) / (far[0] * far[1])
    near = (cosine > np.cos(np.radians(MAX_ANGLE_DEG))) & (np.maximum(far[0] / far[1], far[1] / far[0]) < MAX_SCALE)
    own, points = own[near], points[near]
    if not len(own):
        none = np.zeros(0)
        return Comparison(own, none, np.zeros((0, 2)), none, np.zeros(0, bool))
    facing = rays[0][near] / far[0][near, None] + rays[1][near] / far[1][near, None]
    facing /= np.linalg.norm(facing, axis=1, keepdims=True)
    right = a.cam_from_world[0, :3] - (facing @ a.cam_from_world[0, :3])[:, None] * facing
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    step = np.maximum(*(f[near] / v.lens.mean_focal_length() for f, v in zip(far, (a, b), strict=True)))[:, None]
    axes = np.stack([right * step, np.cross(facing, right) * step], axis=-1)  # [M, 3, 2]
    patches, inside = zip(*(_patches(view, points, axes) for view in (a, b)), strict=True)
    contrast = [patch.std(dim=1, correction=0) for patch in patches]
    unit = [(p - p.mean(1, keepdim=True)) / s.clamp_min(1e-6)[:, None] for p, s in zip(patches, contrast, strict=True)]
    alike = (unit[0] * unit[1]).mean(1).numpy()
    counted = inside[0] & inside[1] & (contrast[0].numpy() >= MIN_CONTRAST)
    in_b = points @ b.cam_from_world[:, :3].T + b.cam_from_world[:, 3]
    xy_px = in_b[:, :2] / np.maximum(in_b[:, 2:], 1e-9) * b.lens.mean_focal_length()
    matched = np.isin(own, b.point)
    return Comparison(*(part[counted] for part in (own, alike, xy_px, in_b[:, 2], matched)))


def _patches(
    view: PlacedView,
    points: np.ndarray,  # [M, 3]
    axes: np.ndarray,  # [M, 3, 2] one step right and down in the patch's plane, in the world
) -> tuple[torch.Tensor, np.ndarray]:
    """Grey values [M, S] of the patches to first order, and a mask [M] of the points that lie in the picture."""
    rotation = view.cam_from_world[:, :3]
    in_cam = points @ rotation.T + view.cam_from_world[:, 3]
    depth = np.maximum(in_cam[:, 2], 1e-9)
    tangent = in_cam[:, :2] / depth[:, None]
    center = view.lens.img_from_cam(np.column_stack([tangent, np.ones(len(points))]))
    center = np.nan_to_num(np.asarray(center, np.float64)[:, :2], nan=-1e6)
    moved = np.einsum("ij,mjk->mik", rotation, axes)  # [M, 3, 2]
    slope = moved[:, :2] - tangent[:, :, None] * moved[:, 2:3]
    slope = slope * (view.lens.mean_focal_length() / depth)[:, None, None]  # [M, 2, 2] pixels for a step
    grid = np.stack(np.meshgrid(*[np.arange(-RADIUS, RADIUS + 1)] * 2), axis=-1).reshape(-1, 2)
    xy = center[:, None] + np.einsum("mij,sj->msi", slope, grid)
    height, width = view.image.shape[2:]
    size = np.array([width, height], np.float64)
    place = torch.from_numpy(xy / size * 2 - 1).float()[None]
    values = F.grid_sample(view.image, place, mode="bilinear", padding_mode="border", align_corners=False)[0, 0]
    return values, (in_cam[:, 2] > 0) & (center > BORDER_PX).all(1) & (center < size - BORDER_PX).all(1)
