"""From the network's output to boxes with scores."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ...scene.boxes import Boxes
from ..common.circle_nms import circle_nms
from ..tasks.driving_task import CLASS_NAMES
from .coder import decode_boxes
from .config import SparseFusionConfig
from .model import Output

IMAGE_QUERY_WEIGHT = 0.5
KEPT_RANGE_M = (-61.2, -61.2, -10.0, 61.2, 61.2, 10.0)
MAX_LOG_SIZE = 5.0  # an untrained size must not overflow
# Of the circle NMS, compared with the squared distance on the floor, as in the released code: 0.35 is 0.59 m. 0 means
# no NMS.
SQUARED_RADIUS_M2 = {
    "car": 0.35, "truck": 0.35, "construction_vehicle": 0.35, "bus": 0.35, "trailer": 0.35, "barrier": 0.175,
    "motorcycle": 0.1, "bicycle": 0.0, "pedestrian": 0.1, "traffic_cone": 0.1,
}  # fmt: skip


@torch.no_grad()
def query_scores(output: Output) -> Tensor:
    """[B, N, 10]: sigmoid of the last stage's logits, times what the heatmaps said of each query.

    A LiDAR query can only be of its heatmap's class. An image query counts half, and only where its heatmap and its
    decoder agree on the class; else all its scores are 0.
    """
    weights = []
    if output.lidar_queries is not None:
        weights.append(_at_class(output.lidar_queries.classes, output.lidar_queries.scores))
    if output.image_queries is not None and output.image is not None:
        queries = output.image_queries
        agrees = output.image.logits.argmax(dim=-1) == queries.classes
        weights.append(_at_class(queries.classes, IMAGE_QUERY_WEIGHT * queries.scores * agrees))
    return output.final.logits.sigmoid() * torch.cat(weights, dim=1)


def _at_class(classes: Tensor, scores: Tensor) -> Tensor:
    return F.one_hot(classes, len(CLASS_NAMES)) * scores[..., None]


@torch.no_grad()
def detections(output: Output, config: SparseFusionConfig) -> list[Boxes]:
    """For each sample its boxes after NMS, in the LiDAR's frame. None is too weak: even those of score 0 are kept."""
    scores, labels = query_scores(output).max(dim=-1)
    found = []
    for b in range(len(scores)):
        codes = output.final.codes[b].clone()
        codes[:, 3:6].clamp_(-MAX_LOG_SIZE, MAX_LOG_SIZE)
        boxes = decode_boxes(codes, labels[b], config, scores[b])
        boxes = boxes[in_kept_range(boxes)]
        found.append(boxes[circle_nms(boxes, SQUARED_RADIUS_M2)])
    return found


def in_kept_range(boxes: Boxes) -> Tensor:
    """bool [N], true where the middle of the floor, as the released code compares it, is in KEPT_RANGE_M."""
    low, high = boxes.centers.new_tensor(KEPT_RANGE_M[:3]), boxes.centers.new_tensor(KEPT_RANGE_M[3:])
    floors = boxes.centers.clone()
    floors[:, 2] -= boxes.sizes[:, 2] / 2
    return ((floors >= low) & (floors <= high)).all(dim=1)
