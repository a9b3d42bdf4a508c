"""Patch features: a vector of unit length for each cell of each training view; alike is what points alike."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ...scene.cameras import Cameras
from ...scene.errors import BadInputError
from ...scene.geometry import Similarity
from .evidence_file import PLACED, opened_evidence, write_evidence
from .evidence_request import EvidenceRequest
from .patch_descriptors import CELL_PX, patch_descriptors

DIMENSIONS = 32  # that are kept of the descriptors, at most
LEAST_SPREAD = 0.02  # of a descriptor over all cells: what varies less is not blown up to the weight of the others
_UNIT = 1e-3  # how far a stored vector's length may be from one


@dataclass(frozen=True)
class PatchFeatures:
    """Grids of the training views, and the projection that made them, so that other pictures can be described."""

    grids: tuple[Tensor, ...]  # [H // 8, W // 8, C] float32 each, in the order of `Dataset.train`
    mean: Tensor  # [D] float32 of the descriptors
    basis: Tensor  # [D, C] float32 from descriptors less their mean to features

    def describe(self, rgb: Tensor) -> Tensor:
        """The grid [H // 8, W // 8, C] of any picture [H, W, 3] in [0, 1]."""
        return _unit_vectors((patch_descriptors(rgb) - self.mean) @ self.basis)

    def transformed(self, new_from_world: Similarity) -> PatchFeatures:
        """The same in another world frame: pictures do not change, so it stays as it is."""
        return self

    def to(self, device: torch.device | str) -> PatchFeatures:
        return PatchFeatures(tuple(g.to(device) for g in self.grids), self.mean.to(device), self.basis.to(device))


def classical_patch_features(request: EvidenceRequest) -> PatchFeatures:
    """Colour, edges and texture of cells of 8 pixels: their principal components over all training views.

    Raises BadInputError for photographs of less than a cell.
    """
    dataset, described = request.dataset, []
    for done, index in enumerate(dataset.train):
        view = dataset.view(index)
        if min(view.width, view.height) < CELL_PX:
            raise BadInputError(
                f"{dataset.names[index]} has {view.width} x {view.height} pixels; at least {CELL_PX} a side are "
                "expected for patches."
            )
        request.progress("patch features", done, len(dataset.train))
        described.append(patch_descriptors(view.target(view.K.new_zeros(3)).cpu()))
    cells = torch.cat([d.flatten(0, 1) for d in described]).double()
    mean, spread = cells.mean(0), cells.std(0, correction=0).clamp_min(LEAST_SPREAD)
    standard = (cells - mean) / spread
    _, directions = torch.linalg.eigh(standard.T @ standard)  # the largest last
    kept = directions[:, -DIMENSIONS:].flip(1)
    basis, mean = (kept / spread[:, None]).float(), mean.float()
    return PatchFeatures(tuple(_unit_vectors((d - mean) @ basis) for d in described), mean, basis)


def save_patch_features(path: Path, features: PatchFeatures, names: list[str], key: str = PLACED) -> None:
    """Write the grids under the names of their views. `key` says what they were made from."""
    tensors = {f"grid/{name}": grid for name, grid in zip(names, features.grids, strict=True)}
    write_evidence(path, tensors | {"mean": features.mean, "basis": features.basis}, key)


def load_patch_features(path: Path, cameras: Cameras, names: list[str]) -> PatchFeatures:
    """Read what `save_patch_features` wrote, whatever the cameras.

    Raises BadInputError when the file is damaged or of other views.
    """
    with opened_evidence(path, "computes the features again") as file:
        mean, basis = file.get_tensor("mean"), file.get_tensor("basis")
        grids = tuple(file.get_tensor(f"grid/{name}").clone() for name in names)
        if mean.ndim != 1 or basis.ndim != 2 or len(basis) != len(mean):
            raise ValueError(f"mean [D] and basis [D, C] are expected, found {[*mean.shape]} and {[*basis.shape]}")
        for grid in grids:
            _check(grid, basis.shape[1])
        return PatchFeatures(grids, mean.clone(), basis.clone())


def _check(grid: Tensor, channels: int) -> None:
    """Raises ValueError for a grid that holds no vectors of unit length (zero ones may be among them)."""
    if grid.dtype != torch.float32 or grid.ndim != 3 or grid.shape[2] != channels or grid.numel() == 0:
        raise ValueError(f"a grid [h, w, {channels}] of float32 is expected, found {[*grid.shape]} of {grid.dtype}")
    length = grid.norm(dim=-1)
    if not bool(((length - 1).abs() < _UNIT).logical_or(length == 0).all()):
        raise ValueError("features of unit length are expected")


def _unit_vectors(vectors: Tensor) -> Tensor:
    return F.normalize(vectors, dim=-1, eps=1e-6)
