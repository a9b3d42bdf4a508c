"""Sentences about scans as samples: those of a data set in ScanNet's files, or one of a person's own."""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from ...scene.datasets.scannet_folder import ScanNet
from ...scene.errors import BadInputError
from ...scene.scan import Scan, boxes_of_points
from ..sample import Sample
from .grounding_task import GROUNDING

PROTOCOL_POINTS, PROTOCOL_SEED = 50_000, 1184  # of a scan, and of the generator that draws them
_CACHE_BYTES = 1 << 30  # of scans, in one process


@dataclass(frozen=True, kw_only=True)
class GroundingSample(Sample):
    """A scan and a sentence. `boxes` has the one box that is meant, where that is known."""

    scan: Scan
    kinds: frozenset[str] = frozenset()  # of the sentence, for sub-splits
    target: int | None = None  # row of the scan's objects
    anchors: tuple[int, ...] = ()  # rows of objects that the data set gives to learn from besides
    near: int | None = None  # row of another object that the sentence names, the nearest of its kind


@dataclass(frozen=True, kw_only=True)
class ScanSample(Sample):
    """A scan with all of its sentences, to learn from several at once."""

    scan: Scan
    asked: tuple[GroundingSample, ...]


def sample_for(scan: Scan, sentence: str) -> GroundingSample:
    """A person's own question, of which the answer is not known."""
    return GroundingSample(token=f"{scan.name}: {sentence}", scan=scan, points=scan.points, sentence=sentence)


def sample_of_sentence(scan: Scan, index: int) -> GroundingSample:
    """One of the scan's sentences."""
    assert scan.objects is not None
    sentence = scan.sentences[index]
    boxes = scan.objects[sentence.target]
    return GroundingSample(
        token=sentence.token,
        scan=scan,
        points=scan.points,
        sentence=sentence.text,
        notes=scan.notes,
        boxes=replace(boxes, labels=torch.zeros(1, dtype=torch.int64), names=GROUNDING.classes),
        kinds=sentence.kinds,
        target=sentence.target,
        anchors=sentence.anchors,
        near=named_nearby(scan, sentence.text, sentence.target),
    )


def with_point_boxes(scan: Scan) -> Scan:
    """The scan whose objects' boxes are around the points that it has, as benchmarks measure them.

    Objects without points keep their boxes.
    """
    if scan.object_of_point is None or scan.objects is None:
        return scan
    boxes = scan.objects
    ends, counts = boxes_of_points(scan.points, scan.object_of_point, len(boxes))
    there = (counts > 0)[:, None]
    centers, sizes = (torch.where(there, new, old) for new, old in (
        (ends.mean(1), boxes.centers), (ends[:, 1] - ends[:, 0], boxes.sizes)
    ))  # fmt: skip
    return replace(scan, objects=replace(boxes, centers=centers, sizes=sizes))


def named_nearby(scan: Scan, sentence: str, target: int) -> int | None:
    """The object nearest to the target of the first other class that the sentence names; None where it names none.

    The release finds nouns with a parser; here the scan's own words for classes are looked for.
    """
    assert scan.objects is not None
    objects, own = scan.objects, scan.objects.name(target)
    said = " ".join(re.findall(r"[a-z]+", sentence.lower()))
    places = {name: re.search(rf"\b{re.escape(name)}s?\b", said) for name in objects.names if name != own}
    found = sorted((match.start(), name) for name, match in places.items() if match)
    if not found:
        return None
    rows = [i for i in range(len(objects)) if objects.name(i) == found[0][1]]
    away = (objects.centers[rows] - objects.centers[target]).square().sum(1)
    return rows[int(away.argmin())]


def protocol_points(scan: Scan, count: int = PROTOCOL_POINTS, seed: int = PROTOCOL_SEED) -> Scan:
    """The same random part of a scan each time; scans of fewer points stay whole."""
    if len(scan) <= count:
        return scan
    rows = np.random.default_rng(seed).choice(len(scan), count, replace=False)
    return scan[torch.from_numpy(np.sort(rows))]


@dataclass
class GroundingSamples:
    """The sentences of a data set, scene by scene. Scans that fit are kept, as a scene has many sentences."""

    data: ScanNet
    _scans: OrderedDict[str, Scan] = field(default_factory=OrderedDict, repr=False)
    _bytes: int = 0

    def __post_init__(self) -> None:
        self._rows = [(name, i) for name in self.data.names for i in range(len(self.data.references.get(name, ())))]
        if not self._rows:
            raise BadInputError(f"{self.data.root} has no sentences about its scenes.")

    @property
    def tokens(self) -> tuple[str, ...]:
        return tuple(self.data.references[name][i].token for name, i in self._rows)

    @property
    def scan_names(self) -> tuple[str, ...]:
        """The scan that each sentence is about."""
        return tuple(name for name, _ in self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> GroundingSample:
        """Raises BadInputError for damaged files."""
        name, i = self._rows[index]
        return sample_of_sentence(self._scan(name), i)

    @property
    def object_names(self) -> tuple[str, ...]:
        """The words for the objects that sentences are about, sorted."""
        return tuple(sorted({r.name for name in self.data.names for r in self.data.references[name] if r.name}))

    def _scan(self, name: str) -> Scan:
        if name in self._scans:
            self._scans.move_to_end(name)
            return self._scans[name]
        scan = with_point_boxes(protocol_points(self.data.scan(name)))
        self._scans[name] = scan
        self._bytes += _size(scan)
        while self._bytes > _CACHE_BYTES and len(self._scans) > 1:
            self._bytes -= _size(self._scans.popitem(last=False)[1])
        return scan


class SentencesByScan:
    """The scans that sentences are about as samples, each as often in an epoch as its sentences need."""

    def __init__(self, samples: GroundingSamples, together: int) -> None:
        """`together` sentences of a scan are learnt at a time."""
        self.samples, self.together = samples, together
        self._rows: dict[str, list[int]] = {}
        for row, name in enumerate(samples.scan_names):
            self._rows.setdefault(name, []).append(row)

    @property
    def tokens(self) -> tuple[str, ...]:
        return tuple(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> ScanSample:
        """Raises BadInputError for damaged files."""
        name = self.tokens[index]
        asked = tuple(self.samples[row] for row in self._rows[name])
        return ScanSample(token=name, scan=asked[0].scan, points=asked[0].points, asked=asked)

    def of_epoch(self) -> list[int]:
        return [i for i, rows in enumerate(self._rows.values()) for _ in range(math.ceil(len(rows) / self.together))]


def open_grounding_samples(root: Path, split: str = "all", sentences: str = "scanrefer") -> GroundingSamples:
    """The sentences (scanrefer, nr3d, sr3d) of a data set in ScanNet's files. Raises BadInputError."""
    return GroundingSamples(ScanNet.open(root, split, sentences, photographs=False))


def _size(scan: Scan) -> int:
    tensors = (scan.points, scan.colors, scan.object_of_point)
    return sum(tensor.nbytes for tensor in tensors if tensor is not None)
