"""Choices among the voxels of each scene: at random, by a threshold, or the best of them."""

from __future__ import annotations

import torch
from torch import Tensor

from ..sparse import SparseConvTensor, interpolate


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


def top_voxels(x: SparseConvTensor, scores: SparseConvTensor, count: int) -> SparseConvTensor:
    """The `count` voxels of each scene whose interpolated coarse logit is lowest; all where there are fewer.

    Absent corners count 0, which is P(keep) = 0.5. No gradient flows through the choice.
    """
    rows = x.batch_rows()
    if all(len(own) <= count for own in rows):
        return x
    coarse = scores.replace_feature(-scores.features.detach().float())
    score = interpolate(coarse, x.indices.float())[:, 0]
    chosen = [own if len(own) <= count else own[score[own].topk(count).indices.sort().values] for own in rows]
    return x.select_by_index(torch.cat(chosen))
