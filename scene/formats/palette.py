"""Vector palettes: k-means in two levels, fast enough for tens of thousands of entries on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor

from ..torch_threads import torch_threads

_ITERATIONS = 8
_CHUNK = 4096  # rows whose distances are in memory at once


def palette(
    vectors: Tensor,  # [N, D] float32, finite
    weights: Tensor,  # [N] float32 > 0, how much an error in that row matters
    entries: int,
) -> tuple[Tensor, Tensor]:  # [<= entries, D], [N] int64
    """(centers, labels) with `centers[labels]` close to the vectors; deterministic, entries that nobody uses go.

    Coarse k-means with sqrt(entries) cells, then k-means inside each cell with a share of the entries that follows
    its size and its error: N * sqrt(entries) distances a step in place of N * entries.
    """
    with torch_threads(1):  # steps are many and small
        return _palette(vectors, weights, entries)


def _palette(vectors: Tensor, weights: Tensor, entries: int) -> tuple[Tensor, Tensor]:
    size = vectors.abs().max().clamp_min(torch.finfo(vectors.dtype).tiny)
    rows, weights = vectors / size, weights / weights.max()
    if entries >= len(rows):
        centers, labels = torch.unique(rows, dim=0, return_inverse=True)
        return centers * size, labels
    generator = torch.Generator().manual_seed(0)
    cells, cell_of = _k_means(rows, weights, max(1, round(entries**0.5)), generator)
    shares = _shares(rows, weights, cells, cell_of, entries)
    members = cell_of.argsort(stable=True).split(torch.bincount(cell_of, minlength=len(cells)).tolist())
    centers, labels, used = [], torch.empty_like(cell_of), 0
    for inside, share in zip(members, shares.tolist(), strict=True):
        if len(inside):
            part, part_labels = _k_means(rows[inside], weights[inside], share, generator)
            centers.append(part)
            labels[inside] = part_labels + used
            used += len(part)
    kept, labels = torch.unique(labels, return_inverse=True)
    return torch.cat(centers)[kept] * size, labels


def _k_means(rows: Tensor, weights: Tensor, k: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Lloyd's algorithm from k random rows; centers without rows move to the rows with the greatest error."""
    if k >= len(rows):
        return rows.clone(), torch.arange(len(rows))
    centers = rows[torch.randperm(len(rows), generator=generator)[:k].sort().values].clone()
    for _ in range(_ITERATIONS):
        labels = _nearest(rows, centers)
        mass = torch.zeros(k).index_add_(0, labels, weights)
        total = torch.zeros_like(centers).index_add_(0, labels, rows * weights[:, None])
        centers = torch.where(mass[:, None] > 0, total / mass.clamp_min(1e-30)[:, None], centers)
        empty = (mass == 0).nonzero()[:, 0]
        if len(empty):
            error = (rows - centers[labels]).square().sum(1) * weights
            centers[empty] = rows[error.topk(len(empty)).indices]
    return centers, _nearest(rows, centers)


def _nearest(rows: Tensor, centers: Tensor) -> Tensor:
    """Index [N] of the nearest center: |x - c|^2 without the |x|^2, which is the same for every center."""
    half_square = centers.square().sum(1) / 2
    return torch.cat([(part @ centers.T - half_square).argmax(1) for part in rows.split(_CHUNK)])


def _shares(rows: Tensor, weights: Tensor, cells: Tensor, cell_of: Tensor, entries: int) -> Tensor:
    """Numbers of entries of the cells, at least one and at most one for each of its rows, int64 [cells]."""
    error = (rows - cells[cell_of]).square().sum(1) * weights
    count = torch.bincount(cell_of, minlength=len(cells))
    want = (torch.zeros(len(cells)).index_add_(0, cell_of, error).double() * count).sqrt()
    shares = (want * (entries / want.sum().clamp_min(1e-300))).floor().long()
    return shares.clamp_min(1).minimum(count.clamp_min(1))
