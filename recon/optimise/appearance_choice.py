"""Decision whether photographs disagree in their colours so much that each gets a transform of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .dataset import Dataset
from .photograph_gains import PhotographGains, photograph_gains
from .train_config import TrainConfig

# From this disagreement on `auto` takes transforms. Tuned on the demo, banana, fox, Sceaux and a street in Lund, each
# with all of its photographs and 3, 6 and 12 of them: one camera on automatic exposure gives 0.00 to 0.18. The same
# photographs with exposures from 0.5 to 1.6 times, other white balance and people (eight draws of each, 6 and 12
# photographs) gave 0.13 to 0.63, at most four of eighty below the threshold.
DISAGREEMENT = 0.22


@dataclass(frozen=True)
class AppearanceChoice:
    """The decision for a run, with its reason."""

    used: bool
    reason: str  # a sentence
    gains: PhotographGains | None = None  # where they were measured


def choose_appearance(dataset: Dataset, config: TrainConfig) -> AppearanceChoice:
    """The decision for some photographs: what was asked for, or by how far the colours of shared points differ."""
    if config.appearance == "off":
        return AppearanceChoice(False, "Colours of photographs are taken as they are, as was asked for.")
    if len(dataset.train) < 2:
        return AppearanceChoice(False, "There is one photograph, whose colours have nothing to differ from.")
    gains = photograph_gains(dataset)
    linked = int(gains.linked.sum())
    if linked < 2:
        found = "The photographs share too few points to tell how their colours differ"
    else:
        percent = 100 * math.expm1(math.sqrt(2) * gains.disagreement)
        found = f"Photographs that show the same differ by {percent:.0f} % in its colours"
    if config.appearance == "on":
        return AppearanceChoice(True, f"{found}; a colour transform of each photograph was asked for.", gains)
    if gains.disagreement < DISAGREEMENT:
        return AppearanceChoice(False, f"{found}: too little for a colour transform of each photograph.", gains)
    return AppearanceChoice(
        True,
        f"{found}, as with different cameras or exposures: each training photograph has a colour transform of its own, "
        "which the splat does not contain.",
        gains,
    )
