"""`Scene`, a scan and a sentence ready for the network, and `Batch`, several of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Truth:
    """Boxes that a scene is to be learnt from, rows of centre and size."""

    targets: Tensor  # [T, 6] that the sentence speaks of
    near: Tensor  # [A, 6] another object of the sentence, near the target; voxels about it are kept
    objects: Tensor  # [M, 6] all that are annotated

    def to(self, device: torch.device) -> Truth:
        return Truth(self.targets.to(device), self.near.to(device), self.objects.to(device))


@dataclass(frozen=True)
class Scene:
    """The voxels of one scan and the tokens of one sentence."""

    voxels: Tensor  # [N, 3] int32
    features: Tensor  # [N, 6] x, y, z in metres, then the colour
    tokens: tuple[int, ...]
    truth: Truth | None  # None where the target is not known


@dataclass(frozen=True)
class Batch:
    """Scenes one after another."""

    voxels: Tensor  # [N, 4] int32: the scene, then x, y, z
    features: Tensor  # [N, 6]
    tokens: Tensor  # [B, L] int64, 0 after the end of a sentence
    lengths: tuple[int, ...]  # tokens of each sentence
    truths: tuple[Truth | None, ...]

    @property
    def scenes(self) -> int:
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
    lengths = tuple(len(scene.tokens) for scene in scenes)
    tokens = torch.zeros(len(scenes), max(lengths), dtype=torch.int64)
    for i, scene in enumerate(scenes):
        tokens[i, : lengths[i]] = torch.tensor(scene.tokens)
    voxels = [torch.nn.functional.pad(scene.voxels, (1, 0), value=i) for i, scene in enumerate(scenes)]
    return Batch(
        torch.cat(voxels),
        torch.cat([scene.features for scene in scenes]),
        tokens,
        lengths,
        tuple(scene.truth for scene in scenes),
    )
