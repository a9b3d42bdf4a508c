"""A detector on a data set: its boxes as they are submitted, and what the nuScenes metric says of them."""

from __future__ import annotations

from collections.abc import Callable

from ...scene.boxes import Boxes
from ...scene.progress import Progress, silent
from ..nuscenes.dataset import DetectionData
from ..nuscenes.evaluate import Evaluation, evaluate
from ..nuscenes.sample import DetectionSample
from ..nuscenes.submission import submission_boxes
from .data import Samples
from .predict import Detector

Seen = Callable[[DetectionSample, Boxes], None]


def detect_all(
    detector: Detector, samples: Samples, progress: Progress = silent, seen: Seen | None = None
) -> dict[str, Boxes]:
    """Boxes of each sample by token, in the global frame; `seen` gets each sample with its boxes in the LiDAR's."""
    found = {}
    progress("detecting", 0, len(samples))
    for i, token in enumerate(samples.tokens):
        sample = samples[i]
        boxes = detector(sample)
        found[token] = submission_boxes(sample, boxes)
        if seen is not None:
            seen(sample, boxes)
        progress("detecting", i + 1, len(samples), {"boxes": len(boxes)})
    return found


def measure(
    detector: Detector, data: DetectionData, progress: Progress = silent
) -> tuple[Evaluation, dict[str, Boxes]]:
    """(the metric, the submission) of a detector on a split."""
    found = detect_all(detector, data, progress)
    return evaluate(data.truth(), found), found


def used_modalities(detector: Detector) -> tuple[str, ...]:
    """As submissions name them."""
    config = detector.model.config
    return tuple(n for n, on in (("use_camera", config.use_images), ("use_lidar", config.use_lidar)) if on)
