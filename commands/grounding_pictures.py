"""Answers of a detector of sentences: a picture of the box, and a scan to look at in the viewer."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ..detect.tasks.grounding_picture import grounding_picture
from ..detect.tasks.grounding_samples import GroundingSample, protocol_points
from ..detect.tsp3d.grounding_detector import TSP3DDetector
from ..detect.tsp3d.model import Output, TSP3DModel
from ..detect.tsp3d.tsp3d_weights import load_model
from ..detect.tsp3d.voxel_choice import keep_probability
from ..scene.boxes import Boxes
from ..scene.errors import BadInputError
from ..scene.grounded_scan import GroundedScan, VoxelField
from ..scene.point_cloud import PointCloud
from .picture_file import write_picture

MOST_SHOWN = 200_000  # points of a scan in the viewer
STAGES = {"coarse": "after scene-level pruning", "middle": "after target-level pruning", "out": "at the output"}


def load_grounding(weights: Path, text: Path | None) -> TSP3DDetector:
    """The trained detector. Raises BadInputError."""
    if not weights.exists():
        raise BadInputError(f"The weights {weights} are not there; give a run of `fewview detect train`.")
    return TSP3DDetector(load_model(weights, str(text or "")))


def grounded_scan(sample: GroundingSample, boxes: Boxes, output: Output, network: TSP3DModel) -> GroundedScan:
    """The scan, the box, and the probabilities of the voxels of each level, as the viewer shows them."""
    config = network.config
    scan = protocol_points(sample.scan, MOST_SHOWN)
    grey = torch.full((len(scan), 3), 160, dtype=torch.uint8)
    colors = grey if scan.colors is None else (scan.colors * 255 + 0.5).byte()
    names = ("Speaks of any object", "Speaks of the sentence's objects")
    fields = [
        _field(name, scored.voxels, keep_probability(scored.logits), output.stages[stage], edge_m, config.voxel_m)
        for name, scored, stage, edge_m in zip(
            names, output.keep, ("coarse", "middle"), config.level_edges_m[:2], strict=False
        )
    ]
    score, edge_m = output.logits.float().sigmoid(), config.level_edges_m[2]
    fields.append(_field("Score of the sentence", output.voxels, score, output.voxels, edge_m, config.voxel_m))
    return GroundedScan(sample.sentence or "", PointCloud(scan.points, colors, metric=True), boxes, tuple(fields))


def _field(name: str, voxels: Tensor, values: Tensor, kept: Tensor, edge_m: float, voxel_m: float) -> VoxelField:
    """Voxels [N, 4] with values [N], of which those in `kept` [K, 4] are kept."""
    there = set(map(tuple, kept.tolist()))
    mask = torch.tensor([tuple(voxel) in there for voxel in voxels.tolist()], dtype=torch.bool)
    centers = voxels[:, 1:].float().cpu() * voxel_m + edge_m / 2
    return VoxelField(name, edge_m, centers, values.float().cpu(), mask)


def write_grounding_picture(
    path: Path, sample: GroundingSample, boxes: Boxes, output: Output, network: TSP3DModel, random_weights: bool = False
) -> None:
    """The scan with the box and the voxels that each pruning left, as a JPEG."""
    voxel = network.config.voxel_m
    stages = {STAGES[name]: voxels[:, 1:].float().cpu() * voxel for name, voxels in output.stages.items()}
    write_picture(path, grounding_picture(sample, boxes, stages, random_weights))
