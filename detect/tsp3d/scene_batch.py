"""`Scene`, a scan and its sentences ready for the network, and `Batch`, several of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Truth:
    """Boxes that a sentence is to be learnt from, rows of centre and size."""

    targets: Tensor  # [T, 6] that the sentence speaks of
    near: Tensor  # [A, 6] another object of the sentence, near the target; voxels about it are kept
    objects: Tensor  # [M, 6] all that are annotated

    def to(self, device: torch.device) -> Truth:
        return Truth(self.targets.to(device), self.near.to(device), self.objects.to(device))


@dataclass(frozen=True)
class Asked:
    """The tokens of one sentence, and what it means."""

    tokens: tuple[int, ...]
    truth: Truth | None  # None where the target is not known


@dataclass(frozen=True)
class Scene:
    """The voxels of one scan and the sentences about it."""

    voxels: Tensor  # [N, 3] int32
    features: Tensor  # [N, 6] x, y, z in metres, then the colour
    asked: tuple[Asked, ...]


@dataclass(frozen=True)
class Batch:
    """Scans one after another, and sentences one after another, each about one of the scans.

    The backbone looks at scans, everything after it at sentences: a scan is computed once for all of its sentences.
    """

    voxels: Tensor  # [N, 4] int32: the scan, then x, y, z
    features: Tensor  # [N, 6]
    scans: int
    tokens: Tensor  # [S, L] int64, 0 after the end of a sentence
    lengths: tuple[int, ...]  # tokens of each sentence
    scan_of_sentence: tuple[int, ...]
    truths: tuple[Truth | None, ...]  # of each sentence

    @property
    def sentences(self) -> int:
        return len(self.lengths)

    def to(self, device: torch.device) -> Batch:
        return replace(
            self,
            voxels=self.voxels.to(device),
            features=self.features.to(device),
            tokens=self.tokens.to(device),
            truths=tuple(None if truth is None else truth.to(device) for truth in self.truths),
        )


def collate(scenes: Sequence[Scene]) -> Batch:
    """Scenes as a batch."""
    asked = [(scan, one) for scan, scene in enumerate(scenes) for one in scene.asked]
    lengths = tuple(len(one.tokens) for _, one in asked)
    tokens = torch.zeros(len(asked), max(lengths), dtype=torch.int64)
    for i, (_, one) in enumerate(asked):
        tokens[i, : lengths[i]] = torch.tensor(one.tokens)
    voxels = [torch.nn.functional.pad(scene.voxels, (1, 0), value=i) for i, scene in enumerate(scenes)]
    return Batch(
        torch.cat(voxels),
        torch.cat([scene.features for scene in scenes]),
        len(scenes),
        tokens,
        lengths,
        tuple(scan for scan, _ in asked),
        tuple(one.truth for _, one in asked),
    )
