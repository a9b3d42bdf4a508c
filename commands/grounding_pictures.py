"""A detector of sentences at work: the box, and a picture of it."""

from __future__ import annotations

from pathlib import Path

import torch

from ..detect.measure import Predictor
from ..detect.tasks.grounding_picture import grounding_picture
from ..detect.tasks.grounding_samples import GroundingSample
from ..detect.tsp3d.grounding_detector import TSP3DDetector
from ..detect.tsp3d.model import Output, TSP3DModel
from ..detect.tsp3d.tsp3d_weights import load_model
from ..learn.precision import mixed
from ..scene.boxes import Boxes
from ..scene.errors import BadInputError
from .picture_file import write_picture

STAGES = {"coarse": "after scene-level pruning", "middle": "after target-level pruning", "out": "at the output"}


def load_grounding(weights: Path, text: Path | None) -> TSP3DDetector:
    """The trained detector. Raises BadInputError."""
    if not weights.exists():
        raise BadInputError(f"The weights {weights} are not there; give a run of `fewview detect train`.")
    return TSP3DDetector(load_model(weights, str(text or "")))


@torch.no_grad()
def grounded(predictor: Predictor, sample: GroundingSample) -> tuple[Boxes, Output]:
    """(the box, on the CPU, and what the network gave for it)"""
    network = predictor.detector.network.eval()
    batch = predictor.batch(sample)
    with mixed(predictor.device, predictor.mixed_precision):
        output: Output = network(batch)
    return predictor.detector.decode(output)[0].to("cpu"), output


def write_grounding_picture(
    path: Path, sample: GroundingSample, boxes: Boxes, output: Output, network: TSP3DModel, random_weights: bool = False
) -> None:
    """The scan with the box and the voxels that each pruning left, as a JPEG."""
    voxel = network.config.voxel_m
    stages = {STAGES[name]: voxels[:, 1:].float().cpu() * voxel for name, voxels in output.stages.items()}
    write_picture(path, grounding_picture(sample, boxes, stages, random_weights))
