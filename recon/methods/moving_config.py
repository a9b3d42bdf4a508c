"""`MovingConfig`: the settings that all methods have whose network moves Gaussians."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..optimise.train_config import at_least, fraction
from .gaussian_splatting.config import GaussianSplattingConfig
from .method_contract import Inputs, background_of
from .moving_capture import is_synthetic


@dataclass(frozen=True)
class MovingConfig(GaussianSplattingConfig):
    """Values as released for synthetic captures; `values_for` has those that differ for photographs."""

    means_lr: float = 1.8e-4  # 8e-4 in the unit of synthetic captures.
    means_lr_final: float = 1.8e-6
    densify_every: int = 100
    random_points: int = 100_000
    max_gaussians: int = 1_000_000
    net_depth: int = 8  # Layers of the network.
    net_width: int = 256  # Channels of each.
    position_bands: int = 10  # Frequencies of a place.
    time_bands: int = 6  # Frequencies of a moment; 10 for photographs.
    time_network: bool = True  # Moments go through a small network first; off for photographs.
    network_lr: float = 8e-4  # Learning rate of the network at the start.
    network_lr_final: float = 1.6e-6  # And when it has fallen.
    time_noise: float = 0.0  # Standard deviation of the moments' noise at the start, frame intervals.
    still: float = 0.075  # Fraction of the run (sc_gs: of its second part) in which nothing moves.
    result_moments: int = 0  # Moments at which the motion is kept; 0 for twice the photographs' own, at most 300.

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "net_depth", "net_width")
        at_least(self, 0, "position_bands", "time_bands", "network_lr", "network_lr_final", "time_noise")
        at_least(self, 0, "result_moments")
        fraction(self, "still")


def values_for(inputs: Inputs) -> dict[str, Any]:
    """Values that depend on the photographs: exact renderings, or photographs whose moments need smoothing."""
    values: dict[str, Any] = {"background": background_of(inputs.dataset)}
    if not is_synthetic(inputs):
        values |= {"time_network": False, "time_bands": 10, "time_noise": 0.1}
    return values
