"""Settings of SC-GS: as released, and for a run of minutes on a processor."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ....scene.errors import BadInputError
from ...optimise.rounds import Rounds
from ...optimise.train_config import at_least, fraction
from ..gaussian_splatting.config import MAX_GAUSSIANS_CPU, MAX_GAUSSIANS_CUDA
from ..method_contract import Inputs
from ..moving_capture import is_synthetic, require_times
from ..moving_config import MovingConfig, values_for

STEPS_CPU = 12_000
COARSE_SIDE_PX = 50  # longer side of cut-out photographs when a quick run begins


@dataclass(frozen=True)
class ScGsConfig(MovingConfig):
    """The released values, for 90,000 steps. Lengths of control points are in network units (see `MovingFrame`).

    The first part of the run, `node_steps`, trains control points alone; all moments of the Gaussians' own settings
    are fractions of the second part.
    """

    preset: Literal["auto", "paper", "quick"] = "auto"  # quick on a CPU, as released on a GPU, for what is not asked.
    steps: int = 90_000  # Both parts.
    rate_falls: float = 0.375  # Fraction of the second part over which the means' rate falls.
    sh_every: float = 1 / 80  # Fraction of the second part after which the degree rises by one.
    densify_from: float = 500 / 80_000
    densify_until: float = 0.625
    opacity_resets: int = 16
    start: Literal["points", "nodes"] = "points"  # Gaussians begin at the capture's points, or around control points.
    # -- control points
    nodes: int = 512  # Control points.
    neighbours: int = 3  # Control points that carry a Gaussian.
    hyper_dim: int = 8  # Dimensions in which what is near can lie apart, besides the three of space.
    neighbours_every: int = 1  # Steps after which the nearest control points are looked for again.
    local_frame: bool = True  # Gaussians turn around their control points; else they are only shifted with them.
    rotation: Literal["residual", "single"] = "residual"  # Gaussians turn by a residual, or as control points (paper).
    predict_opacity: bool = False  # Control points change opacities.
    predict_color: bool = False  # Control points change colours.
    motion_mask: bool = False  # Each Gaussian learns how much of the motion it takes part in.
    network_rate_falls: float = 0.5  # Fraction of a part over which the network's rate falls.
    dense_network_lr: float = 8e-4  # Learning rate of the network at the start of the second part.
    node_lr: float = 8e-4  # Learning rate of the control points' own values; of further dimensions network units.
    hyper_lr: float = 2.5e-3  # Learning rate of the Gaussians' further dimensions, network units.
    # -- first part: control points as round Gaussians of one size
    node_steps: float = 1 / 9  # Fraction of the run; 0 for none, then control points lie at starting points.
    node_still: float = 0.2  # Fraction of the first part in which nothing moves.
    node_sampling: float = 0.75  # Fraction of the first part after which `nodes` of them are chosen.
    node_candidates: int = 8192  # At most so many before that.
    node_prune_opacity: float = 5e-3  # Those below this opacity become no control points.
    # In the squared error the best still picture of what is in a place now and then is its mean; in an absolute one, as
    # the image loss has it, that is its median, which is nothing.
    node_loss: Literal["image", "squared"] = "image"  # Error of the pictures by which control points are found.
    elastic_weight: float = 1e-3  # Weight of how much edges between control points change their length.
    acceleration_weight: float = 1e-5  # Weight of how unevenly control points move.
    node_arap_weight: float = 1e-2  # Weight of the as-rigid-as-possible loss in the first part.
    # -- second part
    still: float = 3 / 80  # Fraction of the second part in which the control points' motion stands.
    arap: Literal["released", "paper", "off"] = "released"  # Neighbours by place, by trajectory, or no such loss.
    arap_weight: float = 1e-4  # Weight of the as-rigid-as-possible loss at the start of the second part.
    arap_weight_final: float = 1e-5  # Reached between a sixteenth and an eighth of the second part.
    arap_until: float = 0.25  # Fraction of the second part.
    arap_every: int = 1  # Steps between two looks at it, which weigh that much more.
    flow_weight: float = 0.0  # Weight of the loss on a film's optical flow; 0.1 as released, where flow is given.
    flow_weight_final: float = 1e-3  # Reached between `flow_falls` and `flow_until`.
    flow_falls: float = 15 / 80  # Fraction of the second part.
    flow_until: float = 25 / 80  # Fraction of the second part.
    flow_every: int = 1  # Steps between two looks at it, which weigh that much more.
    adaptive: Literal["once", "periodic", "off"] = "once"  # When control points are added and removed.
    adaptive_at: float = 0.125  # once: fraction of the second part.
    adaptive_every: float = 1 / 16  # periodic: fraction of the second part, up to five sixteenths of it.

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "nodes", "neighbours", "neighbours_every", "arap_every", "flow_every", "node_candidates")
        at_least(
            self, 0, "hyper_dim", "node_lr", "dense_network_lr", "hyper_lr", "elastic_weight", "acceleration_weight"
        )
        at_least(self, 0, "node_arap_weight", "arap_weight", "arap_weight_final", "flow_weight")
        at_least(self, 1e-9, "flow_weight_final")
        fraction(self, "rate_falls", "network_rate_falls", "node_steps", "node_still", "node_sampling")
        fraction(self, "node_prune_opacity", "arap_until", "adaptive_at", "adaptive_every", "flow_falls", "flow_until")
        choices = {
            "preset": ("auto", "paper", "quick"), "start": ("points", "nodes"), "rotation": ("residual", "single"),
            "arap": ("released", "paper", "off"), "adaptive": ("once", "periodic", "off"),
            "node_loss": ("image", "squared"),
        }  # fmt: skip
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise BadInputError(f"{name} is '{getattr(self, name)}'; {', '.join(known)} is expected.")
        if self.neighbours > 16 or self.result_moments == 1:
            raise BadInputError(
                f"neighbours from 1 to 16 and result_moments 0 or from 2 on are expected, found {self.neighbours} and "
                f"{self.result_moments}."
            )
        if self.start == "nodes" and self.first_part == 0:
            raise BadInputError("start is 'nodes', which the first part trains, and node_steps leaves it no step.")

    @property
    def first_part(self) -> int:
        """Steps of the first part."""
        return int(self.node_steps * self.steps)

    @property
    def second_part(self) -> int:
        return self.steps - self.first_part

    def in_second_part(self, share: float) -> int:
        """Step of the run at a share of the second part."""
        return self.first_part + int(share * self.second_part)

    def degree_at(self, step: int) -> int:
        interval = self.sh_every * self.second_part
        done = max(0, step - self.first_part)
        return self.sh_degree if interval == 0 else min(self.sh_degree, int(done / interval))

    @property
    def rounds(self) -> Rounds:
        first, last = self.in_second_part(self.densify_from), self.in_second_part(self.densify_until)
        return Rounds(first, last, self.densify_every)

    @classmethod
    def quick(cls, **changes: Any) -> ScGsConfig:
        """Values for minutes on a processor.

        Found on an animated, rendered animal and on generated moving shapes.
        """
        values: dict[str, Any] = {
            "steps": STEPS_CPU, "net_depth": 4, "net_width": 128, "position_bands": 4,
            "network_lr": 3e-3, "dense_network_lr": 1e-3, "network_lr_final": 1e-4,
            "network_rate_falls": 1.0, "neighbours_every": 50, "arap_every": 16, "node_candidates": 1024,
            "node_steps": 0.4, "node_still": 0.1, "node_loss": "squared", "node_prune_opacity": 0.05,
            "elastic_weight": 0.0, "acceleration_weight": 0.0, "node_arap_weight": 0.0,
            "start": "nodes", "random_points": 10_000, "max_gaussians": 30_000,
            "opacity_lr": 0.02, "opacity_resets": 0, "densify_from": 0.05, "still": 0.02, "sh_every": 0.2,
            "rate_falls": 1.0, "coarse_levels": 2, "coarse_until": 0.5,
        }  # fmt: skip
        return cls(**(values | changes))


def configure(inputs: Inputs, asked: Mapping[str, Any]) -> ScGsConfig:
    """Config for some photographs: the fields that are asked for, and for the rest what suits them and the device."""
    require_times(inputs.capture, "sc_gs")
    values = values_for(inputs)
    if is_synthetic(inputs):
        values["random_background"] = True  # nothing dark can hide before black
    quick = asked.get("preset", "auto") == "quick" or (asked.get("preset", "auto") == "auto" and inputs.on_cpu)
    if quick and is_synthetic(inputs):
        values["coarse_levels"] = _halvings(inputs)
    if not quick:
        values["max_gaussians"] = MAX_GAUSSIANS_CPU if inputs.on_cpu else MAX_GAUSSIANS_CUDA
    return (ScGsConfig.quick if quick else ScGsConfig)(**(values | dict(asked)))


def _halvings(inputs: Inputs) -> int:
    """Number of times that photographs of any size are halved at the start: to some `COARSE_SIDE_PX` pixels.

    A thin part finds its way only where it overlaps itself from one photograph to the next, in pixels of the start.
    """
    side = max(max(view.width, view.height) for view in inputs.dataset.views)
    return max(0, round(math.log2(side / COARSE_SIDE_PX)))
