"""Settings of analysis by synthesis as a whole."""

from __future__ import annotations

from dataclasses import dataclass, field

from ....scene.errors import BadInputError
from .joint_fit import JointFitConfig
from .outlier_test import OutlierConfig
from .pose_rounds import RoundsConfig
from .pose_search import SearchConfig


@dataclass(frozen=True)
class SynthesisConfig:
    """Settings of analysis by synthesis."""

    side_px: int = 64  # of the square pictures of the object
    fit: JointFitConfig = field(default_factory=JointFitConfig)
    trial: JointFitConfig = field(default_factory=lambda: JointFitConfig(steps=150))  # of objects that are compared
    search: SearchConfig = field(default_factory=SearchConfig)
    rounds: RoundsConfig = field(default_factory=RoundsConfig)
    outliers: OutlierConfig = field(default_factory=OutlierConfig)
    # Share of the errors near the given camera of a removed view that a camera from elsewhere may have, to be taken.
    advantage: float = 0.8
    # Squared error, over the best one, up to which another mode of a removed view's search is tried with all views.
    rival: float = 4.0
    # Share of the views' mean distance that must go away for removed views to be put back in turn instead of at once.
    # On six objects with two outliers each, none of those of BENCHMARKS.md's table, turns that mended a camera had
    # gained 6 to 16 % (one of them for the loss of another), those that did not 2 % at most.
    turns_gain: float = 0.05
    left_out_scores: bool = True  # whether each view is also measured in an object made without it

    def __post_init__(self) -> None:
        if self.side_px < 32:
            raise BadInputError(f"side_px is {self.side_px}; at least 32 pixels are expected.")
