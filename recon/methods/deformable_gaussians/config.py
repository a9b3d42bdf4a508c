"""Settings of Deformable 3D Gaussians."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..method_contract import Inputs
from ..moving_capture import require_times
from ..moving_config import MovingConfig, values_for

STEPS_CPU, GAUSSIANS_CPU = 3000, 15_000


@dataclass(frozen=True)
class DeformableGaussiansConfig(MovingConfig):
    """The released values, for 40,000 steps; noise of moments falls to nothing in half the run."""

    steps: int = 40_000
    sh_every: float = 0.025
    densify_from: float = 0.0125
    densify_until: float = 0.375
    opacity_resets: int = 4


def configure(inputs: Inputs, asked: Mapping[str, Any]) -> DeformableGaussiansConfig:
    """Config for some photographs: the fields that are asked for, and for the rest what suits them and the device."""
    require_times(inputs.capture, "deformable")
    values = values_for(inputs)
    if inputs.on_cpu:  # the network sees every Gaussian at every step
        values |= {
            "steps": STEPS_CPU, "max_gaussians": GAUSSIANS_CPU, "random_points": 5000, "opacity_resets": 0,
            "net_depth": 4, "net_width": 128, "position_bands": 4, "network_lr": 3e-3, "network_lr_final": 1e-4,
            "coarse_levels": 2, "coarse_until": 0.5,
        }  # fmt: skip
    return DeformableGaussiansConfig(**(values | dict(asked)))
