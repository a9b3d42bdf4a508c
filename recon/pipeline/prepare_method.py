"""From a placed capture to a method's model, ready for the trainer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ...scene.capture import Capture
from ...scene.files import read_json
from ...scene.progress import Progress, silent
from ...scene.run import Run
from ..evidence.evidence_kinds import DEPTH, gather
from ..methods.method_contract import Inputs, Method
from ..methods.registry import check_settings, choose, method, method_names
from ..methods.setting_text import parse_settings
from ..optimise.contract import Model
from ..optimise.dataset import Dataset
from ..optimise.train_config import TrainConfig
from .reconstruct_config import ReconstructConfig


@dataclass(frozen=True)
class Prepared:
    """A method with its config and its model as training finds it."""

    method: Method
    reason: str  # why it was taken, a sentence
    config: TrainConfig
    model: Model
    seconds: Mapping[str, float]  # that the evidence took, by kind
    notes: tuple[str, ...]  # sentences for the person


def prepare_method(
    run: Run, capture: Capture, dataset: Dataset, config: ReconstructConfig, progress: Progress = silent
) -> Prepared:
    """Choose the method, gather the evidence that it needs, and make its model.

    What the person asked for is in its config, and for the rest what suits the device and the photographs. Raises
    BadInputError where the method has no such setting, or refuses its value.
    """
    inputs = Inputs(dataset, capture, cameras_are_estimated(run), config.stereo is not None)
    if config.method == "auto":
        chosen, because = choose(inputs, lambda candidate: asked_settings(config, candidate))
        reason = f"{chosen.name} was chosen because {because}."
    else:
        chosen, reason = method(config.method), f"{config.method} was asked for."
    asked = asked_settings(config, chosen)
    check_settings(chosen, asked)
    settings = chosen.configure(inputs, asked)
    evidence, seconds = {}, {}
    for kind in chosen.needs:
        started = time.perf_counter()
        evidence[kind] = gather(kind, run, capture, dataset, config.seed, progress)
        seconds["stereo" if kind == DEPTH else kind] = time.perf_counter() - started
    model = chosen.initialise(replace(inputs, evidence=evidence), settings)
    return Prepared(chosen, reason, settings, model, seconds, time_notes(inputs, chosen))


def asked_settings(config: ReconstructConfig, chosen: Method) -> dict[str, Any]:
    """The fields of the method's config that the person has set, by option or by --set, which wins.

    Raises BadInputError for a --set that the method does not have, or of another type.
    """
    asked: dict[str, Any] = {"seed": config.seed}
    for name in ("steps", "max_gaussians", "sh_degree"):
        if getattr(config, name) is not None:
            asked[name] = getattr(config, name)
    if config.densify != "auto":
        asked["densification"] = config.densify
    if config.refine_poses != "auto":
        asked["refine_poses"] = config.refine_poses == "on"
    return asked | parse_settings(chosen, config.set)


def cameras_are_estimated(run: Run) -> bool:
    """True where the run's cameras were found from its photographs, and not given."""
    return run.poses_path.is_file() and read_json(run.poses_path).get("cameras") == "estimated"


def time_notes(inputs: Inputs, chosen: Method) -> tuple[str, ...]:
    """A sentence where the photographs were taken at different times and the method takes the scene as still."""
    if not inputs.moves or chosen.uses_time:
        return ()
    following = [name for name in method_names() if method(name).uses_time]
    hint = f"methods that follow time: {', '.join(following)}." if following else "no method here follows time yet."
    return (
        f"The photographs were taken at different times, {inputs.capture.duration_s:.4g} from first to last (seconds "
        f"where the source says so), and {chosen.name} takes the scene as still: what moved is blurred or missing; "
        f"{hint}",
    )
