"""`splat_mesh`: the surface of a splat as a coloured mesh."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from ...scene.cameras import Cameras
from ...scene.errors import BadInputError
from ...scene.mesh_topology import face_areas, vertex_normals
from ...scene.progress import Progress, silent
from ...scene.splat import Splat
from ...scene.triangle_mesh import Mesh
from . import open3d_backend
from .cleaning import SMALLEST_PART, largest_parts, without_small_holes
from .decimation import clustered
from .depth_views import DepthView, depth_views
from .seen_colors import seen_colors
from .texture_atlas import textured
from .tsdf import TRUNCATION, Grid, fused_surface, grid_around

MAX_VOXELS, MAX_FACES = 768, 5_000_000
_POISSON_POINTS = 2_000_000


@dataclass(frozen=True, kw_only=True)
class MeshConfig:
    """Settings of a mesh from a splat."""

    # Fusion of depth maps, or Poisson reconstruction of their points by Open3D, which closes what nobody has seen.
    surface: Literal["tsdf", "poisson"] = "tsdf"
    # Voxels along the longest side of what the cameras see, 16 to 768: twice as many take four times as long.
    voxels: int = 256
    # Cameras besides those of the photographs, between them on their sphere; all around a splat that has none.
    views: int = 24
    # Longer side of the depth maps, in pixels.
    size: int = 640
    # At most so many faces.
    faces: int = 200_000
    # The largest part alone, all that are no crumbs beside it, or every one.
    parts: Literal["largest", "large", "all"] = "large"
    # Side of a texture in pixels; 0 gives the vertices colours. The package xatlas lays it out best.
    texture: int = 0

    def __post_init__(self) -> None:
        bounds = {"voxels": (16, MAX_VOXELS), "views": (0, 1000), "size": (32, 4096), "faces": (4, MAX_FACES)}
        bounds["texture"] = (0, 8192)
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise BadInputError(f"--{name} {value} cannot be used: {low} to {high} are possible.")


@dataclass(frozen=True)
class MeshResult:
    """A mesh, with notes in it, and how it came about."""

    mesh: Mesh
    grid: Grid
    views: int
    seconds: dict[str, float]


def splat_mesh(
    splat: Splat,
    cameras: Cameras | None = None,  # [C] of the photographs; None for a splat without any
    config: MeshConfig = MeshConfig(),
    time_s: float | None = None,
    *,
    metric: bool = False,
    progress: Progress = silent,
) -> MeshResult:
    """The mesh of a splat at a moment, the first one when None, in the world frame of the splat.

    Raises BadInputError where the cameras see no surface, and where a package that the config asks for is not there.
    """
    if config.surface == "poisson":
        open3d_backend.load()
    seconds: dict[str, float] = {}
    gaussians = splat.at(time_s).detach()
    if len(gaussians) == 0:
        raise BadInputError("The splat has no Gaussians, so there is no surface in it.")
    started = time.perf_counter()
    views, notes = depth_views(splat, gaussians, cameras, config.views, config.size, progress)
    seconds["depth"], started = time.perf_counter() - started, time.perf_counter()
    points = torch.cat([view.points() for view in views]) if views else torch.zeros(0, 3)
    grid = grid_around(points, config.voxels)
    mesh = _poisson(views, grid) if config.surface == "poisson" else _fused(views, grid, progress)
    if len(mesh) == 0:
        raise BadInputError("The depth maps have no surface in common; more --views or fewer --voxels may find one.")
    seconds["surface"], started = time.perf_counter() - started, time.perf_counter()
    mesh, cleaned = _cleaned(mesh, config)
    seconds["cleaning"], started = time.perf_counter() - started, time.perf_counter()
    normals = vertex_normals(mesh.vertices, mesh.faces)
    mesh = replace(mesh, normals=normals)
    tolerance = TRUNCATION * grid.voxel

    def colors(places: Tensor, normals: Tensor) -> Tensor:
        return seen_colors(places, normals, views, tolerance)

    if config.texture:
        mesh = textured(mesh, config.texture, colors)
    else:
        mesh = replace(mesh, colors=(colors(mesh.vertices, normals) * 255).round().to(torch.uint8))
    seconds["colours"] = time.perf_counter() - started
    mesh = replace(mesh, up=splat.up, metric=metric, notes=(*notes, *cleaned, *mesh.notes))
    return MeshResult(mesh, grid, len(views), seconds)


def _fused(views: list[DepthView], grid: Grid, progress: Progress) -> Mesh:
    return Mesh(*fused_surface(views, grid, progress))


def _poisson(views: list[DepthView], grid: Grid) -> Mesh:
    """The surface of the points of all depth maps, its octree as fine as the grid."""
    points, normals = zip(*(_oriented(view) for view in views), strict=True)
    xyz, facing = torch.cat(points), torch.cat(normals)
    inside = ((xyz >= grid.origin) & (xyz <= grid.origin + grid.voxel * torch.tensor(grid.shape))).all(1)
    xyz, facing = xyz[inside], facing[inside]
    step = max(1, len(xyz) // _POISSON_POINTS)
    depth = max(4, (max(grid.shape) - 1).bit_length())
    return open3d_backend.poisson_surface(xyz[::step], facing[::step], depth)


def _oriented(view: DepthView) -> tuple[Tensor, Tensor]:
    """(points [n, 3], their normals [n, 3] towards the camera) of a depth map, where it is smooth."""
    height, width = view.depth.shape
    place = torch.zeros(height, width, 3)
    place[view.hit] = view.points()
    right, down = place[1:-1, 2:] - place[1:-1, :-2], place[2:, 1:-1] - place[:-2, 1:-1]
    hit = view.hit
    whole = hit[1:-1, 1:-1] & hit[1:-1, 2:] & hit[1:-1, :-2] & hit[2:, 1:-1] & hit[:-2, 1:-1]
    normals = torch.nn.functional.normalize(torch.linalg.cross(down, right), dim=-1)[whole]
    points = place[1:-1, 1:-1][whole]
    rays = torch.nn.functional.normalize(points - view.camera.centers, dim=1)
    facing = (normals * rays).sum(1)
    # At a step in depth the normal lies across the ray.
    good = facing < -0.1
    return points[good], normals[good]


def _cleaned(mesh: Mesh, config: MeshConfig) -> tuple[Mesh, tuple[str, ...]]:
    """The mesh without parts in the air and small holes, within the budget of faces, and sentences on it."""
    notes = []
    if config.parts != "all":
        share = 1.0 if config.parts == "largest" else SMALLEST_PART
        before = float(face_areas(mesh.vertices, mesh.faces).sum())
        mesh, dropped = largest_parts(mesh, share)
        if dropped:
            lost = 1 - float(face_areas(mesh.vertices, mesh.faces).sum()) / before
            notes.append(f"{dropped} parts that hang in the air, {lost:.1%} of the surface, were left out.")
    mesh, closed = without_small_holes(mesh)
    if closed:
        notes.append(f"{closed} small holes were closed.")
    if len(mesh) > config.faces:
        faces = len(mesh)
        with_open3d = open3d_backend.can_be_used()
        mesh = open3d_backend.decimated(mesh, config.faces) if with_open3d else clustered(mesh, config.faces)
        way = "edge collapses of Open3D" if with_open3d else "clustering"
        notes.append(f"{faces:,} faces became {len(mesh):,} by {way}.")
    return mesh, tuple(notes)
