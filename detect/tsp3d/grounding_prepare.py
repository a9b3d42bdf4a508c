"""The way from a scan and a sentence to what the network takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ...scene.errors import BadInputError
from ...scene.scan import boxes_of_points
from ..tasks.grounding_samples import GroundingSample, protocol_points
from ..text.text_encoders import load_tokenizer, tokens_of
from .config import TSP3DConfig
from .grounding_augment import Change, draw_change
from .scene_batch import Batch, Scene, Truth, collate

MEAN_COLOR = (109.8, 97.2, 83.8)  # of ScanNet, 0..255
FEWEST_POINTS = 100  # of a scan
WIDEST_M = 200.0  # of a scan along any axis; more is in another unit


@dataclass(frozen=True)
class ReadScene:
    """The part of a scan that is looked at, and the tokens of a sentence."""

    points: Tensor  # [P, 3]
    colors: Tensor  # [P, 3] as the network takes them
    sentence: str
    tokens: tuple[int, ...]
    object_of_point: Tensor | None  # [P]
    objects: Tensor | None  # [M, 6] boxes around the points of a larger part of the scan
    targets: tuple[int, ...] = ()
    near: int | None = None

    @property
    def nbytes(self) -> int:
        tensors = (self.points, self.colors, self.object_of_point, self.objects)
        return sum(tensor.nbytes for tensor in tensors if tensor is not None)


@dataclass(frozen=True)
class GroundingPreparation:
    """Settings of the way; no network."""

    config: TSP3DConfig

    def read(self, sample: GroundingSample) -> ReadScene:
        """Raises BadInputError for a scan or a sentence that cannot be used."""
        tokenizer = load_tokenizer(self.config.text, self.config.text_folder)
        sentence = sample.sentence or ""
        tokens = tuple(tokens_of(sentence, tokenizer))
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
                f"The scan {scan.name} is {extent:,.0f} wide where metres are expected, {WIDEST_M:g} at most; scale it."
            )
        part = protocol_points(scan, self.config.points)
        colors = torch.zeros(len(part), 3)  # a scan without colours has ScanNet's mean colour everywhere
        if part.colors is not None:
            colors = (part.colors.float() * 255 - torch.tensor(MEAN_COLOR)) / 256
        read = ReadScene(part.points.float(), colors, sentence, tokens, part.object_of_point, None)
        if sample.target is None or scan.objects is None:
            return read
        rows = torch.cat([scan.objects.centers, scan.objects.sizes], dim=1)
        return replace(read, objects=rows, targets=(sample.target, *sample.anchors[:1]), near=sample.near)

    def prepare(self, read: ReadScene, random: np.random.Generator | None = None) -> Scene:
        change = None if random is None else draw_change(read.sentence, len(read.points), random)
        points = read.points if change is None else change.points(read.points)
        colors = read.colors if change is None else read.colors * torch.from_numpy(change.gain)
        voxels = torch.floor(points / self.config.voxel_m).int()
        first = _first_of_each(voxels)
        features = torch.cat([points, colors], dim=1)
        truth = None if read.objects is None else self._truth(read, points, change, random)
        return Scene(voxels[first], features[first], read.tokens, truth)

    def collate(self, prepared: Sequence[Scene]) -> Batch:
        return collate(prepared)

    def _truth(
        self, read: ReadScene, points: Tensor, change: Change | None, random: np.random.Generator | None
    ) -> Truth:
        """Boxes around the changed points of each object; those without points in this part are moved as they are."""
        assert read.objects is not None
        boxes = read.objects
        if change is not None:
            boxes = _around_changed(boxes, read, points, change)
        jitter = self._jitter(len(boxes), random)
        again = self._jitter(len(boxes), random)  # the release draws twice: for targets, and for all objects
        near = boxes[[read.near]] * jitter[[read.near]] if read.near is not None else boxes[:0]
        targets = list(read.targets)
        return Truth(boxes[targets] * jitter[targets], near, boxes * again)

    def _jitter(self, count: int, random: np.random.Generator | None) -> Tensor:
        """Factors [count, 6]."""
        factors = torch.ones(count, 6)
        if random is not None:
            j = self.config.jitter
            drawn = torch.from_numpy(random.uniform(1 - j, 1 + j, (count, 6))).float()
            factors = drawn if self.config.jitter_centers else torch.cat([factors[:, :3], drawn[:, 3:]], dim=1)
        return factors


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
