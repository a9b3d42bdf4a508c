"""From the network's output to boxes with scores."""

from __future__ import annotations

import torch
from torch import Tensor

from ...scene.boxes import Boxes
from ..common.box_nms import aligned_nms, floor_nms
from .config import SCALES, ImGeoNetConfig
from .face_distances import box_from_distances
from .model import Output
from .voxel_volume import Grid, seen_at_scales


@torch.no_grad()
def detections(output: Output, config: ImGeoNetConfig) -> list[Boxes]:
    """For each room its boxes after NMS, the highest score first, in the frame of its cameras."""
    grid = Grid(config.voxels, config.voxel_m)
    points = [grid.points(output.middles, scale) for scale in range(SCALES)]
    seen = seen_at_scales(output.seen)
    return [_room(output, points, seen, room, config) for room in range(len(output.middles))]


def _room(output: Output, points: list[Tensor], seen: list[Tensor], room: int, config: ImGeoNetConfig) -> Boxes:
    boxes, scores, labels = [], [], []
    for scale, answers in enumerate(output.scales):
        chance = answers.classes[room].sigmoid() * answers.centerness[room].sigmoid()[:, None]
        score, label = (chance * seen[scale][room][:, None]).max(dim=1)
        best = score.topk(min(config.candidates, len(score))).indices
        best = best[score[best] > config.min_score]
        distances, yaws = answers.distances[room, best], answers.yaws[room, best]
        boxes.append(box_from_distances(points[scale][room, best], distances, yaws))
        scores.append(score[best])
        labels.append(label[best])
    rows, score, label = torch.cat(boxes), torch.cat(scores), torch.cat(labels)
    if config.yaw:
        kept = floor_nms(rows, score, label, config.nms_iou)[: config.candidates]
    else:
        kept = aligned_nms(rows[:, :6], score, label, config.nms_iou)
    rows = rows[kept]
    return Boxes.upright(rows[:, :3], rows[:, 3:6], rows[:, 6], label[kept], config.classes, scores=score[kept])
