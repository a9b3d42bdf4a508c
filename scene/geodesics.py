"""Distances along a surface of triangles, by the heat method (Crane, Weischedel and Wardetzky 2013)."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import coo_matrix, csc_matrix, diags
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu
from torch import Tensor

AT_ONCE = 64  # sources that are solved for together
LEAST = 1e-12  # of the mean area of a face: the area of one without


class HeatGeodesics:
    """A mesh whose two sparse systems are factorised once, for any number of sources.

    Heat that has diffused for the time h^2, h the mean length of an edge, falls away from its source along the shortest
    ways; a distance is what best has the unit gradient along them. Errors are a few percent of distances of several
    edges. Surfaces may be open and may branch; what is not connected is infinitely far.
    """

    def __init__(self, vertices: Tensor, faces: Tensor) -> None:
        """Factorises for vertices [V, 3] and faces [F, 3]; every vertex has to be of some face."""
        self.vertices, self.faces = vertices.detach().cpu().double().numpy(), faces.cpu().numpy()
        V, F = len(self.vertices), len(self.faces)
        corners = self.vertices[self.faces]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        double_area = np.linalg.norm(normals, axis=1)
        double_area = np.maximum(double_area, LEAST * max(double_area.mean(), 1e-300))
        # The gradient of a corner's hat function: the opposite edge, turned by a right angle, over twice the area.
        opposite = corners[:, [2, 0, 1]] - corners[:, [1, 2, 0]]
        hats = np.cross(normals[:, None], opposite) / (double_area**2)[:, None, None]
        rows = (3 * np.arange(F)[:, None, None] + np.arange(3)).repeat(3, axis=1)
        columns = self.faces[:, :, None].repeat(3, axis=2)
        self._gradient = coo_matrix((hats.ravel(), (rows.ravel(), columns.ravel())), shape=(3 * F, V)).tocsr()
        self._divergence = (self._gradient.T @ diags((double_area / 2).repeat(3))).tocsr()
        stiffness = csc_matrix(self._divergence @ self._gradient)  # the cotangent Laplacian
        mass = np.bincount(self.faces.ravel(), (double_area / 6).repeat(3), V)
        step = np.linalg.norm(opposite, axis=2).mean() ** 2
        self._heat = splu(csc_matrix(diags(mass) + step * stiffness))
        # Distances are known up to a constant on each part; a little mass picks one.
        self._poisson = splu(csc_matrix(stiffness + diags(1e-8 * stiffness.diagonal().mean() * mass / mass.mean())))
        self._part = connected_components(stiffness, directed=False)[1]

    def distances(self, face: Tensor, barycentric: Tensor) -> Tensor:
        """float64 [S, V] from places on the surface, by face [S] and barycentric [S, 3], to all vertices."""
        faces, weights = self.faces[face.cpu().numpy()], barycentric.detach().cpu().double().numpy()
        found = [
            self._from(faces[begin : begin + AT_ONCE], weights[begin : begin + AT_ONCE])
            for begin in range(0, len(faces), AT_ONCE)
        ]
        return torch.from_numpy(np.concatenate(found))

    def _from(self, corners: np.ndarray, weights: np.ndarray) -> np.ndarray:
        count, V = len(corners), len(self.vertices)
        sources = np.zeros((V, count))
        np.add.at(sources, (corners, np.arange(count)[:, None]), weights)
        slope = (self._gradient @ self._heat.solve(sources)).reshape(-1, 3, count)
        length = np.sqrt((slope * slope).sum(1, keepdims=True))
        along = -slope / np.maximum(length, 1e-300)
        distance = self._poisson.solve(self._divergence @ along.reshape(-1, count)).T
        # Near its source a distance is that in a straight line.
        near = self.vertices[corners]
        straight = np.linalg.norm(near - (weights[..., None] * near).sum(1, keepdims=True), axis=2)
        offset = (weights * (straight - np.take_along_axis(distance, corners, 1))).sum(1, keepdims=True)
        distance = np.maximum(distance + offset, 0.0)
        distance[self._part[corners[:, :1]] != self._part[None]] = np.inf
        result: np.ndarray = distance
        return result
