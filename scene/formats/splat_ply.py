"""Splats as PLY files: the interchange format of the 3DGS family."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..errors import BadInputError
from ..gaussians import SH_C0
from ..ply_file import COLORS, PlyElement, PlyHeader, columns, read_element, read_header, rgb, write_elements
from ..splat import Axis, StaticSplat
from .axes import parse_axis
from .clean import arrays, usable_gaussians
from .packing import constant_in_srgb
from .ply_camera import is_linear_light

MAX_DEGREE = 4
_FLAT_LOG_RATIO = math.log(1e-3)  # 2DGS surfels get a third axis of 1/1000 of the shorter of the two they have


def read(path: Path | str) -> StaticSplat:
    """A 3DGS or 2DGS PLY file; properties are found by name, whatever their order.

    Rows that no renderer can use (NaN anywhere, infinite position, rotation, colour or size) are left out with a
    note; an opacity of +-Inf, a log-scale of -Inf and a zero quaternion are legal and kept.
    Raises BadInputError for a file that is none or is cut short.
    """
    path = Path(path)
    header = read_header(path)
    vertex = _splat_vertex(header)
    degree = _sh_degree(header, vertex)
    rows = read_element(header, "vertex")
    means = columns(rows, ("x", "y", "z"))
    quats = columns(rows, ("rot_0", "rot_1", "rot_2", "rot_3"))
    opacity = columns(rows, ("opacity",))[:, 0]
    flat = "scale_2" not in vertex.properties
    log_scales = columns(rows, ("scale_0", "scale_1", "scale_1" if flat else "scale_2"))
    notes: tuple[str, ...] = ()
    if flat:
        log_scales[:, 2] = log_scales[:, :2].min(axis=1) + np.float32(_FLAT_LOG_RATIO)
        notes = (f"{path.name} holds flat splats (2DGS); they were given a thickness of 1/1000 of their width.",)
    sh = _spherical_harmonics(rows, degree)
    if is_linear_light(header):
        sh[:, 0] = constant_in_srgb(sh[:, 0])
        notes += (
            f"{path.name} has colours in linear light; each Gaussian's was turned into sRGB, so blends differ a bit.",
        )
    gaussians, left_out = usable_gaussians(path, means, quats, log_scales, opacity, sh)
    return StaticSplat(
        gaussians, says_antialiased(header.comments), vertical_axis(header.comments), notes=(*notes, *left_out)
    )


def write(path: Path | str, splat: StaticSplat, *, comments: Iterable[str] = ()) -> tuple[str, ...]:
    """Write Gaussians as a binary 3DGS PLY; equal input gives equal bytes. Nothing is lost."""
    means, quats, log_scales, opacity, sh = arrays(splat.gaussians)
    rest = (
        sh[:, 1:].transpose(0, 2, 1).reshape(len(sh), 3 * (sh.shape[1] - 1))
    )  # channel-major: all red, all green, all blue
    names = ["x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", *(f"f_rest_{i}" for i in range(rest.shape[1]))]
    names += ["opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
    table = np.concatenate([means, sh[:, 0], rest, opacity[:, None], log_scales, quats], axis=1)
    rows = table.view([(name, "<f4") for name in names])[:, 0]
    write_elements(Path(path), {"vertex": rows}, (*splat_comments(splat), *comments))
    return ()


def splat_comments(splat: StaticSplat) -> tuple[str, ...]:
    """Header comments that say how to render a splat and which way is up, as Postshot and Brush write them."""
    render = ("antialiased 1", "SplatRenderMode: mip") if splat.antialiased else ()
    if splat.up is None:
        return render
    # Numbers, never a letter: readers disagree about the sign that a letter stands for.
    return (*render, "Vertical axis: " + " ".join(f"{value:.9g}" for value in splat.up))


def says_antialiased(comments: Iterable[str]) -> bool:
    lines = {" ".join(comment.lower().replace(":", " ").split()) for comment in comments}
    return bool(lines & {"antialiased 1", "splatrendermode mip"})


def vertical_axis(comments: Iterable[str]) -> Axis | None:
    """The up axis of a comment `Vertical axis: X Y Z`, `y` or `z`; None where there is none to be read.

    Brush writes `y` for its usual frame, in which y points down and up is -y; nerfstudio writes `z` for z up.
    """
    for comment in comments:
        name, _, value = comment.partition(":")
        if name.strip().lower() == "vertical axis":
            try:
                return parse_axis("-y" if value.strip().lower() == "y" else value)
            except BadInputError:  # a comment of another tool is no reason to refuse a splat
                return None
    return None


def _splat_vertex(header: PlyHeader) -> PlyElement:
    vertex = header.element("vertex")
    found = set(vertex.properties) if vertex is not None else set()
    required = ["x", "y", "z", "opacity", "scale_0", "scale_1", "rot_0", "rot_1", "rot_2", "rot_3"]
    if not found.issuperset(COLORS):
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
        constant = columns(rows, ("f_dc_0", "f_dc_1", "f_dc_2"))
    else:
        constant = ((rgb(rows).astype(np.float32) / 255 - 0.5) / SH_C0).astype(np.float32)
    per_channel = (degree + 1) ** 2 - 1
    rest = columns(rows, tuple(f"f_rest_{i}" for i in range(3 * per_channel)))
    rest = rest.reshape(len(rows), 3, per_channel).transpose(0, 2, 1)
    return np.ascontiguousarray(np.concatenate([constant[:, None], rest], axis=1))
