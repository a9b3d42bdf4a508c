"""Point clouds as PLY files. (Splats as PLY files are in `formats/ply.py`.)"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from .errors import BadInputError
from .ply_file import COLORS, PlyHeader, columns, read_element, read_header, rgb, write_elements
from .point_cloud import PointCloud


def read_points(path: Path | str, *, double: bool = False, exact: bool = False) -> PointCloud:
    """A PLY point cloud; points that are not finite are left out, points without colour are grey.

    With `double` the positions are float64, for files whose coordinates are a map's; with `exact` they are float32, and
    what they were rounded from stays with them.

    Also reads which views saw which point where `write_points` stored it (an extra element that others skip).
    """
    path = Path(path)
    header = read_header(path)
    vertex = header.element("vertex")
    if vertex is None or not {"x", "y", "z"} <= set(vertex.properties):
        raise BadInputError(f"{path} has no points: an element 'vertex' with x, y and z is expected.")
    rows = read_element(header, "vertex")
    xyz = torch.from_numpy(columns(rows, ("x", "y", "z"), np.float64 if double or exact else np.float32))
    seen_point, seen_view = _observations(header, len(rows))
    cloud = PointCloud(
        xyz.float() if exact else xyz,
        torch.from_numpy(rgb(rows)),
        seen_point,
        seen_view,
        metric="metric 1" in header.comments,
        exact=xyz if exact else None,
    )
    finite = torch.isfinite(cloud.xyz).all(1)
    return cloud if bool(finite.all()) else cloud[finite]


def write_points(path: Path | str, cloud: PointCloud) -> None:
    """Write points, colours and observations as a binary PLY; equal input gives equal bytes.

    Positions are float32, or float64 where that is what the source gave.
    """
    cloud = cloud.to("cpu")
    xyz = cloud.unrounded_xyz.detach().numpy()
    kind = "<f4" if np.array_equal(xyz.astype(np.float32), xyz) else "<f8"
    rows = np.zeros(len(cloud), [*((axis, kind) for axis in "xyz"), *((c, "u1") for c in COLORS)])
    for i, (axis, color) in enumerate(zip("xyz", COLORS, strict=True)):
        rows[axis] = xyz[:, i]
        rows[color] = cloud.rgb[:, i].numpy()
    elements = {"vertex": rows}
    if cloud.seen_point is not None and cloud.seen_view is not None:
        seen = np.zeros(len(cloud.seen_point), [("point", "<i4"), ("view", "<i4")])
        seen["point"], seen["view"] = cloud.seen_point.numpy(), cloud.seen_view.numpy()
        elements["observation"] = seen
    write_elements(Path(path), elements, ("metric 1",) if cloud.metric else ())


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
