"""`Metric`: a benchmark's way to say how good boxes are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

from ..scene.boxes import Boxes
from .sample import Sample

S_contra = TypeVar("S_contra", bound=Sample, contravariant=True)


class Scores(Protocol):
    """The result of a measurement."""

    def summary(self) -> dict[str, Any]:
        """All numbers by name, as JSON has them."""
        ...

    def lines(self) -> list[str]:
        """A table for people."""
        ...


class Metric(Protocol[S_contra]):
    """The truth of a data set, and the rules to compare boxes with it."""

    def submitted(self, sample: S_contra, boxes: Boxes) -> Boxes:
        """A detector's boxes in the frame, number and form that the benchmark takes."""
        ...

    def evaluate(self, found: Mapping[str, Boxes]) -> Scores:
        """Measure the submitted boxes of all samples, by token. Raises BadInputError when tokens are missing."""
        ...
