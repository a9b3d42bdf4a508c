"""Splats and point clouds as PLY files: the interchange format of the 3DGS family."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from .errors import BadInputError
from .gaussians import SH_C0, Gaussians
from .ply_file import PlyElement, PlyHeader, read_element, read_header, write_elements
from .point_cloud import PointCloud
from .splat_file import SplatFile

MAX_DEGREE = 4
_FLAT_LOG_RATIO = math.log(1e-3)  # 2DGS surfels get a third axis of 1/1000 of the shorter of the two they have
_COLORS = ("red", "green", "blue")


def read_splat(path: Path | str) -> SplatFile:
    """A 3DGS or 2DGS PLY file; properties are found by name, whatever their order.

    Rows that no renderer can use (NaN anywhere, infinite position, rotation, colour or size) are left out with a
    note; an opacity of +-Inf, a log-scale of -Inf and a zero quaternion are legal and kept.
    Raises BadInputError for a file that is none, is cut short, or is a compressed PLY.
    """
    path = Path(path)
    header = read_header(path)
    vertex = _splat_vertex(header)
    degree = _sh_degree(header, vertex)
    rows = read_element(header, "vertex")
    means = _columns(rows, ("x", "y", "z"))
    quats = _columns(rows, ("rot_0", "rot_1", "rot_2", "rot_3"))
    opacity = _columns(rows, ("opacity",))[:, 0]
    notes = []
    flat = "scale_2" not in vertex.properties
    log_scales = _columns(rows, ("scale_0", "scale_1", "scale_1" if flat else "scale_2"))
    if flat:
        log_scales[:, 2] = log_scales[:, :2].min(axis=1) + np.float32(_FLAT_LOG_RATIO)
        notes.append(f"{path.name} holds flat splats (2DGS); they were given a thickness of 1/1000 of their width.")
    sh = _spherical_harmonics(rows, degree)
    keep = np.isfinite(means).all(1) & np.isfinite(quats).all(1) & np.isfinite(sh).all((1, 2))
    keep &= ~np.isnan(opacity) & ~np.isnan(log_scales).any(1) & ~np.isposinf(log_scales).any(1)
    if not keep.all():
        notes.append(f"{path.name}: {int((~keep).sum())} of {len(rows)} Gaussians are not numbers and were left out.")
    parts = (torch.from_numpy(part[keep]) for part in (means, quats, log_scales, opacity, sh))
    return SplatFile(Gaussians(*parts), _says_antialiased(header.comments), notes=tuple(notes))


def write_splat(
    path: Path | str, gaussians: Gaussians, *, antialiased: bool = False, comments: Iterable[str] = ()
) -> None:
    """Write Gaussians as a binary 3DGS PLY; equal input gives equal bytes."""
    g = gaussians.detach().to("cpu")
    rest = g.sh[:, 1:].transpose(1, 2).flatten(1)  # channel-major: all red, all green, all blue
    names = ["x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", *(f"f_rest_{i}" for i in range(rest.shape[1]))]
    names += ["opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
    table = torch.cat([g.means, g.sh[:, 0], rest, g.opacity_logits[:, None], g.log_scales, g.quats], dim=1)
    rows = np.ascontiguousarray(table.float().numpy()).view([(name, "<f4") for name in names])[:, 0]
    lines = ["antialiased 1", "SplatRenderMode: mip"] if antialiased else []
    write_elements(Path(path), {"vertex": rows}, (*lines, *comments))


def read_points(path: Path | str) -> PointCloud:
    """A PLY point cloud; points that are not finite are left out, points without colour are grey.

    Also reads which views saw which point where `write_points` stored it (an extra element that others skip).
    """
    path = Path(path)
    header = read_header(path)
    vertex = header.element("vertex")
    if vertex is None or not {"x", "y", "z"} <= set(vertex.properties):
        raise BadInputError(f"{path} has no points: an element 'vertex' with x, y and z is expected.")
    rows = read_element(header, "vertex")
    xyz = _columns(rows, ("x", "y", "z"))
    seen_point, seen_view = _observations(header, len(rows))
    cloud = PointCloud(
        torch.from_numpy(xyz),
        torch.from_numpy(_rgb(rows)),
        seen_point,
        seen_view,
        metric="metric 1" in header.comments,
    )
    finite = torch.isfinite(cloud.xyz).all(1)
    return cloud if bool(finite.all()) else cloud[finite]


def write_points(path: Path | str, cloud: PointCloud) -> None:
    """Write points, colours and observations as a binary PLY; equal input gives equal bytes."""
    cloud = cloud.to("cpu")
    rows = np.zeros(len(cloud), [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), *((c, "u1") for c in _COLORS)])
    for i, (axis, color) in enumerate(zip("xyz", _COLORS, strict=True)):
        rows[axis] = cloud.xyz[:, i].detach().numpy()
        rows[color] = cloud.rgb[:, i].numpy()
    elements = {"vertex": rows}
    if cloud.seen_point is not None and cloud.seen_view is not None:
        seen = np.zeros(len(cloud.seen_point), [("point", "<i4"), ("view", "<i4")])
        seen["point"], seen["view"] = cloud.seen_point.numpy(), cloud.seen_view.numpy()
        elements["observation"] = seen
    write_elements(Path(path), elements, ("metric 1",) if cloud.metric else ())


def _splat_vertex(header: PlyHeader) -> PlyElement:
    vertex = header.element("vertex")
    found = set(vertex.properties) if vertex is not None else set()
    if "packed_position" in found or header.element("chunk") is not None:
        raise BadInputError(
            f"{header.path} is a compressed PLY (SuperSplat), which is not read here; convert it first, for example "
            "with `npx @playcanvas/splat-transform in.compressed.ply out.ply`."
        )
    required = ["x", "y", "z", "opacity", "scale_0", "scale_1", "rot_0", "rot_1", "rot_2", "rot_3"]
    if not found.issuperset(_COLORS):
        required += ["f_dc_0", "f_dc_1", "f_dc_2"]
    missing = [name for name in required if name not in found]
    if vertex is None or missing:
        what = "a point cloud" if found.issuperset("xyz") and "opacity" not in found else "no Gaussian splat"
        raise BadInputError(f"{header.path} is {what}: the vertex properties {', '.join(missing)} are missing.")
    return vertex


def _sh_degree(header: PlyHeader, vertex: PlyElement) -> int:
    names = {name for name in vertex.properties if name.startswith("f_rest_")}
    for degree in range(MAX_DEGREE + 1):
        count = 3 * ((degree + 1) ** 2 - 1)
        if len(names) == count and names == {f"f_rest_{i}" for i in range(count)}:
            return degree
    raise BadInputError(
        f"{header.path} has {len(names)} 'f_rest_' properties; 0, 9, 24, 45 or 72 numbered from 0 are expected "
        "(spherical harmonics of degree 0 to 4, three channels)."
    )


def _spherical_harmonics(rows: np.ndarray, degree: int) -> np.ndarray:
    """float32 [N, (degree + 1)^2, 3], coefficient-major."""
    found = rows.dtype.names or ()
    if "f_dc_0" in found:
        constant = _columns(rows, ("f_dc_0", "f_dc_1", "f_dc_2"))
    else:
        constant = ((_rgb(rows).astype(np.float32) / 255 - 0.5) / SH_C0).astype(np.float32)
    per_channel = (degree + 1) ** 2 - 1
    rest = _columns(rows, tuple(f"f_rest_{i}" for i in range(3 * per_channel)))
    rest = rest.reshape(len(rows), 3, per_channel).transpose(0, 2, 1)
    return np.ascontiguousarray(np.concatenate([constant[:, None], rest], axis=1))


def _columns(rows: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """The named properties as float32 [N, len(names)]; a double too large for float32 becomes infinite."""
    out = np.empty((len(rows), len(names)), np.float32)
    with np.errstate(over="ignore"):
        for i, name in enumerate(names):
            out[:, i] = rows[name]
    return out


def _rgb(rows: np.ndarray) -> np.ndarray:
    """uint8 [N, 3]; floating-point colours are taken as 0 to 1, absent ones are middle grey."""
    if not set(rows.dtype.names or ()).issuperset(_COLORS):
        return np.full((len(rows), 3), 128, np.uint8)
    colors = np.stack([rows[name] for name in _COLORS], axis=1)
    if colors.dtype.kind == "f":
        colors = np.nan_to_num(colors.astype(np.float64), posinf=1, neginf=0).clip(0, 1) * 255 + 0.5
    return colors.astype(np.float64).clip(0, 255).astype(np.uint8)


def _observations(header: PlyHeader, n_points: int) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    element = header.element("observation")
    if element is None or not {"point", "view"} <= set(element.properties):
        return None, None
    rows = read_element(header, "observation")
    point, view = rows["point"].astype(np.int64), rows["view"].astype(np.int64)
    if len(rows) and (point.min() < 0 or point.max() >= n_points or view.min() < 0):
        raise BadInputError(
            f"{header.path}: an observation points outside of the {n_points} points; the file is damaged."
        )
    return torch.from_numpy(point), torch.from_numpy(view)


def _says_antialiased(comments: tuple[str, ...]) -> bool:
    lines = {" ".join(comment.lower().replace(":", " ").split()) for comment in comments}
    return bool(lines & {"antialiased 1", "splatrendermode mip"})
