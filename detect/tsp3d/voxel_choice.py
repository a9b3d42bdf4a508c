"""Choices among the voxels of each sentence: all of its scan, at random, by a threshold, or the best of them."""

from __future__ import annotations

import torch
from torch import Tensor

from ..sparse import SparseConvTensor, find_rows, generative_conv, transposed_conv_onto
from ..sparse.coordinates import CoordinateSet


def voxels_of_sentences(x: SparseConvTensor, scan_of_sentence: tuple[int, ...]) -> CoordinateSet:
    """The voxels of its scan for each sentence, one sentence after another: batch items of the set are sentences."""
    of_scan = x.batch_rows()
    rows = torch.cat([of_scan[scan] for scan in scan_of_sentence])
    old = x.coordinates
    if scan_of_sentence == tuple(range(x.batch_size)) and bool((rows[1:] > rows[:-1]).all()):
        return old
    counts = torch.tensor([len(of_scan[scan]) for scan in scan_of_sentence], device=rows.device)
    indices = old.indices[rows]
    indices[:, 0] = torch.arange(len(counts), device=rows.device).repeat_interleave(counts)
    return CoordinateSet(indices, len(scan_of_sentence), old.spatial_shape, old.stride)


def in_scans(indices: Tensor, scan_of_sentence: tuple[int, ...]) -> Tensor:
    """Voxels [N, 4] of sentences as voxels [N, 4] of their scans."""
    scan = torch.tensor(scan_of_sentence, dtype=indices.dtype, device=indices.device)[indices[:, 0].long()]
    return torch.cat([scan[:, None], indices[:, 1:]], dim=1)


def features_at(x: SparseConvTensor, indices: Tensor) -> Tensor:
    """Features [M, C] at voxels [M, 4] of the tensor's own stride, 0 where there is none.

    Interpolation at the points of the lattice, which is all that the decoder needs of it.
    """
    rows = find_rows(x.coordinates, indices)
    there = (rows >= 0).nonzero()[:, 0]
    return x.features.new_zeros(len(indices), x.features.shape[1]).index_copy(0, there, x.features[rows[there]])


def grown_scores(scores: Tensor, x: SparseConvTensor, onto: CoordinateSet | None = None) -> Tensor:
    """Scores [N] of the voxels of `x`, interpolated at those that `GrowingConv` makes of them; absent ones count 0.

    Those lie half a step apart, so that interpolation is the same convolution, with fixed weights.
    """
    along = scores.new_tensor([0.5, 1.0, 0.5])
    weight = (along[:, None, None] * along[:, None] * along)[None, ..., None]
    given = x.replace_feature(scores[:, None])
    grown = generative_conv(given, weight) if onto is None else transposed_conv_onto(given, weight, None, onto)
    return grown.features[:, 0]


def at_most(x: SparseConvTensor, count: int, seed: int | None = None) -> SparseConvTensor:
    """At most `count` voxels of each scene, drawn at random, in their order.

    PyTorch's generator of the CPU draws, or with a `seed` one of its own for each scene, so that it is always the same.
    """
    rows = x.batch_rows()
    if all(len(own) <= count for own in rows):
        return x
    drawn = [own if len(own) <= count else own[_draw(len(own), count, seed).to(own.device)] for own in rows]
    return x.select_by_index(torch.cat(drawn))


def _draw(n: int, count: int, seed: int | None) -> Tensor:
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    return torch.randperm(n, generator=generator)[:count].sort().values


def keep_probability(logits: Tensor) -> Tensor:
    """P(keep) = 1 - sigmoid(logit): in the released loss the class of voxels to keep is the background."""
    return 1 - logits.detach().float().sigmoid()


def kept_or_best(x: SparseConvTensor, logits: Tensor, threshold: float) -> SparseConvTensor:
    """The voxels whose P(keep) is above the threshold; of a scene that has none, its best voxel."""
    probability = keep_probability(logits)
    keep = probability > threshold
    for own in x.batch_rows():
        if len(own) and not bool(keep[own].any()):
            keep[own[probability[own].argmax()]] = True
    return x if bool(keep.all()) else x.select_by_index(keep)


def top_voxels(x: SparseConvTensor, scores: Tensor, count: int) -> SparseConvTensor:
    """The `count` voxels of each sentence whose scores [N] are highest; all where there are fewer."""
    rows = x.batch_rows()
    if all(len(own) <= count for own in rows):
        return x
    chosen = [own if len(own) <= count else own[scores[own].topk(count).indices.sort().values] for own in rows]
    return x.select_by_index(torch.cat(chosen))
