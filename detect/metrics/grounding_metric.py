"""The metric of visual grounding: the share of sentences whose box overlaps the target's enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ...scene.boxes import Boxes
from ...scene.errors import BadInputError
from ..common.iou_3d import aligned_iou_3d
from ..sample import Samples
from ..tasks.grounding_samples import GroundingSample

THRESHOLDS = (0.25, 0.5)
KINDS = ("unique", "multiple", "easy", "hard", "view-dependent", "view-independent")


@dataclass(frozen=True)
class GroundingScores:
    """Overlaps with the target by sentence, and the kinds of each sentence."""

    ious: Mapping[str, float]
    kinds: Mapping[str, frozenset[str]]

    def accuracy(self, threshold: float, kind: str | None = None) -> float | None:
        """Share of sentences whose IoU is strictly above the threshold; None where there are none of the kind."""
        values = [iou > threshold for token, iou in self.ious.items() if kind is None or kind in self.kinds[token]]
        return sum(values) / len(values) if values else None

    def count(self, kind: str | None = None) -> int:
        return len(self.ious) if kind is None else sum(kind in kinds for kinds in self.kinds.values())

    def summary(self) -> dict[str, Any]:
        table: dict[str, Any] = {}
        for kind in (None, *KINDS):
            if self.count(kind):
                row = {f"acc@{t:g}": self.accuracy(t, kind) for t in THRESHOLDS}
                table[kind or "overall"] = {"sentences": self.count(kind), **row}
        return table

    def lines(self) -> list[str]:
        rows = [f"{'':<18}{'sentences':>10}" + "".join(f"{'Acc@' + format(t, 'g'):>10}" for t in THRESHOLDS)]
        for kind, row in self.summary().items():
            shares = "".join(f"{100 * row[f'acc@{t:g}']:>10.2f}" for t in THRESHOLDS)
            rows.append(f"{kind:<18}{row['sentences']:>10}{shares}")
        return rows


class GroundingMetric:
    """The targets of a data set's sentences. The best box of each sentence counts."""

    def __init__(self, truth: Mapping[str, Boxes], kinds: Mapping[str, frozenset[str]]) -> None:
        self.truth, self.kinds = truth, kinds

    @classmethod
    def of(cls, samples: Samples[GroundingSample]) -> GroundingMetric:
        """Reads every sample. Raises BadInputError for one without its target."""
        truth, kinds = {}, {}
        for i, token in enumerate(samples.tokens):
            sample = samples[i]
            if sample.boxes is None or len(sample.boxes) != 1:
                raise BadInputError(f"The sentence {token} has no box to be measured with.")
            truth[token], kinds[token] = sample.boxes, sample.kinds
        return cls(truth, kinds)

    def submitted(self, sample: GroundingSample, boxes: Boxes) -> Boxes:
        """The box with the best score, one for each sentence."""
        if boxes.scores is None or len(boxes) <= 1:
            return boxes
        return boxes[int(boxes.scores.argmax())]

    def evaluate(self, found: Mapping[str, Boxes]) -> GroundingScores:
        """Raises BadInputError when sentences are missing."""
        missing = [token for token in self.truth if token not in found]
        if missing:
            raise BadInputError(f"{len(missing)} sentences have no box, the first is {missing[0]!r}; detect them, too.")
        ious = {}
        for token, target in self.truth.items():
            box = found[token]
            pair = (torch.cat([b.centers[:1], b.sizes[:1]], dim=1).double() for b in (box, target))
            ious[token] = float(aligned_iou_3d(*pair)[0]) if len(box) else 0.0
        return GroundingScores(ious, {token: self.kinds[token] for token in self.truth})
