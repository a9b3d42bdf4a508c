"""A detector on a data set: its boxes as they are submitted, and what a metric says of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch

from ..learn.precision import mixed
from ..scene.boxes import Boxes
from ..scene.errors import BadInputError
from ..scene.progress import Progress, silent
from .detector import Detector
from .metric import Metric, Scores
from .sample import Sample, Samples

S = TypeVar("S", bound=Sample)


@dataclass(frozen=True)
class Predictor:
    """A detector on its device, ready for samples."""

    detector: Detector
    device: torch.device
    mixed_precision: bool = False  # the device's 16 bits where that is safe

    def batch(self, sample: Sample) -> Any:
        """Read and prepare one sample."""
        preparation = self.detector.preparation
        return preparation.collate([preparation.prepare(preparation.read(sample))]).to(self.device)

    def __call__(self, sample: Sample) -> Boxes:
        """Boxes with scores in the frame of the sample's points, on the CPU."""
        return self.with_output(sample)[0]

    @torch.no_grad()
    def with_output(self, sample: Sample) -> tuple[Boxes, Any]:
        """(the boxes, what the network gave for them, on its device)"""
        network = self.detector.network.eval()
        batch = self.batch(sample)
        with mixed(self.device, self.mixed_precision):
            output = network(batch)
        return self.detector.decode(output)[0].to("cpu"), output


@dataclass(frozen=True)
class Detected(Generic[S]):
    """A sample with its boxes in the frame of its points, by its number in the data set."""

    number: int
    sample: S
    boxes: Boxes
    output: Any  # of the network


@dataclass(frozen=True)
class Unusable:
    """A sample whose files are absent or damaged."""

    number: int
    token: str
    problem: BadInputError


def detect_each(
    predictor: Predictor,
    samples: Samples[S],
    done: Collection[str] = (),
    progress: Progress = silent,
    share: tuple[int, int] = (0, 1),
) -> Iterator[Detected[S] | Unusable]:
    """Each sample that is not `done` (by token) with its boxes, or with the reason why there are none.

    With `share` (k, n) only every n-th of them, from the k-th: the part of one of several processes.
    """
    first, apart = share
    progress("detecting", 0, len(samples))
    for i, token in enumerate(samples.tokens):
        if i % apart != first or token in done:
            continue
        try:
            sample = samples[i]
            boxes, output = predictor.with_output(sample)
        except BadInputError as error:
            yield Unusable(i, token, error)
            continue
        yield Detected(i, sample, boxes, output)
        progress("detecting", i + 1, len(samples), {"boxes": len(boxes)})


def detect_all(
    predictor: Predictor,
    samples: Samples[S],
    submitted: Callable[[S, Boxes], Boxes],
    progress: Progress = silent,
) -> dict[str, Boxes]:
    """The boxes of each sample as they are `submitted`, by token. Raises BadInputError for the first unusable one."""
    found = {}
    for result in detect_each(predictor, samples, progress=progress):
        if isinstance(result, Unusable):
            raise result.problem
        found[result.sample.token] = submitted(result.sample, result.boxes)
    return found


def measure(
    predictor: Predictor, samples: Samples[S], metric: Metric[S], progress: Progress = silent
) -> tuple[Scores, dict[str, Boxes]]:
    """(what the metric says, the boxes as submitted) of a detector on a data set."""
    found = detect_all(predictor, samples, metric.submitted, progress)
    return metric.evaluate(found), found
