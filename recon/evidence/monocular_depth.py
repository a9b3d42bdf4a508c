"""Monocular depth: near and far in each photograph, to an unknown scale and offset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ...scene.cameras import Cameras
from ...scene.geometry import Similarity
from .depth_file import check_size
from .evidence_file import PLACED, opened_evidence, write_evidence


@dataclass(frozen=True)
class MonocularDepth:
    """Relative inverse depth of the training views, in the order of `Dataset.train`.

    Larger is nearer. Scale and offset are unknown and may differ from view to view, so that nothing but the order and
    the proportions of differences inside of one view may be relied on. A provider that continues depth which is known
    elsewhere also gives the error that it expects, because comparing it with the known depth would only praise it.
    Raises ValueError for a map that is not [H, W] float32, finite and non-negative everywhere.
    """

    disparity: tuple[Tensor, ...]  # V of [H, W] float32 >= 0, of the views' sizes
    log_error: tuple[Tensor, ...] = ()  # V of [H, W] float32: logarithm of the median error of log-depth; or none

    def __post_init__(self) -> None:
        if self.log_error and [e.shape for e in self.log_error] != [d.shape for d in self.disparity]:
            raise ValueError("expected an error for each pixel of each map, or none at all")
        if not all(bool(e.isfinite().all()) for e in self.log_error):
            raise ValueError("expected finite errors")
        for number, one in enumerate(self.disparity):
            if one.ndim != 2 or one.numel() == 0 or one.dtype != torch.float32:
                raise ValueError(f"map {number}: expected float32 [H, W], found {one.dtype} {list(one.shape)}")
            if not bool(one.isfinite().all()) or bool((one < 0).any()):
                raise ValueError(f"map {number}: expected finite numbers of at least 0")

    def __len__(self) -> int:
        return len(self.disparity)

    def transformed(self, new_from_world: Similarity) -> MonocularDepth:
        """The same in another world frame: it has no unit, so it stays as it is."""
        return self


def save_monocular(path: Path, depth: MonocularDepth, names: list[str], key: str = PLACED) -> None:
    """Write the maps under the names of their views. `key` says what they were made from."""
    tensors = {f"disparity/{n}": d for n, d in zip(names, depth.disparity, strict=True)}
    if depth.log_error:
        tensors |= {f"log_error/{n}": e for n, e in zip(names, depth.log_error, strict=True)}
    write_evidence(path, tensors, key)


def load_monocular(path: Path, cameras: Cameras, names: list[str]) -> MonocularDepth:
    """Read what `save_monocular` wrote; `cameras` [V] of the views, of any size with the maps' aspect.

    Raises BadInputError when the file is damaged or belongs to other views.
    """
    maps, errors = [], []
    with opened_evidence(path, "computes the depth again") as file:
        for name, width, height in zip(names, cameras.width.tolist(), cameras.height.tolist(), strict=True):
            disparity = file.get_tensor(f"disparity/{name}").clone()  # not the file's own memory
            check_size(disparity, width, height)
            maps.append(disparity)
            if f"log_error/{name}" in file.keys():  # noqa: SIM118 - no mapping
                errors.append(file.get_tensor(f"log_error/{name}").clone())
        return MonocularDepth(tuple(maps), tuple(errors))
