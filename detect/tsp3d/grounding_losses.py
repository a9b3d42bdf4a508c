"""The losses of TSP3D: the box, its score, what is kept, and what is added back. Each has the weight 1."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ..common.iou_3d import aligned_iou_3d
from .assign import nearest_voxels, within_cubes
from .config import TSP3DConfig
from .model import Output, Scored
from .scene_batch import Batch, Truth

ALPHA, GAMMA = 0.25, 2.0  # of the focal loss (T.-Y. Lin et al., 2017)
LEVELS_DIVISOR = 3  # of the keep loss: the release divides by three levels, of which two have a score


def focal_loss(logits: Tensor, positive: Tensor) -> Tensor:
    """Sigmoid focal loss [N] of logits [N] and bool [N]."""
    target = positive.to(logits.dtype)
    p = logits.sigmoid()
    wrong = torch.where(positive, 1 - p, p)
    weight = torch.where(positive, ALPHA, 1 - ALPHA) * wrong.pow(GAMMA)
    return weight * F.binary_cross_entropy_with_logits(logits, target, reduction="none")


def distance_iou_loss(a: Tensor, b: Tensor) -> Tensor:
    """1 - IoU + (distance of the centres / diagonal of the box around both)^2 [N] of boxes [N, 6] along the axes.

    Source: Z. Zheng et al., "Distance-IoU Loss", 2020, over three axes.
    """
    low = torch.minimum(a[:, :3] - a[:, 3:] / 2, b[:, :3] - b[:, 3:] / 2)
    high = torch.maximum(a[:, :3] + a[:, 3:] / 2, b[:, :3] + b[:, 3:] / 2)
    apart = (a[:, :3] - b[:, :3]).square().sum(1) / (high - low).square().sum(1).clamp_min(1e-9)
    return 1 - aligned_iou_3d(a, b) + apart


def losses(output: Output, batch: Batch, config: TSP3DConfig) -> Mapping[str, Tensor]:
    """box, class, keep and completion, [] each."""
    truths = [truth for truth in batch.truths if truth is not None]
    if len(truths) != output.sentences:
        raise ValueError("every sentence of a batch needs its truth to learn from")
    box, score = _box_losses(output, truths, config)
    found = {"box": box, "class": score}
    if output.keep:
        found["keep"] = _keep_loss(output, truths, config)
    if output.completion is not None:
        found["completion"] = _completion_loss(output.completion, truths, config)
    return found


def _points(voxels: Tensor, config: TSP3DConfig) -> Tensor:
    return voxels[:, 1:].float() * config.voxel_m


def _targets(voxels: Tensor, truths: list[Truth], config: TSP3DConfig) -> tuple[Tensor, Tensor]:
    """(bool [N]: voxels that learn a box, the boxes [N, 6] of those)"""
    positive = torch.zeros(len(voxels), dtype=torch.bool, device=voxels.device)
    boxes = torch.zeros(len(voxels), 6, device=voxels.device)
    for sentence, truth in enumerate(truths):
        own = (voxels[:, 0] == sentence).nonzero()[:, 0]
        row = nearest_voxels(_points(voxels[own], config), truth.targets, config.positives)
        hit = row >= 0
        positive[own[hit]] = True
        boxes[own[hit]] = truth.targets[row[hit]]
    return positive, boxes


def _box_losses(output: Output, truths: list[Truth], config: TSP3DConfig) -> tuple[Tensor, Tensor]:
    positive, boxes = _targets(output.voxels, truths, config)
    count = positive.sum().clamp(min=1)
    score = focal_loss(output.logits, positive).sum() / count
    points = _points(output.voxels[positive], config)
    predicted = torch.cat([points + output.offsets[positive], output.log_sizes[positive].exp()], dim=1)
    # A batch without any positive voxel has no box to learn; its loss is 0, with the gradient's path left whole.
    box = distance_iou_loss(predicted, boxes[positive]).sum() / count
    return box, score


def _keep_loss(output: Output, truths: list[Truth], config: TSP3DConfig) -> Tensor:
    """Voxels to keep are the background of the focal loss: their logit is to be low."""
    total = output.logits.sum() * 0
    for level, (scored, half_edge) in enumerate(zip(output.keep, config.keep_half_edges_m, strict=True)):
        for sentence, truth in enumerate(truths):
            own = scored.voxels[:, 0] == sentence
            centers = torch.cat([truth.targets, truth.near, *([truth.objects] if level == 0 else [])])[:, :3]
            keep = within_cubes(_points(scored.voxels[own], config), centers, half_edge)
            count = keep.sum() if bool(keep.any()) else own.sum().clamp(min=1)
            total = total + focal_loss(scored.logits[own].float(), ~keep).sum() / count / LEVELS_DIVISOR
    return total / len(truths)


def _completion_loss(candidates: Scored, truths: list[Truth], config: TSP3DConfig) -> Tensor:
    positive, _ = _targets(candidates.voxels, truths, config)
    return focal_loss(candidates.logits.float(), positive).sum() / positive.sum().clamp(min=1)
