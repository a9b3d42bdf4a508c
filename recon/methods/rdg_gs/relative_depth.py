"""Relative depth guidance: what looks alike and lies near lies at one depth, what looks different need not.

Correlations of small patches of a rendered depth map are compared with those of what the photograph shows there
(RDG-GS, section 3.3; the paper has no released code). The form is that of feature correspondence distillation (STEGO,
Hamilton et al. 2022; DepthG, Sick et al. 2024) turned round: there learned features follow depth, here depth follows
features that stand still.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ...evidence.patch_descriptors import CELL_PX

DEPTH_SIGMA = 0.15  # difference of normalised inverse depth over which similarity falls
SHIFT = 0.3  # correlation of features from which two cells are pulled together; below they are pushed apart
FLAT = 0.02  # normalised inverse depth: a patch that varies less is flat, and flat ones are shaped alike
FARTHEST = 4.0  # normalised inverse depths are cut off here, so that one speck does not set the scale
ORDERED, MARGIN = 0.05, 1e-4  # normalised difference from which the prior's order counts, and the hinge's margin


class CellDepth(NamedTuple):
    """The inverse depth of cells of 8 x 8 pixels, free of scale and offset."""

    mean: Tensor  # [N]
    shape: Tensor  # [N, 64] less the mean
    variance: Tensor  # [N]


class Scale(NamedTuple):
    """The offset and the unit that make inverse depth free of both."""

    median: Tensor  # []
    deviation: Tensor  # []


def scale_of(inverse: Tensor, mask: Tensor) -> Scale:
    """Median and standard deviation of the pixels `mask` of inverse depth [H, W]; of 0 and 1 where there are none.

    Differentiable, so that losses have no gradient towards another scale or offset.
    """
    values = inverse[mask]
    if len(values) == 0:
        return Scale(inverse.new_zeros(()), inverse.new_ones(()))
    median = values.median()
    return Scale(median, (values - values.mean()).square().mean().sqrt().clamp_min(1e-6 * median.abs() + 1e-12))


def cell_depth(inverse: Tensor, scale: Scale) -> CellDepth:
    """The cells of inverse depth [H, W], row by row; pixels beyond the last whole cell are left out."""
    rows, columns = inverse.shape[0] // CELL_PX, inverse.shape[1] // CELL_PX
    normal = ((inverse - scale.median) / scale.deviation).clamp(-FARTHEST, FARTHEST)
    patches = normal[: rows * CELL_PX, : columns * CELL_PX].reshape(rows, CELL_PX, columns, CELL_PX)
    patches = patches.transpose(1, 2).reshape(rows * columns, CELL_PX * CELL_PX)
    mean = patches.mean(1)
    shape = patches - mean[:, None]
    return CellDepth(mean, shape, shape.square().mean(1))


def take(cells: CellDepth, rows: Tensor) -> CellDepth:
    """The cells `rows` [K]."""
    return CellDepth(*(t[rows] for t in cells))


def depth_correlation(a: CellDepth, b: CellDepth) -> Tensor:
    """D [A, B] in (0, 1]: near in depth and alike in shape; exp(-d^2 / 2 tau^2) (1 + correlation) / 2.

    The correlation is that of patches with a little noise in common, so that it is 1 for two flat ones. Cosines of the
    depths alone would be 1 everywhere, and have no gradient.
    """
    near = (-(a.mean[:, None] - b.mean).square() / (2 * DEPTH_SIGMA**2)).exp()
    covariance = a.shape @ b.shape.T / a.shape.shape[1] + FLAT**2
    alike = covariance * ((a.variance + FLAT**2).rsqrt()[:, None] * (b.variance + FLAT**2).rsqrt())
    return near * (1 + alike) / 2


def feature_correlation(
    a: Tensor,  # [A, C] of unit length
    b: Tensor,  # [B, C] of unit length
    pairs: Tensor,  # [A, B] bool, the pairs that count
) -> Tensor:
    """F [A, B] >= 0: cosines, each row moved to the mean of all, negative ones cut off. No gradient."""
    with torch.no_grad():
        cosine = a @ b.T
        counted = cosine * pairs
        row = counted.sum(1, keepdim=True) / pairs.sum(1, keepdim=True).clamp_min(1)
        return (cosine - row + counted.sum() / pairs.sum().clamp_min(1)).clamp_min(0)


def relative_loss(
    depth: Tensor,  # D [A, B]
    features: Tensor,  # F [A, B]
    pairs: Tensor,  # [A, B] bool
    apart: Tensor,  # [A, B] bool, pairs that may be pushed apart
) -> Tensor:
    """-mean over pairs of D (F - b), a scalar; 0 where there is no pair.

    Of the two factors the one that learns is at least 0 and the one that stands still is shifted. The other way round,
    max(F, 0) (D - b), nothing is ever pushed apart and a depth that is the same everywhere is best. What looks
    different is pushed apart only where `apart` says so, too: edges of a photograph are not always edges of depth.
    """
    over = features - SHIFT
    return -(depth * torch.where(apart, over, over.clamp_min(0)) * pairs).sum() / pairs.sum().clamp_min(1)


def told_apart(
    prior_a: Tensor,  # [A] normalised inverse depths
    prior_b: Tensor,  # [B]
) -> Tensor:
    """bool [A, B]: pairs that the prior has at different depths."""
    return (prior_a[:, None] - prior_b).abs() > ORDERED


def order_loss(
    rendered_a: Tensor,  # [A] normalised inverse depths
    rendered_b: Tensor,  # [B]
    prior_a: Tensor,  # [A]
    prior_b: Tensor,  # [B]
    pairs: Tensor,  # [A, B] bool
) -> Tensor:
    """Mean hinge over the pairs that the prior tells apart and the rendered depth has in the other order, a scalar."""
    wanted = prior_a[:, None] - prior_b
    told = pairs & told_apart(prior_a, prior_b)
    wrong = (MARGIN - wanted.sign() * (rendered_a[:, None] - rendered_b)).clamp_min(0)
    return (wrong * told).sum() / told.sum().clamp_min(1)
