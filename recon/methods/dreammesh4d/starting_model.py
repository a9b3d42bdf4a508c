"""The model as training finds it: Gaussians on a static mesh that the photographs show, in its colours."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ....render.aim import up_direction
from ....render.mesh_rasterization import rasterize_mesh
from ....scene.errors import BadInputError
from ....scene.triangle_mesh import Mesh
from ...evidence.view_prior import ViewPrior
from ...optimise.dataset import Dataset
from ..moving_capture import MovingFrame
from .config import DreamMesh4dConfig
from .face_gaussians import face_places, gaussian_table
from .joining_moments import JoiningMoments
from .mattes import matte
from .model import DreamMesh4d
from .rest_mesh import colors_near, rest_mesh

LEAST_OVERLAP = 0.1  # of the union of outline and mesh


def initialise(
    dataset: Dataset,
    mesh: Mesh,  # static, in the frame of the cameras
    config: DreamMesh4dConfig,
    device: torch.device | str = "cpu",
    prior: ViewPrior | None = None,
) -> DreamMesh4d:
    """Gaussians on the faces of a mesh, in its colours, and a network that moves nothing yet.

    Raises BadInputError for a mesh without a face, and for one that no photograph of its moment can see.
    """
    rest = rest_mesh(mesh.to("cpu"), config.max_faces)
    generator = torch.Generator().manual_seed(config.seed)
    face, barycentric = face_places(len(rest), config.per_face)
    places = (barycentric[..., None] * rest.vertices[rest.faces[face]]).sum(1)
    gaussians = gaussian_table(
        rest.vertices.to(device), rest.faces.to(device), config.per_face,
        colors_near(mesh, places, generator).to(device), config.initial_scale, config.initial_opacity,
    )  # fmt: skip
    views = reference_views(dataset, config.reference)
    check_seen(rest, dataset, views)
    low, high = rest.vertices.amin(0), rest.vertices.amax(0)
    assert dataset.cameras.times_s is not None
    times = dataset.cameras.times_s.double().unique()
    frame = MovingFrame((low + high) / 2, float((high - low).max()) / 2, float(times[0]), float(times[-1]), len(times))
    moments = [frame.moment(dataset.time_s(i)) for i in dataset.train]
    joining = JoiningMoments(
        moments, frame.moment(dataset.time_s(views[0])), int(config.join_until * config.moving_part)
    )
    up = up_direction(dataset.cameras[list(dataset.train)]) if mesh.up is None else torch.tensor(mesh.up)
    return DreamMesh4d(rest.to(device), gaussians, config, frame, views, joining, up, prior)


def reference_views(dataset: Dataset, moment: int) -> list[int]:
    """The training views of a moment, counted in the order of time. Raises BadInputError beyond the last."""
    times = sorted({dataset.time_s(i) or 0.0 for i in dataset.train})
    if moment >= len(times):
        raise BadInputError(f"reference is {moment}, and there are {len(times)} moments, counted from 0.")
    return [i for i in dataset.train if (dataset.time_s(i) or 0.0) == times[moment]]


def check_seen(mesh: Mesh, dataset: Dataset, views: Sequence[int]) -> None:
    """Raise BadInputError unless some photograph shows the object where the mesh is."""
    best = 0.0
    for i in views:
        wanted = matte(dataset.views[i])
        assert wanted is not None
        camera = dataset.cameras[i].to("cpu")
        hit, opaque = rasterize_mesh(mesh.vertices, mesh.faces, camera).hit, wanted.cpu() > 0.5
        best = max(best, float((hit & opaque).sum() / (hit | opaque).sum().clamp_min(1)))
    if best < LEAST_OVERLAP:
        raise BadInputError(
            f"The static mesh covers {best:.0%} of the object's outline at its moment: give a mesh that lies in the "
            "frame of the cameras, or leave it out for one that is made from the outlines."
        )
