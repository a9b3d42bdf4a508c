"""`PhotographGains`: how photographs differ in exposure and white balance, measured on the sparse points they share."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...scene.geometry import transform_points
from .dataset import Dataset, View

MEASURED_SIDE_PX = 240  # longer side of the photographs at most: a pixel is then the mean of a patch, free of noise
DARK, BRIGHT = 0.04, 0.95  # sRGB: beyond them noise and clipping say nothing of the exposure
MIN_SHARED = 12  # points that two photographs must share, so that the median of their ratios means something
NEAREST = 2  # photographs that a photograph is compared with: an exposure that drifts over a walk is no disagreement
MAX_POINTS = 4000  # evenly chosen of more; medians need no more
MAX_PAIRS = 4_000_000  # of observations of one point


@dataclass(frozen=True)
class PhotographGains:
    """One factor for each channel of each training photograph, relative to the geometric mean of all of them."""

    log_gains: Tensor  # [V, 3] float32 natural logarithms of factors on sRGB values, in the order of `Dataset.train`
    linked: Tensor  # [V] bool, False where a photograph shares too little with the others; its gains are 0
    disagreement: (
        float  # logarithm by which a photograph differs from those that show most of the same, root mean square
    )


def photograph_gains(dataset: Dataset) -> PhotographGains:
    """Gains of the training photographs from the colours of the points that they share.

    For each pair of photographs the median, over the points that both see, of the logarithm of the ratio of their
    colours; then the gains that fit all medians best (least squares, weighted by the number of points). Medians leave
    out highlights, occlusion and people who stand before a point in one of the two. Points without observations are
    looked up wherever they project to.
    """
    views = len(dataset.train)
    point, view, colours = _observed_colours(dataset)
    first, second = _pairs(point, len(dataset.points) if dataset.points is not None else 0)
    log_gains, linked = torch.zeros(views, 3), torch.zeros(views, dtype=torch.bool)
    if len(first) == 0:
        return PhotographGains(log_gains, linked, 0.0)
    lower, upper = torch.minimum(view[first], view[second]), torch.maximum(view[first], view[second])
    swapped = view[first] > view[second]
    ratio = colours[first].log() - colours[second].log()  # [P, 3]
    ratio = torch.where(swapped[:, None], -ratio, ratio)
    pair, inverse, count = torch.unique(lower * views + upper, return_inverse=True, return_counts=True)
    enough = count >= MIN_SHARED
    if not bool(enough.any()):
        return PhotographGains(log_gains, linked, 0.0)
    medians = torch.stack([_medians(ratio[:, c], inverse, count) for c in range(3)], -1)[enough]  # [E, 3]
    lower, upper, weight = pair[enough] // views, pair[enough] % views, count[enough].double()
    laplacian, right = torch.zeros(views, views, dtype=torch.float64), torch.zeros(views, 3, dtype=torch.float64)
    for a, b, sign in ((lower, upper, 1.0), (upper, lower, -1.0)):
        laplacian.index_put_((a, a), weight, accumulate=True)
        laplacian.index_put_((a, b), -weight, accumulate=True)
        right.index_add_(0, a, sign * weight[:, None] * medians.double())
    # Gains are known up to a common factor of each connected set of photographs: the pseudo-inverse makes its
    # logarithms' mean zero.
    solved = torch.linalg.pinv(laplacian, hermitian=True) @ right
    linked[torch.cat([lower, upper])] = True
    shared, squared = torch.zeros(views, views), torch.zeros(views, views)
    for a, b in ((lower, upper), (upper, lower)):
        shared[a, b], squared[a, b] = weight.float(), (medians**2).mean(-1)
    most = shared.topk(min(NEAREST, views - 1), dim=1)
    # Two photographs that differ by chance alone differ by twice the variance of one.
    differences = squared.gather(1, most.indices)[most.values > 0] / 2
    return PhotographGains((solved * linked[:, None]).float(), linked, math.sqrt(float(differences.mean())))


def _observed_colours(dataset: Dataset) -> tuple[Tensor, Tensor, Tensor]:
    """Observations: point [T], place of the view in `Dataset.train` [T], colour [T, 3] in (0, 1)."""
    nothing = torch.zeros(0, dtype=torch.int64)
    points = dataset.points
    if points is None or len(points) == 0:
        return nothing, nothing, torch.zeros(0, 3)
    xyz = points.xyz.detach().float().cpu()
    chosen = torch.linspace(0, len(xyz) - 1, min(len(xyz), MAX_POINTS)).long()
    found = []
    for place, index in enumerate(dataset.train):
        seen = chosen
        if points.seen_point is not None and points.seen_view is not None:
            seen = torch.unique(points.seen_point[points.seen_view == index].cpu())
            seen = seen[torch.isin(seen, chosen)]
        in_camera = transform_points(dataset.cameras.cam_from_world[index].detach().float().cpu(), xyz[seen])
        inside, colour = _colours_at(_small(dataset, index), in_camera)
        found.append((seen[inside], torch.full((int(inside.sum()),), place), colour))
    point, view, colours = (torch.cat(parts) for parts in zip(*found, strict=True))
    usable = ((colours > DARK) & (colours < BRIGHT)).all(-1)
    return point[usable], view[usable], colours[usable]


def _small(dataset: Dataset, index: int) -> View:
    view = dataset.view(index)
    while max(view.width, view.height) > MEASURED_SIDE_PX:
        view = view.halved()
    return view


def _colours_at(view: View, in_camera: Tensor) -> tuple[Tensor, Tensor]:
    """The points [N, 3] that a view shows in pixels that count, as a mask [N], and their colours [M, 3]."""
    K = view.K.detach().float().cpu()
    ahead = in_camera[:, 2] > 1e-6
    at = in_camera[:, :2] / in_camera[:, 2:].clamp_min(1e-6)
    column, row = (at[:, 0] * K[0, 0] + K[0, 2]).floor(), (at[:, 1] * K[1, 1] + K[1, 2]).floor()
    inside = ahead & (column >= 0) & (column < view.width) & (row >= 0) & (row < view.height)
    column, row = column.where(inside, 0.0).long(), row.where(inside, 0.0).long()
    counts = view.counts()
    if counts is not None:
        inside = inside & counts[row, column]
    return inside, view.pixels[..., :3].cpu()[row[inside], column[inside]].float() / 255


def _pairs(point: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """All pairs of observations of one point, as their places [P] and [P]; of fewer points where these are too many."""
    nothing = torch.zeros(0, dtype=torch.int64)
    if len(point) == 0:
        return nothing, nothing
    order = torch.argsort(point, stable=True)
    tracks = torch.bincount(point, minlength=count)
    pairs = int((tracks * (tracks - 1) // 2).sum())
    kept = torch.ones(count, dtype=torch.bool)
    if pairs > MAX_PAIRS:
        kept[:] = False
        kept[:: math.ceil(pairs / MAX_PAIRS)] = True
    first, second = [], []
    begins = torch.cumsum(tracks, 0) - tracks
    for length in torch.unique(tracks[kept]).tolist():
        if length < 2:
            continue
        begin = begins[kept & (tracks == length)]
        a, b = torch.triu_indices(length, length, offset=1)
        first.append((begin[:, None] + a).flatten())
        second.append((begin[:, None] + b).flatten())
    if not first:
        return nothing, nothing
    return order[torch.cat(first)], order[torch.cat(second)]


def _medians(values: Tensor, group: Tensor, count: Tensor) -> Tensor:
    """The lower median [G] of the values [P] of each group."""
    order = torch.argsort(values, stable=True)
    order = order[torch.argsort(group[order], stable=True)]
    begin = torch.cumsum(count, 0) - count
    return values[order[begin + (count - 1) // 2]]
