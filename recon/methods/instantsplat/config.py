"""Settings of InstantSplat: the paper's, and those that suit a number of photographs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ....learn.schedules import log_linear
from ....scene.errors import BadInputError
from ...optimise.dataset import Dataset
from ...optimise.train_config import at_least, fraction
from ..gaussian_splatting.config import GaussianSplattingConfig
from ..method_contract import Inputs, background_of
from .co_visibility import Rule

RATE_HORIZON = 30_000  # steps over which the means' rate falls to a hundredth, however few are taken
FEW_VIEWS = 24  # up to so many photographs are InstantSplat's, wherever their cameras come from


@dataclass(frozen=True)
class InstantSplatConfig(GaussianSplattingConfig):
    """The paper's values (XL, 1000 steps); `instantsplat_config` fills in those that depend on the number of steps."""

    steps: int = 1000  # XL; 200 is S.
    densification: Literal["default", "mcmc", "none"] = "none"  # The number of Gaussians stays as it is.
    sh_degree: int = 0  # The paper's runs are too short for its rule of one more degree each 1000 steps.
    sh_lr: float = 2.5e-2  # Learning rate of the constant colour.
    sh_rest_lr: float = 1.25e-3  # Learning rate of the view-dependent colour.
    scale_lr: float = 5e-2  # Learning rate of the log-scales.
    quat_lr: float = 1e-2  # Learning rate of the quaternions.
    max_gaussians: int = 1_500_000  # More pixels than this are thinned out, confident ones last.
    refine_poses: bool = True  # Optimise the cameras together with the Gaussians.
    pose_rotation_lr: float = 2e-4  # Radians a step; the paper's 1e-4 is of quaternions, which turn by twice as much.
    pose_translation_lr: float = 1e-4  # Scene scales a step.
    confidence_rates: bool = True  # Move a point the faster the less stereo trusted it.
    co_visibility: Rule | Literal["off"] = "projected"  # How pixels that a better view shows, too, are told.
    co_visibility_threshold: float = 0.01  # Relative difference of depth up to which two pixels show the same.
    average_from: float = 1.0  # Fraction of the run from which on the result is the mean of all steps, not the last.
    network_guesses: bool = False  # Where stereo only guesses, take the depth network's guess if it is the safer one.
    border: float = 0.0  # Blurred surroundings beyond each photograph, in its longer sides; the paper has none.

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.densification != "none":
            raise BadInputError("InstantSplat keeps the number of its Gaussians: densification 'none' is expected.")
        if self.co_visibility not in ("projected", "normalised", "off"):
            raise BadInputError(f"co_visibility is '{self.co_visibility}'; projected, normalised or off is expected.")
        at_least(self, 0, "co_visibility_threshold", "border")
        fraction(self, "average_from")


def instantsplat_config(steps: int = 1000, **changes: Any) -> InstantSplatConfig:
    """The paper's values for a run of `steps`: the means' rate falls as if the run had 30,000."""
    means_lr = InstantSplatConfig.means_lr
    final = log_linear(means_lr, means_lr / 100, steps / RATE_HORIZON)
    return InstantSplatConfig(**({"steps": steps, "means_lr_final": final} | changes))


def configure(inputs: Inputs, asked: Mapping[str, Any]) -> InstantSplatConfig:
    """Config for some photographs: the fields that are asked for, and for the rest what suits them and the device."""
    values = few_view_values(inputs.dataset, inputs.on_cpu) | {"background": background_of(inputs.dataset)}
    values["refine_poses"] = inputs.cameras_are_estimated
    values["network_guesses"] &= not inputs.depth_is_given  # by a network that guesses nothing so coarsely
    if "sh_degree" in asked:
        values["sh_every"] = 1 / (asked["sh_degree"] + 1)  # each degree has its share of the run
    return instantsplat_config(**(values | dict(asked)))


def few_view_values(dataset: Dataset, on_cpu: bool) -> dict[str, Any]:
    """Config values for as many training photographs as there are, found on 3, 6 and 12 of one scene.

    Three photographs leave most surfaces to one view each: there few Gaussians, many of them left out of each step,
    keep from fitting it by things that no other view would show. From twelve on the photographs themselves do that.
    """
    views = len(dataset.train)
    pixels = sum(dataset.views[i].width * dataset.views[i].height for i in dataset.train)
    few, some = views <= 4, views <= 8
    values: dict[str, Any] = {
        "gaussian_dropout": 0.4 if few else 0.1 if some else 0.0,
        "border": 0.25 if some else 0.0,
        "sh_degree": 1,
        "sh_every": 0.5,
        "coarse_levels": 1,  # a quarter of the time less, and no difference in what is held out
        "average_from": 0.9,
        "network_guesses": few,
    }
    per_gaussian = 26 if few else 20
    if on_cpu:
        values["max_gaussians"] = min(100_000, max(10_000, pixels // per_gaussian))
    return values
