"""From a placed capture to a method's model, ready for the trainer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ...scene.capture import Capture
from ...scene.geometry import Similarity
from ...scene.progress import Progress, silent
from ...scene.run import Run
from ..evidence.evidence_kinds import DEPTH, KINDS, gather
from ..methods.method_contract import Inputs
from ..methods.registry import Choice, choose
from ..optimise.contract import Model
from ..optimise.dataset import Dataset
from ..optimise.normalised_frame import world_from_normalised
from .asked_settings import asked_settings
from .reconstruct_config import ReconstructConfig, refuse_unused


@dataclass(frozen=True)
class Prepared:
    """A method with its config and its model as training finds it, in the normalised frame."""

    choice: Choice
    model: Model
    dataset: Dataset  # in the normalised frame
    world_from_normalised: Similarity  # back to the frame of the run
    seconds: Mapping[str, float]  # that the evidence took, by kind


def prepare_method(
    run: Run, capture: Capture, dataset: Dataset, config: ReconstructConfig, progress: Progress = silent
) -> Prepared:
    """Choose the method, gather the evidence that it needs, and make its model.

    What the person asked for is in its config, and for the rest what suits the device and the photographs. Raises
    BadInputError where the method has no such setting, refuses its value, or has no use for something that was given.
    """
    to_world = world_from_normalised(dataset.cameras[list(dataset.train)])
    normalised = dataset.transformed(to_world.inverse())
    inputs = Inputs(
        normalised,
        capture,
        run.cameras_are_estimated(),
        depth_is_given=config.stereo is not None,
        mesh_is_given=config.mesh is not None,
    )
    choice = choose(config.method, inputs, lambda candidate: asked_settings(config, candidate))
    refuse_unused(config, choice.method)
    evidence, seconds = {}, {}
    for kind in choice.method.needs:
        started = time.perf_counter()
        # Kept in the run's frame, where people and other programs meet it.
        found = gather(kind, run, capture, dataset, config.seed, progress, config.depth_prior)
        evidence[kind] = KINDS[kind].transformed(found, to_world.inverse())
        seconds["stereo" if kind == DEPTH else kind] = time.perf_counter() - started
    model = choice.method.initialise(replace(inputs, evidence=evidence), choice.config)
    return Prepared(choice, model, normalised, to_world, seconds)
