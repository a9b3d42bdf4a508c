"""The losses of training: class, middle and box of the voxels, and their occupancy."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from ...learn.processes import mean_over_processes
from ...scene.boxes import Boxes
from ..common.iou_3d import aligned_iou_3d, paired_iou_3d
from .config import SCALES, ImGeoNetConfig
from .face_distances import box_from_distances
from .model import Output
from .occupancy_labels import occupancy_labels
from .room_batch import RoomBatch
from .voxel_head import ScaleOutput
from .voxel_targets import VoxelTargets, voxel_targets
from .voxel_volume import Grid, seen_at_scales

ALPHA, GAMMA = 0.25, 2.0  # of the focal losses


def losses(output: Output, batch: RoomBatch, config: ImGeoNetConfig) -> dict[str, Tensor]:
    """Weighted losses by name; their sum is minimised. Each is the mean over the rooms."""
    assert batch.boxes is not None
    grid = Grid(config.voxels, config.voxel_m)
    points = [grid.points(batch.middles, scale) for scale in range(SCALES)]
    seen = torch.cat(seen_at_scales(output.seen), dim=1)
    rooms = []
    for room, boxes in enumerate(batch.boxes):
        anchors = [p[room] for p in points]
        targets = voxel_targets(anchors, box_rows(boxes), config.anchors_needed, config.positives)
        answers = _all_scales(output.scales, room)
        rooms.append(room_losses(answers, torch.cat(anchors), targets, boxes, seen[room], config.yaw))
    found = {name: torch.stack([r[name] for r in rooms]).mean() for name in rooms[0]}
    if output.occupancy is not None:
        found["occupancy"] = config.occupancy_loss_weight * occupancy_loss(output.occupancy, batch, config)
    return found


def room_losses(
    answers: ScaleOutput,  # [N, ...] of one room, all scales together
    anchors: Tensor,  # [N, 3] metres
    targets: VoxelTargets,
    boxes: Boxes,
    seen: Tensor,  # bool [N]
    yaw: bool,
) -> dict[str, Tensor]:
    """{"class", "middle", "box"} of one room. Voxels that no view sees learn nothing."""
    positive = ((targets.boxes >= 0) & seen).nonzero().flatten()
    rows = targets.boxes[positive]
    count = mean_over_processes(torch.tensor(float(len(positive)), device=anchors.device)).clamp_min(1)
    wanted = torch.zeros_like(answers.classes)
    wanted[positive, boxes.labels[rows]] = 1
    classes = sigmoid_focal_loss(answers.classes[seen], wanted[seen], alpha=ALPHA, gamma=GAMMA).sum() / count
    weight = targets.centerness[positive]
    middle = F.binary_cross_entropy_with_logits(answers.centerness[positive], weight, reduction="sum") / count
    found = box_from_distances(anchors[positive], answers.distances[positive], answers.yaws[positive])
    truth = box_rows(boxes)[rows].to(found)
    overlap = paired_iou_3d(found, truth) if yaw else aligned_iou_3d(found[:, :6], truth[:, :6])
    box = ((1 - overlap) * weight).sum() / weight.sum().clamp_min(1e-9)
    return {"class": classes, "middle": middle, "box": box}


def occupancy_loss(logits: Tensor, batch: RoomBatch, config: ImGeoNetConfig) -> Tensor:
    """Focal loss over all voxels, seen or not. A photograph without depth says nothing."""
    assert batch.depths is not None
    labels = true_occupancy(batch, config)
    return sigmoid_focal_loss(logits, labels.to(logits), alpha=ALPHA, gamma=GAMMA, reduction="mean")


def true_occupancy(batch: RoomBatch, config: ImGeoNetConfig) -> Tensor:
    """bool [B, nx, ny, nz]"""
    assert batch.depths is not None
    points = Grid(config.voxels, config.voxel_m).points(batch.middles)
    labels = [
        occupancy_labels(points[b], batch.cam_from_room[b], batch.K[b], batch.depths[b], config.surface_margin_m)
        for b in range(len(batch))
    ]
    return torch.stack(labels).unflatten(1, config.voxels)


def box_rows(boxes: Boxes) -> Tensor:
    """[M, 7] centre, size, yaw."""
    return torch.cat([boxes.centers, boxes.sizes, boxes.yaws[:, None]], dim=1).float()


def _all_scales(scales: list[ScaleOutput], room: int) -> ScaleOutput:
    return ScaleOutput(*(torch.cat([vars(s)[name][room] for s in scales]) for name in vars(scales[0])))
