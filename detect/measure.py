"""A detector on a data set: its boxes as they are submitted, and what a metric says of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from ..scene.boxes import Boxes
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
    mixed_precision: bool = False  # bfloat16 where that is safe

    def batch(self, sample: Sample) -> Any:
        """Read and prepare one sample."""
        preparation = self.detector.preparation
        return preparation.collate([preparation.prepare(preparation.read(sample))]).to(self.device)

    @torch.no_grad()
    def __call__(self, sample: Sample) -> Boxes:
        """Boxes with scores in the frame of the sample's points, on the CPU."""
        network = self.detector.network.eval()
        batch = self.batch(sample)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed_precision):
            output = network(batch)
        return self.detector.decode(output)[0].to("cpu")


def detect_all(
    predictor: Predictor,
    samples: Samples[S],
    submitted: Callable[[S, Boxes], Boxes],
    progress: Progress = silent,
    seen: Callable[[S, Boxes], None] | None = None,
) -> dict[str, Boxes]:
    """The boxes of each sample as they are `submitted`, by token; `seen` gets each sample with its boxes as found."""
    found = {}
    progress("detecting", 0, len(samples))
    for i, token in enumerate(samples.tokens):
        sample = samples[i]
        boxes = predictor(sample)
        found[token] = submitted(sample, boxes)
        if seen is not None:
            seen(sample, boxes)
        progress("detecting", i + 1, len(samples), {"boxes": len(boxes)})
    return found


def measure(
    predictor: Predictor, samples: Samples[S], metric: Metric[S], progress: Progress = silent
) -> tuple[Scores, dict[str, Boxes]]:
    """(what the metric says, the boxes as submitted) of a detector on a data set."""
    found = detect_all(predictor, samples, metric.submitted, progress)
    return metric.evaluate(found), found
