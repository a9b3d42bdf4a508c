"""The way from a scan and its sentences to what the network takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ...scene.datasets.reference_sentences import is_view_dependent
from ...scene.errors import BadInputError
from ...scene.scan import Scan, boxes_of_points
from ..tasks.grounding_samples import GroundingSample, ScanSample, protocol_points
from ..text.text_encoders import Tokenizer, load_tokenizer, tokens_of
from .config import TSP3DConfig
from .grounding_augment import Change, draw_change
from .scene_batch import Asked, Batch, Scene, Truth, collate

MEAN_COLOR = (109.8, 97.2, 83.8)  # of ScanNet, 0..255
FEWEST_POINTS = 100  # of a scan
WIDEST_M = 200.0  # of a scan along any axis; more is in another unit
MOST_PROMPTED = 10  # classes of a detection prompt


@dataclass(frozen=True)
class Question:
    """A sentence with its tokens, and the rows of the objects that it speaks of, where they are known."""

    sentence: str
    tokens: tuple[int, ...]
    targets: tuple[int, ...] = ()
    near: int | None = None


@dataclass(frozen=True)
class ReadScene:
    """The part of a scan that is looked at, and the sentences about it."""

    points: Tensor  # [P, 3]
    colors: Tensor  # [P, 3] as the network takes them
    questions: tuple[Question, ...]
    object_of_point: Tensor | None  # [P]
    objects: Tensor | None  # [M, 6] boxes around the points of a larger part of the scan
    rows_of_class: dict[str, tuple[int, ...]] = field(default_factory=dict)  # the classes that can be prompted for

    @property
    def nbytes(self) -> int:
        tensors = (self.points, self.colors, self.object_of_point, self.objects)
        return sum(tensor.nbytes for tensor in tensors if tensor is not None)


@dataclass(frozen=True)
class GroundingPreparation:
    """Settings of the way; no network."""

    config: TSP3DConfig

    def read(self, sample: GroundingSample | ScanSample) -> ReadScene:
        """Raises BadInputError for a scan or a sentence that cannot be used."""
        tokenizer = self._tokenizer()
        asked = sample.asked if isinstance(sample, ScanSample) else (sample,)
        questions = tuple(_question(one, tokenizer) for one in asked)
        scan = sample.scan
        finite = torch.isfinite(scan.points).all(1)
        scan = scan if bool(finite.all()) else scan[finite]
        if len(scan) < FEWEST_POINTS:
            raise BadInputError(
                f"The scan {scan.name} has {len(scan)} points with finite positions; at least {FEWEST_POINTS} are "
                "needed to find anything."
            )
        extent = float((scan.points.amax(0) - scan.points.amin(0)).max())
        if extent > WIDEST_M:
            raise BadInputError(
                f"The scan {scan.name} is {extent:.4g} wide where metres are expected, {WIDEST_M:g} at most; scale it."
            )
        part = protocol_points(scan, self.config.points)
        colors = torch.zeros(len(part), 3)  # a scan without colours has ScanNet's mean colour everywhere
        if part.colors is not None:
            colors = (part.colors.float() * 255 - torch.tensor(MEAN_COLOR)) / 256
        points = part.points.float()
        if scan.objects is None or not any(question.targets for question in questions):
            return ReadScene(points, colors, questions, part.object_of_point, None)
        rows = torch.cat([scan.objects.centers, scan.objects.sizes], dim=1)
        return ReadScene(points, colors, questions, part.object_of_point, rows, _rows_of_class(scan, questions))

    def prepare(self, read: ReadScene, random: np.random.Generator | None = None) -> Scene:
        """All sentences of the scan; with `random`, some of them, and the scan changed as all of those allow."""
        questions = read.questions if random is None else self._drawn(read, random)
        sentences = [question.sentence for question in questions]
        change = None if random is None else draw_change(sentences, len(read.points), random)
        points = read.points if change is None else change.points(read.points)
        colors = read.colors if change is None else read.colors * torch.from_numpy(change.gain)
        voxels = torch.floor(points / self.config.voxel_m).int()
        first = _first_of_each(voxels)
        features = torch.cat([points, colors], dim=1)
        truths = self._truths(questions, read, points, change, random)
        asked = [Asked(question.tokens, truth) for question, truth in zip(questions, truths, strict=True)]
        return Scene(voxels[first], features[first], tuple(asked))

    def collate(self, prepared: Sequence[Scene]) -> Batch:
        return collate(prepared)

    def _tokenizer(self) -> Tokenizer:
        return load_tokenizer(self.config.text, self.config.text_folder)

    def _drawn(self, read: ReadScene, random: np.random.Generator) -> list[Question]:
        """Sentences of a scan that are learnt from in one step, and detection prompts.

        Either all of them depend on the view or none does, as the scan is changed once for all.
        """
        drawn = list(read.questions)
        if len(drawn) > 1:
            depends = [is_view_dependent(question.sentence) for question in drawn]
            kind = depends[int(random.integers(len(drawn)))]
            alike = [question for question, own in zip(drawn, depends, strict=True) if own == kind]
            drawn = [alike[i] for i in random.permutation(len(alike))[: self.config.sentences_per_scan]]
        classes = list(read.rows_of_class)
        for _ in range(self.config.prompts_per_scan if classes else 0):
            count = int(random.integers(1, min(MOST_PROMPTED, len(classes)) + 1))
            names = [classes[i] for i in random.permutation(len(classes))[:count]]
            prompt = " . ".join(names) + " ."
            rows = tuple(row for name in names for row in read.rows_of_class[name])
            drawn.append(Question(prompt, tuple(tokens_of(prompt, self._tokenizer())), rows))
        return drawn

    def _truths(
        self,
        questions: Sequence[Question],
        read: ReadScene,
        points: Tensor,
        change: Change | None,
        random: np.random.Generator | None,
    ) -> list[Truth | None]:
        """Boxes around the changed points of each object; those without points in this part are moved as they are."""
        if read.objects is None:
            return [None] * len(questions)
        boxes = read.objects
        if change is not None:
            boxes = _around_changed(boxes, read, points, change)
        jitter = self._jitter(len(boxes), random)
        again = self._jitter(len(boxes), random)  # the release draws twice: for targets, and for all objects
        named, everything = boxes * jitter, boxes * again
        return [
            Truth(named[list(q.targets)], named[[] if q.near is None else [q.near]], everything) if q.targets else None
            for q in questions
        ]

    def _jitter(self, count: int, random: np.random.Generator | None) -> Tensor:
        """Factors [count, 6]."""
        factors = torch.ones(count, 6)
        if random is not None:
            j = self.config.jitter
            drawn = torch.from_numpy(random.uniform(1 - j, 1 + j, (count, 6))).float()
            factors = drawn if self.config.jitter_centers else torch.cat([factors[:, :3], drawn[:, 3:]], dim=1)
        return factors


def _question(sample: GroundingSample, tokenizer: Tokenizer) -> Question:
    sentence = sample.sentence or ""
    targets = () if sample.target is None else (sample.target, *sample.anchors[:1])
    return Question(sentence, tuple(tokens_of(sentence, tokenizer)), targets, sample.near)


def _rows_of_class(scan: Scan, questions: Sequence[Question]) -> dict[str, tuple[int, ...]]:
    """All objects of each class that any sentence is about: walls and floors are no things to be found."""
    assert scan.objects is not None
    names = [scan.objects.name(i) for i in range(len(scan.objects))]
    classes = sorted({names[row] for question in questions for row in question.targets[:1]})
    return {name: tuple(i for i, own in enumerate(names) if own == name) for name in classes}


def _around_changed(boxes: Tensor, read: ReadScene, points: Tensor, change: Change) -> Tensor:
    centers = torch.from_numpy((boxes[:, :3].double().numpy() @ change.matrix.T + change.shift) * change.scale).float()
    sizes = boxes[:, 3:] @ torch.from_numpy(np.abs(change.matrix)).float().T * change.scale
    if read.object_of_point is None:
        return torch.cat([centers, sizes], dim=1)
    ends, counts = boxes_of_points(points, read.object_of_point, len(boxes))
    there = (counts > 0)[:, None]
    centers = torch.where(there, ends.mean(1), centers)
    return torch.cat([centers, torch.where(there, ends[:, 1] - ends[:, 0], sizes)], dim=1)


def _first_of_each(voxels: Tensor) -> Tensor:
    """Rows int64 of the first point of each voxel, in sorted order of the voxels."""
    low = voxels.amin(0).long()
    size = voxels.amax(0).long() - low + 1
    x, y, z = (voxels.long() - low).unbind(1)
    _, first = np.unique(((x * size[1] + y) * size[2] + z).numpy(), return_index=True)
    return torch.from_numpy(first)
