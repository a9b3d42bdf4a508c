"""Evidence of a data set in the frame that training happens in."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from ...scene.capture import Capture
from ...scene.geometry import Similarity
from ...scene.progress import Progress, silent
from ...scene.run import Run
from ..evidence.evidence_kinds import DEPTH, KINDS, gather
from ..optimise.dataset import Dataset
from ..optimise.normalised_frame import world_from_normalised
from .reconstruct_config import ReconstructConfig


def in_normalised_frame(dataset: Dataset) -> tuple[Dataset, Similarity]:
    """The data set in the frame that training happens in, and the way back to its own."""
    to_world = world_from_normalised(dataset.cameras[list(dataset.train)])
    return dataset.transformed(to_world.inverse()), to_world


def gathered(
    run: Run,
    capture: Capture,
    dataset: Dataset,  # in the run's frame, where people and other programs meet the evidence
    config: ReconstructConfig,
    kinds: Sequence[str],
    world_from_normalised: Similarity,
    progress: Progress = silent,
) -> tuple[dict[str, Any], dict[str, float]]:
    """Evidence by kind, in the normalised frame, and the seconds that each took."""
    evidence, seconds = {}, {}
    for kind in kinds:
        started = time.perf_counter()
        found = gather(kind, run, capture, dataset, config.seed, progress, config.depth_prior)
        evidence[kind] = KINDS[kind].transformed(found, world_from_normalised.inverse())
        seconds["stereo" if kind == DEPTH else kind] = time.perf_counter() - started
    return evidence, seconds
