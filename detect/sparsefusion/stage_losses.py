"""The losses of training: each stage's classes and boxes, and the two heatmaps."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from ..common.heatmaps import gaussian_focal
from .coder import encode_boxes
from .config import SparseFusionConfig
from .driving_batch import Batch
from .heads import Prediction
from .heatmap_targets import IMAGE_STRIDES, bev_target, image_targets
from .model import Output
from .query_assignment import ALPHA, GAMMA, assign_image, assign_lidar

CODE_WEIGHTS = (1.0,) * 8 + (0.2, 0.2)  # velocities are worth less
IMAGE_CENTER_WEIGHT = 5.0  # u and v lie in 0..1, all else is in metres and logs


def losses(output: Output, batch: Batch, config: SparseFusionConfig) -> dict[str, Tensor]:
    """Weighted losses by name; their sum is minimised. Each stage is normalised by its positives in the batch."""
    found: dict[str, Tensor] = {}
    stages = {"lidar": output.lidar, "view": output.view, "fusion": output.fusion}
    for name, prediction in stages.items():
        if prediction is not None:
            classes, boxes = _box_stage(prediction, batch, config, visible_only=name == "view")
            found |= {f"{name}_class": classes, f"{name}_box": boxes}
    if output.image is not None:
        classes, center, others = _image_stage(output, batch, config)
        found |= {"image_class": classes, "image_center": center, "image_box": others}
    if output.bev_heatmap is not None and batch.targets is not None:
        target = torch.stack([bev_target(t, config) for t in batch.targets])
        found["bev_heatmap"] = config.heatmap_loss_weight * gaussian_focal(output.bev_heatmap, target)
    if output.image_heatmaps is not None:
        found["image_heatmap"] = config.heatmap_loss_weight * _image_heatmap(output.image_heatmaps, batch)
    return found


def _focal(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    loss = sigmoid_focal_loss(logits, target, alpha=ALPHA, gamma=GAMMA)
    return (loss if weight is None else loss * weight[..., None]).sum()


def _box_stage(
    prediction: Prediction, batch: Batch, config: SparseFusionConfig, visible_only: bool
) -> tuple[Tensor, Tensor]:
    """(class loss, box loss) of a stage that speaks the LiDAR's frame."""
    assert batch.targets is not None
    truth = torch.zeros_like(prediction.logits)
    box_loss = prediction.codes.sum() * 0
    positives = 0
    weights = prediction.codes.new_tensor(CODE_WEIGHTS)
    for b, targets in enumerate(batch.targets):
        codes, logits = prediction[b]
        queries, rows = assign_lidar(codes, logits, targets, config, visible_only)
        truth[b, queries, targets.boxes.labels[rows]] = 1
        wanted = encode_boxes(targets.boxes, config)[rows]
        box_loss = box_loss + ((codes[queries] - wanted).abs() * weights).sum()
        positives += len(queries)
    count = max(positives, 1)
    return _focal(prediction.logits, truth) / count, config.position_loss_weight * box_loss / count


def _image_stage(output: Output, batch: Batch, config: SparseFusionConfig) -> tuple[Tensor, Tensor, Tensor]:
    """(class loss, centre loss, loss of the rest) of the image stage.

    A match in a wrong view has no loss; as in the released code it counts among those that the losses are shared by.
    """
    assert batch.targets is not None
    assert output.image is not None
    assert output.image_queries is not None
    prediction, query_views = output.image, output.image_queries.views
    truth = torch.zeros_like(prediction.logits)
    weight = torch.ones_like(prediction.logits[..., 0])
    center_loss = other_loss = prediction.codes.sum() * 0
    positives = 0
    weights = prediction.codes.new_tensor(CODE_WEIGHTS)
    for b, targets in enumerate(batch.targets):
        codes, logits = prediction[b]
        seen = targets.sightings
        queries, rows = assign_image(codes, logits, query_views[b], b, targets, batch.views, config)
        wrong = query_views[b, queries] != seen.views[rows]
        positives += len(queries)
        weight[b, queries[wrong]] = 0
        queries, rows = queries[~wrong], rows[~wrong]
        truth[b, queries, seen.labels[rows]] = 1
        off = (codes[queries] - seen.codes[rows]).abs() * weights
        center_loss = center_loss + off[:, :2].sum()
        other_loss = other_loss + off[:, 2:].sum()
    count = max(positives, 1)
    classes = _focal(prediction.logits, truth, weight) / count
    return classes, IMAGE_CENTER_WEIGHT * center_loss / count, config.position_loss_weight * other_loss / count


def _image_heatmap(heatmaps: list[Tensor], batch: Batch) -> Tensor:
    """All levels and views together, without the cells that show no part of the world."""
    assert batch.targets is not None
    n_views = heatmaps[0].shape[1]
    targets = [image_targets(t, batch.views, n_views) for t in batch.targets]
    logits = torch.cat([h.flatten(3) for h in heatmaps], dim=-1)
    target = torch.cat([torch.stack(level).flatten(3) for level in zip(*targets, strict=True)], dim=-1)
    shown = torch.cat([~batch.views.padding(stride).flatten(2) for stride in IMAGE_STRIDES], dim=-1)
    return gaussian_focal(logits, target, shown[:, :, None].expand_as(target))
