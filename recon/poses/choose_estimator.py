"""Choice of the pose estimator, by what the person asked for."""

from __future__ import annotations

from pathlib import Path

import torch

from .pointmaps import providers
from .pointmaps.pointmap_estimator import PointmapEstimator
from .pose_estimator import PoseEstimator
from .poses_config import PosesConfig
from .structure_from_motion import StructureFromMotion


def estimator_for(
    weights: Path | None,
    config: PosesConfig = PosesConfig(),  # noqa: B008
    device: torch.device | str = "cpu",
) -> PoseEstimator:
    """The pointmap network with these weights, which are read at once; structure from motion where there are none.

    Raises BadInputError when the weights are not there, not whole, not safe or of another network.
    """
    if weights is None:
        return StructureFromMotion(config)
    return PointmapEstimator(providers.load_provider(weights, device), weights.name, config)
