"""As-rigid-as-possible deformation of points on a graph (Sorkine and Alexa 2007; in the form of SC-GS).

Some points are held at given places, and all others follow so that each neighbourhood is turned as a whole. It takes
plain tensors: the control points of any method, or the vertices of a coarse mesh.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_array, diags_array
from torch import Tensor

from ..fitted_rotations import fitted_rotation_arrays

ITERATIONS = 3  # local and global steps of a solve, as released
_KEEPS_PLACE = 1e-9  # of the system's mean diagonal: what nothing holds stays where it is, and all else hardly notices


@dataclass(frozen=True)
class Deformation:
    """Places [M, 3] float64 of the points, and how the neighbourhood of each has turned, [M, 3, 3]."""

    points: Tensor
    rotations: Tensor

    @classmethod
    def at_rest(cls, points: Tensor) -> Deformation:
        """No deformation of points [M, 3] at all."""
        return cls(points, torch.eye(3, dtype=torch.float64).expand(len(points), 3, 3))


class AsRigidAsPossible:
    """Points at rest, the edges between them, and which of them are held: factorised once, solved at each move.

    Minimises E = sum_ij w_ij |x_i - x_j - R_i (p_i - p_j)|^2 over the places x of the free points and the rotations R
    of all, in turns, and each turn exactly, so that E never rises; held points are taken out of the system (hard
    constraints). Weights need not be symmetric. For symmetric ones a global step is L x = b with L = I - W and
    b_i = sum_j w_ij (R_i + R_j) (p_i - p_j) / 2, as in SC-GS, whose released code solves it by least squares over the
    rows of held points, too: E may then rise, and the edges of a bent tube stretch a tenth to a half more.

    It computes with NumPy: the steps are small, and PyTorch's threads would wait for each other in each.
    """

    def __init__(
        self,
        rest: Tensor,  # [M, 3]
        index: Tensor,  # [M, K] int64 neighbours
        weights: Tensor,  # [M, K] of at least 0, each row summing to one; 0 is no edge
        held: Tensor,  # [H] int64, at least one
    ) -> None:
        if len(held) == 0:
            raise ValueError("expected at least one point that is held")
        self.rest, self.held = rest.double().cpu(), held
        self._index, self._weights = index.numpy(), weights.double().numpy()
        self._rest = self.rest.numpy()
        self._rest_edges = self._edges(self._rest)
        free = np.ones(len(rest), bool)
        free[held.numpy()] = False
        self._free = np.flatnonzero(free)
        operator = self._operator()
        self._system = _Held(csr_array(operator + operator.T + self._excess()), self._free)
        self._laplacian: tuple[csr_array, _Held] | None = None

    def solve(
        self,
        places: Tensor,  # [H, 3] of the held points, in the order of `held`
        start: Tensor | None = None,  # [M, 3] an earlier deformation
        iterations: int = ITERATIONS,
    ) -> Deformation:
        """The deformation that puts the held points at `places`, exactly.

        Without a `start` it begins at Laplacian editing, the least squares of L x = L p, so that the result depends on
        `places` alone, but large turns are not found. From an earlier deformation it goes on: that finds large turns in
        small steps.
        """
        points = self._rest.copy() if start is None else start.double().numpy().copy()
        points[self.held.numpy()] = places.double().numpy()
        if start is None:
            points = self._edited_by_laplacian(points)
        for _ in range(iterations):
            points = self._system.solve(self._sums(self._rotations(points)), points)
        return Deformation(torch.from_numpy(points), torch.from_numpy(self._rotations(points)))

    def rotations(self, points: Tensor) -> Tensor:
        """Rotations [M, 3, 3] that take each point's edges at rest best to those between `points` [M, 3]."""
        return torch.from_numpy(self._rotations(points.double().numpy()))

    def energy(self, deformation: Deformation) -> float:
        """E, in squared units of the world."""
        apart = self._edges(deformation.points.numpy()) - self._turned(deformation.rotations.numpy())
        return float((self._weights * (apart * apart).sum(-1)).sum())

    def _rotations(self, points: np.ndarray) -> np.ndarray:
        return fitted_rotation_arrays(self._rest_edges, self._edges(points), self._weights)

    def _edges(self, points: np.ndarray) -> np.ndarray:
        """[M, K, 3] from each neighbour to the point."""
        return points[:, None] - points[self._index]

    def _turned(self, rotations: np.ndarray) -> np.ndarray:
        """[M, K, 3] edges at rest, each turned with its first point."""
        return self._rest_edges @ rotations.swapaxes(-1, -2)

    def _sums(self, rotations: np.ndarray) -> np.ndarray:
        """Right side [M, 3] of a global step: dE/dx = 0, halved."""
        terms = self._weights[..., None] * self._turned(rotations)
        index, size = self._index.reshape(-1), len(self._rest)
        into = [np.bincount(index, terms[..., axis].reshape(-1), size) for axis in range(3)]
        return terms.sum(1) - np.stack(into, axis=-1)

    def _edited_by_laplacian(self, points: np.ndarray) -> np.ndarray:
        if self._laplacian is None:
            operator = self._operator()
            self._laplacian = operator, _Held(csr_array(operator.T @ operator), self._free)
        operator, normal = self._laplacian
        return normal.solve(operator.T @ (operator @ self._rest), points)

    def _operator(self) -> csr_array:
        """L = I - W, sparse."""
        size, near = self._index.shape
        pair = np.arange(size).repeat(near), self._index.reshape(-1)
        joined = csr_array((self._weights.reshape(-1), pair), shape=(size, size))
        return csr_array(diags_array(self._weights.sum(-1)) - joined)

    def _excess(self) -> csr_array:
        """Diagonal that makes L + L^T the matrix of E: by how much a point is a neighbour more than it has some."""
        into = np.bincount(self._index.reshape(-1), self._weights.reshape(-1), len(self._rest))
        return csr_array(diags_array(into - self._weights.sum(-1)))


class _Held:
    """A symmetric positive semidefinite system A x = b over all points, solved for those that are free."""

    def __init__(self, matrix: csr_array, free: np.ndarray) -> None:
        self._free = free
        self._rows = csr_array(matrix[free])
        inner = self._rows[:, free].toarray()
        if len(free):
            inner[np.diag_indices(len(free))] += _KEEPS_PLACE * inner.diagonal().mean()
            self._factor = cho_factor(inner, lower=True, overwrite_a=True, check_finite=False)

    def solve(self, sums: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Places [M, 3] for the right side [M, 3] where `points` [M, 3] holds the held ones and where others were.

        Of solutions that are as good it is the one nearest to where they were.
        """
        found = points.copy()
        if len(self._free):
            found[self._free] += cho_solve(self._factor, sums[self._free] - self._rows @ points, check_finite=False)
        return found


def stretch(rest: Tensor, deformed: Tensor, pairs: Tensor) -> tuple[float, float]:
    """(mean, largest) relative change of length, 0 for none, of the edges [E, 2] between points [M, 3].

    Edges of no length at rest are left out.
    """
    before, after = ((p[pairs[:, 0]] - p[pairs[:, 1]]).double().norm(dim=-1) for p in (rest, deformed))
    kept = before > 0
    change = (after[kept] / before[kept] - 1).abs()
    return (float(change.mean()), float(change.max())) if len(change) else (0.0, 0.0)
