"""`Method` and `Inputs`: what a reconstruction method is to the pipeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ...scene.capture import Capture
from ..evidence.view_prior import ViewPrior
from ..optimise.contract import Model
from ..optimise.dataset import Dataset
from ..optimise.train_config import TrainConfig


@dataclass(frozen=True)
class Inputs:
    """All that a method may start from."""

    dataset: Dataset  # photographs at working size, cameras, sparse points; on the device of the training
    capture: Capture  # the same photographs as they were read, with what else is known of them (depth, times)
    cameras_are_estimated: bool = False  # found from the photographs, and not given
    depth_is_given: bool = False  # a network that placed the photographs has given their depth
    mesh_is_given: bool = False  # the person has given a mesh of the object
    evidence: Mapping[str, Any] = field(default_factory=dict)  # by kind, of those that the method needs or takes
    view_prior: ViewPrior | None = None  # what pictures from other sides should look like, where something says so

    @property
    def on_cpu(self) -> bool:
        return self.dataset.cameras.K.device.type == "cpu"

    @property
    def moves(self) -> bool:
        """True where the photographs were taken at different times."""
        return self.capture.duration_s > 0


class Suitability(NamedTuple):
    """The judgement of a method about some inputs."""

    score: float  # 0 for not at all, 1 for made for exactly these
    reason: str  # half a sentence for people, after "because"


@dataclass(frozen=True)
class Method:
    """One published method, as a row of the registry.

    `configure` gives the config for some inputs: what was asked for, by field, and for the rest what suits them. It
    raises BadInputError where that cannot be. `initialise` gives the model as training finds it; all kinds of
    `needs` are in the inputs' evidence then.
    """

    name: str  # of --method
    summary: str  # one line
    config: type[TrainConfig]
    suits: Callable[[Inputs], Suitability]
    configure: Callable[[Inputs, Mapping[str, Any]], TrainConfig]
    initialise: Callable[[Inputs, Any], Model]
    needs: tuple[str, ...] = ()  # kinds of evidence
    takes: tuple[str, ...] = ()  # further kinds, which it does without unless the person has given them
    uses_time: bool = False  # whether what moves is followed; others take the scene as still


def background_of(dataset: Dataset) -> tuple[float, float, float]:
    """White for transparent photographs, as the published figures of synthetic data sets are; else black."""
    transparent = any(view.pixels.shape[-1] == 4 for view in dataset.views)
    return (1.0, 1.0, 1.0) if transparent else (0.0, 0.0, 0.0)
