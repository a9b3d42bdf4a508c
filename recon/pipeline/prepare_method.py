"""From a placed capture to a method's model, ready for the trainer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ...render.aim import up_direction
from ...scene.capture import Capture
from ...scene.errors import BadInputError
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
from .leave_one_out import MOST_VIEWS, Candidate, Comparison, can_leave_one_out, compare
from .normalised_evidence import gathered, in_normalised_frame
from .reconstruct_config import GIVEN, ReconstructConfig, refuse_unused

WORTH_MEASURING = 0.3  # suitability from which on a method is measured beside the one that suits best
# Photographs from which on methods are compared. Of three, what two show ranks methods by luck: on two scenes it chose
# one that was 0.4 and 1.6 dB worse on held-out photographs; from four on it was right on three of three.
FEWEST_FOR_METHODS = 4
MOST_CANDIDATES = 3  # where a prior alone is the reason to measure; each costs some seconds


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
    """The measured choice between methods, and with and without a prior that is given; None where none is due.

    Raises BadInputError where a comparison was asked for that cannot be made.
    """
    if config.compare_methods:
        _check_comparable(dataset, inputs)
    elif (
        config.method != "auto"
        or config.depth_prior is None
        or not can_leave_one_out(dataset)
        or inputs.depth_is_given
        or inputs.moves
    ):
        return None
    found = suitable(inputs, lambda candidate: asked_settings(config, candidate))
    candidates = _candidates(found, given=config.depth_prior is not None, all_methods=config.compare_methods)
    if len(candidates) == 1:
        return None
    return compare(run, capture, dataset, inputs, config, candidates, progress)


def refuse_few_to_compare(photographs: int) -> None:
    """Raise BadInputError where methods cannot be compared on so few training photographs, however they are placed."""
    if photographs < FEWEST_FOR_METHODS:
        raise _incomparable(f"{photographs} training photographs")


def _check_comparable(dataset: Dataset, inputs: Inputs) -> None:
    refuse_few_to_compare(len(dataset.train))
    if len(dataset.train) > MOST_VIEWS:
        raise _incomparable(f"{len(dataset.train)} training photographs")
    if inputs.moves:
        raise _incomparable("photographs of several moments")
    if inputs.depth_is_given:
        raise _incomparable("depth that was made from all of them")


def _incomparable(found: str) -> BadInputError:
    return BadInputError(
        f"--compare-methods fits each method without one of {FEWEST_FOR_METHODS} to {MOST_VIEWS} photographs of one "
        f"moment; found {found}: leave it out, or name a method with --method."
    )


def _candidates(found: list[tuple[float, Choice]], *, given: bool, all_methods: bool) -> list[Candidate]:
    """Candidates to measure, the most suitable first; `found` are choices with their suitability, best first."""
    best = found[0][1]
    candidates = [Candidate(best)]
    for score, choice in found:
        if given and MONOCULAR_DEPTH in choice.method.takes:
            candidates.append(Candidate(choice, (MONOCULAR_DEPTH,)))
        if score < WORTH_MEASURING or choice.method is best.method:
            continue
        if all_methods or MONOCULAR_DEPTH in choice.method.needs:
            candidates.append(Candidate(choice))
    return candidates if all_methods else candidates[:MOST_CANDIDATES]
