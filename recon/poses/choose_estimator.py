"""Choice of the pose estimator, by what the person asked for."""

from __future__ import annotations

from pathlib import Path

import torch

from ...learn.bundled_weights import named_by_word
from ...scene.errors import BadInputError
from .networks.aden.aden_weights import BUNDLED
from .networks.proposed_cameras import WithProposals
from .pointmaps import providers
from .pointmaps.pointmap_estimator import PointmapEstimator
from .pose_estimator import PoseEstimator
from .poses_config import PosesConfig
from .structure_from_motion import StructureFromMotion

OWN = Path("aden")  # the word for the weights that come with Fewview


def estimator_for(
    weights: Path | None,
    config: PosesConfig = PosesConfig(),  # noqa: B008
    device: torch.device | str = "cpu",
    pose_network: Path | None = None,
) -> PoseEstimator:
    """The pointmap network with these weights, which are read at once; structure from motion where there are none.

    With `pose_network` an ADen network proposes cameras for what either of them cannot place; the word aden is the one
    that comes with Fewview.
    Raises BadInputError when the weights are not there, not whole, not safe or of another network.
    """
    first: PoseEstimator = StructureFromMotion(config)
    if weights is not None:
        first = PointmapEstimator(providers.load_provider(weights, device), weights.name, config)
    if pose_network is None:
        return first
    network = named_by_word(pose_network, OWN, BUNDLED, may_be_folder=False)
    if not network.exists():
        raise BadInputError(
            f"There is no pose network at {network}: give the word {OWN} for the weights that come with Fewview, or a "
            "file of scripts/train_priors/aden.py."
        )
    return WithProposals.load(first, network, device)
