"""Settings of the RDG-GS-style method: the reference design's, and for minutes on a processor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ....scene.errors import BadInputError
from ...optimise.rounds import Rounds
from ...optimise.train_config import at_least, fraction
from ..gaussian_splatting.config import GaussianSplattingConfig
from ..method_contract import Inputs, background_of

STEPS_CPU = 1500
MAX_GAUSSIANS = 200_000
PIXELS_PER_START = 32  # of the training photographs: Gaussians to start from; more only memorise them
UNPOOLING_UNTIL = 0.2  # fraction of the run (FSGS: 2000 of 10,000 iterations)
GROWTH, GROWTH_CPU = 3.0, 1.5  # times as many Gaussians as at the start, at most


@dataclass(frozen=True)
class RdgGsConfig(GaussianSplattingConfig):
    """FSGS's schedules for 10,000 steps with relative depth guidance on top. Moments are fractions of `steps`.

    prior = coarse, guidance = off, sampling = unpooling and start = stereo are the base system; prior = off besides
    leaves plain 3DGS.
    """

    preset: Literal["auto", "paper", "quick"] = "auto"  # quick on a CPU, paper on a GPU, for what is not asked.
    steps: int = 10_000
    sh_every: float = 0.05
    densify_from: float = 0.05
    densify_until: float = 1.0
    densify_every: int = 100
    grow_gradient: float = 5e-4
    opacity_resets: int = 3
    max_gaussians: int = MAX_GAUSSIANS
    start: Literal["stereo", "prior"] = "prior"  # Gaussians start at the depth of stereo, or of the prior.
    start_gaussians: int = 50_000  # Behind so many pixels at most, those that stereo trusts first.
    confidence_rates: bool = False  # Move a Gaussian the faster the less its depth was trusted (InstantSplat).
    border: float = 0.0  # Blurred surroundings beyond each photograph, in its longer sides.
    # -- depth of the training views
    prior: Literal["off", "coarse", "refined"] = "refined"  # Relative depth as it came (FSGS), or refined.
    depth_from: float = 0.05  # Fraction of the run after which depth has a say.
    depth_ramp: float = 0.05  # Fraction of the run over which its weight rises to the whole.
    depth_until: float = 0.95  # Fraction of the run after which hardly any of it is left.
    depth_late: float = 0.02  # What is left of it then.
    pearson_weight: float = 0.05  # Weight of 1 - correlation with the prior over the whole picture.
    local_weight: float = 0.1  # refined: weight of the mean of the same over tiles.
    edge_weight: float = 0.01  # refined: weight of the difference of gradients at edges of the photograph.
    # -- relative guidance
    guidance: Literal["off", "relative", "absolute"] = "relative"  # Correlations of patches, or L1 on the prior.
    anchors: int = 256  # Cells of 8 pixels that are compared with all those near them in a step.
    relative_every: int = 1  # Steps between two looks, which weigh that much more.
    relative_weight: float = 0.1  # Weight of the correlations within a view (and of the L1 where that is asked for).
    cross_weight: float = 0.05  # Weight of the correlations with another view.
    relative_pseudo_weight: float = 0.03  # Weight of the correlations within views between photographs.
    # -- views between photographs
    pseudo_every: int = 10  # Steps between two of them.
    pseudo_weight: float = 0.5  # Weight of 1 - correlation with the priors of both photographs, at those steps.
    pseudo_from: float = 0.2  # Fraction of the run from which they are drawn; the weight rises over depth_ramp.
    pseudo_until: float = 0.95  # And up to which.
    # -- where Gaussians are added besides
    sampling: Literal["off", "unpooling", "adaptive"] = "adaptive"  # FSGS's midpoints, or sparse slow regions.
    sampling_until: float = 0.5  # adaptive: fraction of the run; unpooling ends after 0.2.
    sampling_share: float = 0.05  # adaptive: share of the Gaussians that get new ones at a time.
    growth: float = GROWTH  # adaptive: at most so many times the Gaussians of the start.

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "anchors", "relative_every", "pseudo_every", "start_gaussians", "growth")
        at_least(self, 0, "border", "pearson_weight", "local_weight", "edge_weight", "relative_weight", "cross_weight")
        at_least(self, 0, "relative_pseudo_weight", "pseudo_weight")
        fraction(self, "depth_from", "depth_ramp", "depth_until", "depth_late", "pseudo_from", "pseudo_until")
        fraction(self, "sampling_until", "sampling_share")
        choices = {
            "preset": ("auto", "paper", "quick"), "start": ("stereo", "prior"), "prior": ("off", "coarse", "refined"),
            "guidance": ("off", "relative", "absolute"), "sampling": ("off", "unpooling", "adaptive"),
        }  # fmt: skip
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise BadInputError(f"{name} is '{getattr(self, name)}'; {', '.join(known)} is expected.")

    @property
    def sampling_rounds(self) -> Rounds:
        """The steps at which Gaussians are added by `sampling`."""
        until = self.sampling_until if self.sampling == "adaptive" else UNPOOLING_UNTIL
        return Rounds(int(self.densify_from * self.steps), int(until * self.steps), self.densify_every)

    def depth_at(self, step: int) -> bool:
        """True where a step has depth losses of its own view."""
        return self.depth_factor(step) > 0 and (self.prior != "off" or self.guidance != "off")

    def depth_factor(self, step: int) -> float:
        """Factor on all depth losses of the training views at `step`."""
        done = step / self.steps
        return self.depth_late if done >= self.depth_until else _risen(done - self.depth_from, self.depth_ramp)

    def pseudo_at(self, step: int) -> bool:
        """True where a step draws a view between photographs."""
        between = self.pseudo_from * self.steps <= step < self.pseudo_until * self.steps
        return between and step % self.pseudo_every == 0 and self.prior != "off" and self._pseudo_weights > 0

    def pseudo_factor(self, step: int) -> float:
        """Factor on the losses of views between photographs at `step`."""
        return _risen(step / self.steps - self.pseudo_from, self.depth_ramp)

    @property
    def _pseudo_weights(self) -> float:
        return self.pseudo_weight + (self.relative_pseudo_weight if self.guidance == "relative" else 0)

    @classmethod
    def quick(cls, **changes: Any) -> RdgGsConfig:
        """Values for minutes on a processor: InstantSplat's rates, few of everything that is sampled.

        Found on photographs of one scene that are not held out, at 135 x 240 and 600 steps.
        """
        values: dict[str, Any] = {
            "steps": STEPS_CPU, "opacity_resets": 0, "densify_until": 0.75, "densify_every": 50, "anchors": 128,
            "relative_every": 4, "sh_degree": 1, "sh_every": 0.5,
            "sh_lr": 2.5e-2, "sh_rest_lr": 1.25e-3, "scale_lr": 5e-2, "quat_lr": 1e-2, "confidence_rates": True,
        }  # fmt: skip
        return cls(**(values | changes))


def configure(inputs: Inputs, asked: Mapping[str, Any]) -> RdgGsConfig:
    """Config for some photographs: the fields that are asked for, and for the rest what suits them and the device.

    Raises BadInputError for a single photograph, and for cameras that are all in one place.
    """
    views = len(inputs.dataset.train)
    if views < 2:
        raise BadInputError(
            f"rdg_gs has {views} photograph to train on; at least 2 with different cameras are expected."
        )
    centers = inputs.dataset.cameras[list(inputs.dataset.train)].centers
    if float((centers - centers[0]).norm(dim=-1).max()) <= 1e-6 * max(1.0, float(centers.norm(dim=-1).max())):
        raise BadInputError(
            f"The {views} photographs for rdg_gs were all taken from one place, which says nothing of depth; those "
            "from different places are expected."
        )
    values: dict[str, Any] = {"background": background_of(inputs.dataset)}
    quick = asked.get("preset", "auto") == "quick" or (asked.get("preset", "auto") == "auto" and inputs.on_cpu)
    if not quick:
        return RdgGsConfig(**(values | dict(asked)))
    few, some = views <= 4, views <= 8
    pixels = sum(inputs.dataset.views[i].width * inputs.dataset.views[i].height for i in inputs.dataset.train)
    values["gaussian_dropout"] = 0.4 if few else 0.1 if some else 0.0
    values["border"] = 0.25 if some else 0.0
    values["start_gaussians"] = min(100_000, max(10_000, pixels // PIXELS_PER_START))
    values["max_gaussians"] = int(GROWTH_CPU * values["start_gaussians"])
    return RdgGsConfig.quick(**(values | dict(asked)))


def _risen(past: float, ramp: float) -> float:
    """From 0 to 1 while `past` goes from 0 to `ramp`."""
    return 0.0 if past < 0 else 1.0 if ramp == 0 else min(1.0, past / ramp)
