"""From the network's output to boxes with scores."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ...scene.boxes import Boxes
from ..nuscenes.sample import CLASS_NAMES, DetectionSample
from .batch import Batch
from .coder import decode_boxes
from .config import SparseFusionConfig
from .model import Output, SparseFusionModel
from .nms import circle_nms
from .prepare import collate, fit_images, prepare

IMAGE_QUERY_WEIGHT = 0.5
KEPT_RANGE_M = (-61.2, -61.2, -10.0, 61.2, 61.2, 10.0)
MAX_LOG_SIZE = 5.0  # an untrained size must not overflow


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
        low, high = codes.new_tensor(KEPT_RANGE_M[:3]), codes.new_tensor(KEPT_RANGE_M[3:])
        boxes = boxes[((boxes.centers >= low) & (boxes.centers <= high)).all(dim=1)]
        found.append(boxes[circle_nms(boxes)])
    return found


@dataclass(frozen=True)
class Detector:
    """A network with weights, ready for samples."""

    model: SparseFusionModel
    device: torch.device
    mixed_precision: bool = False  # bfloat16 where that is safe

    def batch(self, sample: DetectionSample) -> Batch:
        """Read and prepare one sample."""
        config = self.model.config
        fitted = fit_images(sample.load_images(), config) if config.use_images else None
        return collate([prepare(sample, fitted, config)], config).to(self.device)

    @torch.no_grad()
    def __call__(self, sample: DetectionSample) -> Boxes:
        """Boxes with scores in the sample's LiDAR frame, on the CPU."""
        self.model.eval()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed_precision):
            output = self.model(self.batch(sample))
        return detections(output, self.model.config)[0].to("cpu")
