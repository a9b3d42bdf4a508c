"""Decision whether photographs disagree in their colours so much that each gets a transform of its own."""

from __future__ import annotations

from dataclasses import dataclass

from .dataset import Dataset
from .photograph_gains import PhotographGains, photograph_gains
from .train_config import TrainConfig

# Root mean square of the logarithms of the gains from which `auto` takes transforms.
DISAGREEMENT = 0.2


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
        percent = 100 * gains.disagreement
        found = f"Colours of the points that photographs share differ by {percent:.0f} % from one to the other"
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
