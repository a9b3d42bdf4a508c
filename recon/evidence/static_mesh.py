"""A still mesh of an object that moves, from the outlines of one moment: where nobody gives a better one.

Several cameras at once give their visual hull. One camera sees an outline, which is filled as if the object were as
thick as it is wide: the far side is a guess, and so is the near one, but from where it was seen it looks right.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from scipy.sparse import csc_array, csr_array, eye_array
from scipy.sparse.linalg import spsolve
from torch import Tensor

from ...render.aim import focus_point
from ...scene.cameras import Cameras
from ...scene.capture import Capture
from ...scene.geometry import se3_inverse, transform_points
from ...scene.mesh_topology import vertex_normals
from ...scene.triangle_mesh import Mesh
from ..mesh.hull_mesh import hull_mesh
from ..mesh.marching_cubes import marching_cubes
from ..optimise.dataset import Dataset, View

SIDE = 72  # cells along the longer side of an outline
RIM = 2  # empty cells around it


def mesh_of_first_moment(capture: Capture, dataset: Dataset) -> Mesh | None:
    """The hull of the training views of the first moment, or their one outline, inflated; None without an outline."""
    times = {i: dataset.time_s(i) or 0.0 for i in dataset.train}
    first = [i for i in dataset.train if times[i] == min(times.values())]
    found = (
        hull_mesh(replace(capture.subset(first), cameras=dataset.cameras[first].to("cpu"))) if len(first) > 1 else None
    )
    return inflated_mesh(dataset, first[0]) if found is None else found


def inflated_mesh(dataset: Dataset, index: int) -> Mesh | None:
    """A closed mesh in the outline of one view, in the colours of its picture; None where nothing is opaque.

    With f = 0 on the outline and a Laplacian of -2 within it, the surface is the root of f before and behind a middle
    plane: a strip becomes a round bar, a disk an ellipsoid that is flat by a factor of 1.4.
    """
    view, camera = dataset.view(index), dataset.cameras[index].to("cpu")
    shown = _shown(view)
    opaque = shown >= 0.5
    rows, columns = np.nonzero(opaque)
    if len(rows) == 0:
        return None
    extent = max(np.ptp(rows), np.ptp(columns)) + 1
    cell = extent / SIDE
    left, top = columns.min() - RIM * cell, rows.min() - RIM * cell
    size = tuple(int(np.ceil((np.ptp(along) + 1) / cell)) + 2 * RIM for along in (columns, rows))
    affine = np.array([[cell, 0, left + cell / 2 - 0.5], [0, cell, top + cell / 2 - 0.5]])
    soft = cv2.GaussianBlur(shown, (0, 0), max(cell / 2, 0.3))
    inside = cv2.warpAffine(soft, affine, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    half = np.sqrt(_inflated(inside > 0.5))
    layers = int(np.ceil(half.max())) + RIM
    # Below zero inside: by its thickness in the middle of the outline, by the outline at its border.
    ahead = np.abs(np.arange(-layers, layers + 1))
    found, faces = marching_cubes(np.maximum(ahead - half.T[..., None], (0.5 - inside.T)[..., None]))
    if len(faces) == 0:
        return None
    K, depth = camera.K.double(), _depth(dataset, camera, float(extent))
    places = torch.from_numpy(found).double()
    pixels = places[:, :2] * cell + torch.tensor([left + cell / 2, top + cell / 2], dtype=torch.float64)
    along = depth + (places[:, 2:] - layers) * cell * depth / K[0, 0]
    in_camera = along * torch.cat([(pixels - K[:2, 2]) / K.diagonal()[:2], torch.ones_like(along)], dim=1)
    vertices = transform_points(se3_inverse(camera.cam_from_world.double()), in_camera).float()
    corners = torch.from_numpy(faces)
    return Mesh(vertices, corners, vertex_normals(vertices, corners), _colors(view, opaque, pixels.numpy()))


def _shown(view: View) -> np.ndarray:
    """float32 [H, W] in [0, 1]: how much of each pixel shows the object."""
    found = view.pixels[..., 3] / 255 if view.pixels.shape[-1] == 4 else view.mask
    shown: np.ndarray = np.zeros(view.pixels.shape[:2]) if found is None else found.cpu().numpy()
    return shown.astype(np.float32)


def _inflated(inside: np.ndarray) -> np.ndarray:
    """[H, W] with a Laplacian of -2 inside, 0 elsewhere."""
    number = np.full(inside.shape, -1)
    number[inside] = np.arange(inside.sum())
    here = number[inside]
    system = 4 * eye_array(len(here), format="csr")
    for axis, by in ((0, 1), (0, -1), (1, 1), (1, -1)):
        other = np.roll(number, by, axis)[inside]  # the rim is outside, so nothing comes round
        joined = other >= 0
        system = system - csr_array(
            (np.ones(joined.sum()), (here[joined], other[joined])), shape=(len(here), len(here))
        )
    found = np.zeros(inside.shape)
    found[inside] = spsolve(csc_array(system), np.full(len(here), 2.0))
    return found.clip(0)


def _depth(dataset: Dataset, camera: Cameras, extent_px: float) -> float:
    """Depth of the object in a camera: where several look, else such that it is one unit high or wide."""
    cameras = dataset.cameras[list(dataset.train)].to("cpu")
    spread = float((cameras.centers - cameras.centers.mean(0)).norm(dim=1).max())
    if spread > 1e-6:
        depth = float(transform_points(camera.cam_from_world, focus_point(cameras)[None])[0, 2])
        if depth > 0:
            return depth
    return float(camera.K[0, 0]) / extent_px


def _colors(view: View, opaque: np.ndarray, pixels: np.ndarray) -> Tensor:
    """uint8 [V, 3]: the nearest opaque pixel's at places [V, 2] in the picture."""
    _, nearest = distance_transform_edt(~opaque, return_indices=True)
    height, width = opaque.shape
    column, row = (np.floor(pixels).astype(np.int64).clip(0, [width - 1, height - 1])).T
    rgb = view.pixels[..., :3].cpu().numpy()
    return torch.from_numpy(rgb[nearest[0][row, column], nearest[1][row, column]].copy())
