"""From a placed capture to a method's model, ready for the trainer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ...render.aim import up_direction
from ...scene.capture import Capture
from ...scene.geometry import Similarity
from ...scene.progress import Progress, silent
from ...scene.run import Run
from ...scene.triangle_mesh import Mesh
from ..evidence.evidence_kinds import MONOCULAR_DEPTH, STATIC_MESH
from ..evidence.stable_zero123 import StableZero123
from ..evidence.view_prior import ViewPrior
from ..methods.method_contract import Inputs
from ..methods.registry import Choice, choose, suitable
from ..optimise.contract import Model
from ..optimise.dataset import Dataset
from .asked_settings import asked_settings
from .leave_one_out import Candidate, Comparison, can_leave_one_out, compare
from .normalised_evidence import gathered, in_normalised_frame
from .reconstruct_config import GIVEN, ReconstructConfig, refuse_unused

WORTH_MEASURING = 0.3  # suitability from which on a method that uses a given prior is measured
MOST_CANDIDATES = 3  # each costs some seconds


@dataclass(frozen=True)
class Prepared:
    """A method with its config and its model as training finds it, in the normalised frame."""

    choice: Choice
    model: Model
    dataset: Dataset  # in the normalised frame
    world_from_normalised: Similarity  # back to the frame of the run
    seconds: Mapping[str, float]  # that the evidence took, by kind
    taken: tuple[str, ...] = ()  # kinds of evidence that the method could have done without
    comparison: Comparison | None = None  # of several methods, where the choice was measured


def prepare_method(
    run: Run, capture: Capture, dataset: Dataset, config: ReconstructConfig, progress: Progress = silent
) -> Prepared:
    """Choose the method, gather the evidence that it needs, and make its model.

    What the person asked for is in its config, and for the rest what suits the device and the photographs. Raises
    BadInputError where the method has no such setting, refuses its value, or has no use for something that was given.
    """
    normalised, to_world = in_normalised_frame(dataset)
    inputs = Inputs(
        normalised,
        capture,
        run.cameras_are_estimated(),
        depth_is_given=config.stereo is not None,
        mesh_is_given=config.mesh is not None,
    )
    comparison = _compared(run, capture, dataset, inputs, config, progress)
    if comparison is not None:
        choice, takes = comparison.chosen.choice._replace(reason=comparison.reason), comparison.chosen.takes
    else:
        choice = choose(config.method, inputs, lambda candidate: asked_settings(config, candidate))
        refuse_unused(config, choice.method)
        given = {kind for option, kind in GIVEN.items() if getattr(config, option) is not None}
        takes = tuple(kind for kind in choice.method.takes if kind in given)
    kinds = (*choice.method.needs, *choice.method.asks(choice.config), *takes)
    evidence, seconds = gathered(run, capture, dataset, config, kinds, to_world, progress)
    prior = None
    if config.view_prior is not None:
        prior = _view_prior(config.view_prior, evidence[STATIC_MESH], normalised, config.seed)
    model = choice.method.initialise(replace(inputs, evidence=evidence, view_prior=prior), choice.config)
    return Prepared(choice, model, normalised, to_world, seconds, takes, comparison)


def _view_prior(folder: Path, mesh: Mesh, dataset: Dataset, seed: int) -> ViewPrior:
    """The prior of a folder, around the middle of the object's mesh."""
    cameras = dataset.cameras[list(dataset.train)]
    low, high = mesh.vertices.amin(0), mesh.vertices.amax(0)
    up = up_direction(cameras).cpu() if mesh.up is None else torch.tensor(mesh.up)
    return StableZero123.load(folder, cameras.K.device).prior((low + high).cpu() / 2, up, seed)


def _compared(
    run: Run, capture: Capture, dataset: Dataset, inputs: Inputs, config: ReconstructConfig, progress: Progress
) -> Comparison | None:
    """The measured choice between methods with and without a prior that the person gives; None where none is due."""
    measurable = config.method == "auto" and config.depth_prior is not None and can_leave_one_out(dataset)
    if not measurable or inputs.depth_is_given or inputs.moves:
        return None
    found = suitable(inputs, lambda candidate: asked_settings(config, candidate))
    best = found[0][1]
    candidates = [Candidate(best)]
    for score, choice in found:
        if MONOCULAR_DEPTH in choice.method.takes:
            candidates.append(Candidate(choice, (MONOCULAR_DEPTH,)))
        elif MONOCULAR_DEPTH in choice.method.needs and score >= WORTH_MEASURING and choice.method is not best.method:
            candidates.append(Candidate(choice))
    if len(candidates) == 1:
        return None
    return compare(run, capture, dataset, inputs, config, candidates[:MOST_CANDIDATES], progress)
