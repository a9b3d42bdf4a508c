"""Figures and pictures that say how well a mesh fits what is known of its scene."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from ...render import render
from ...render.mesh_rendering import render_mesh
from ...scene.cameras import Cameras
from ...scene.capture import Capture, evenly_spaced
from ...scene.mesh_distance import point_mesh_distance
from ...scene.mesh_topology import components, edges
from ...scene.splat import Splat
from ...scene.triangle_mesh import Mesh

MAX_POINTS = 20_000  # sparse points whose distance is measured
SHEET_VIEWS, SHEET_SIDE_PX = 3, 480
_GAP_PX = 6


def mesh_figures(mesh: Mesh, points: Tensor | None = None) -> dict[str, Any]:
    """Counts of a mesh, and how far sparse points [n, 3] in its box lie from it, as JSON takes them.

    Distances are in percent of the diagonal of the mesh's box.
    """
    found = edges(mesh.faces)
    figures: dict[str, Any] = {
        "vertices": len(mesh.vertices),
        "faces": len(mesh),
        "parts": int(components(mesh.faces, len(mesh.vertices)).max()) + 1,
        "boundary_edges": int(found.boundary.sum()),
        "non_manifold_edges": int(found.non_manifold.sum()),
    }
    low, high = mesh.vertices.amin(0), mesh.vertices.amax(0)
    diagonal = float((high - low).norm())
    figures["diagonal"] = diagonal
    if points is None or len(points) == 0:
        return figures
    inside = points[((points >= low) & (points <= high)).all(1)]
    figures["points"] = {"all": len(points), "in_box": len(inside)}
    if len(inside):
        some = inside[torch.linspace(0, len(inside) - 1, min(len(inside), MAX_POINTS)).long()]
        distance = point_mesh_distance(some, mesh) / diagonal * 100
        quantiles = distance.quantile(torch.tensor([0.5, 0.9], dtype=distance.dtype)).tolist()
        figures["points"] |= {"median_percent": quantiles[0], "p90_percent": quantiles[1]}
    return figures


@torch.no_grad()
def contact_sheet(mesh: Mesh, splat: Splat, capture: Capture, indices: list[int], time_s: float | None) -> np.ndarray:
    """uint8 [H, W, 3]: for a few photographs the photograph, the splat, the mesh and its shape, side by side."""
    assert capture.cameras is not None
    gaussians = splat.at(time_s)
    background = torch.tensor(splat.background)
    rows = []
    for index in evenly_spaced(indices, SHEET_VIEWS):
        camera = _small(capture.cameras[index])
        width, height = int(camera.width), int(camera.height)
        photograph = capture.image(index, width, height).float() / 255
        if photograph.shape[-1] == 4:
            photograph = torch.lerp(background.expand(height, width, 3), photograph[..., :3], photograph[..., 3:])
        shown = render_mesh(mesh, camera, background)
        drawn = render(gaussians, camera, background=background, antialiased=splat.antialiased)
        shape = shown.shape[..., None].expand(height, width, 3)
        cells = [photograph, drawn.rgb.cpu().clamp(0, 1), shown.rgb, shape]
        pixels = [(cell.numpy() * 255).round().astype(np.uint8) for cell in cells]
        rows.append(
            np.concatenate(
                [cv2.copyMakeBorder(p, 0, 0, 0, _GAP_PX, cv2.BORDER_CONSTANT, value=(255,) * 3) for p in pixels], axis=1
            )
        )
    widest = max(row.shape[1] for row in rows)
    padded = [
        cv2.copyMakeBorder(row, 0, _GAP_PX, 0, widest - row.shape[1], cv2.BORDER_CONSTANT, value=(255,) * 3)
        for row in rows
    ]
    return np.concatenate(padded)


def _small(camera: Cameras) -> Cameras:
    factor = min(1.0, SHEET_SIDE_PX / max(int(camera.width), int(camera.height)))
    return camera.resized(max(1, round(int(camera.width) * factor)), max(1, round(int(camera.height) * factor)))
