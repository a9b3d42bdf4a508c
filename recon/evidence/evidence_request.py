"""`EvidenceRequest`: what every provider of evidence is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...scene.capture import Capture
from ...scene.progress import Progress, silent
from ..optimise.dataset import Dataset


@dataclass(frozen=True)
class EvidenceRequest:
    """The views that something is to be known about, and the way to what else is known about them."""

    capture: Capture
    dataset: Dataset  # in the run's frame
    seed: int
    gather: Callable[[str], Any]  # evidence of another kind about the same views, computed where it is not there yet
    progress: Progress = silent
    prior: Path | None = None  # of monocular depth, where the person has one: see `given_prior.WANTED`
