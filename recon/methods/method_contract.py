"""`Method` and `Inputs`: what a reconstruction method is to the pipeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from ...scene.capture import Capture
from ..evidence.view_prior import ViewPrior
from ..optimise.contract import Model
from ..optimise.dataset import Dataset, View
from ..optimise.train_config import TrainConfig

FEW_PHOTOGRAPHS = 24  # up to so many leave holes where nothing but the background is seen


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
    asks: Callable[[Any], tuple[str, ...]] = lambda config: ()  # further kinds that some of its settings need
    uses_time: bool = False  # whether what moves is followed; others take the scene as still
    needs_mattes: bool = False  # whether photographs have to be transparent or masked; plain backgrounds are cut out
    asks_view_prior: bool = False  # whether it asks what sides look like that no photograph shows; needs a STATIC_MESH


def background_of(dataset: Dataset) -> tuple[float, float, float]:
    """The colour behind everything that suits the training photographs, sRGB in [0, 1].

    White for transparent ones, as the published figures of synthetic data sets are. The mean colour of few: they leave
    holes between and beyond what they show, where it is the least wrong of all colours. Black for many.
    """
    views = [dataset.views[i] for i in dataset.train]
    if any(view.pixels.shape[-1] == 4 for view in views):
        return 1.0, 1.0, 1.0
    if len(views) > FEW_PHOTOGRAPHS:
        return 0.0, 0.0, 0.0
    means = [_mean_color(view) for view in views]
    red, green, blue = (round(c, 4) for c in torch.stack(means).mean(0).tolist())
    return red, green, blue


def _mean_color(view: View) -> torch.Tensor:
    """Mean [3] over the pixels that count, in [0, 1]."""
    colors, counts = view.pixels.float() / 255, view.counts()
    return colors[counts].mean(0) if counts is not None and bool(counts.any()) else colors.mean((0, 1))
