"""Indoor scans of any kind: of ScanNet, ARKitScenes or SUN RGB-D, points, a mesh, a reconstruction."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from ..errors import BadInputError
from ..files import read_json
from ..formats.axes import file_from_world, parse_axis
from ..ply_file import COLORS, read_header
from ..points_input import holds_points, read_any_points
from ..run import Run
from ..run_splat import load_run_splat
from ..scan import Scan
from .arkit_scenes import is_arkit_scene, read_arkit_scene
from .scannet_scene import is_scannet_scene, read_scannet_scene
from .sunrgbd_frame import is_sunrgbd_info, read_sunrgbd

# Of Gaussians that count as a surface. A wall is many that are hardly opaque: in runs of instantsplat one in a hundred
# is more than half opaque, and one in two is above this.
LEAST_OPACITY = 0.1
_Z_UP = torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # from a frame whose up is y


def read_indoor_scan(path: Path | str, up: str | None = None, scale: float | None = None) -> Scan:
    """The scan at `path` in metres with z up.

    A scene folder of ScanNet or ARKitScenes, an info file of SUN RGB-D as JSON (its first frame), a PLY or glTF of
    points or of a mesh, or a run of `fewview reconstruct`. `up` names the axis that is up in a file, z unless given (a
    run says its own); `scale` is the metres in one of its units, which a run needs, as its unit is not known.
    Raises BadInputError for all else.
    """
    path = Path(path)
    if scale is not None and not (math.isfinite(scale) and scale > 0):
        raise BadInputError(f"A scale of {scale:g} cannot be used: metres in one unit of the file are expected.")
    if path.is_dir() and is_scannet_scene(path):
        return _plain(read_scannet_scene(path)[0], up, scale)
    if path.is_dir() and is_arkit_scene(path):
        return _plain(read_arkit_scene(path), up, scale)
    if (path / "config.json").is_file():
        return _of_run(Run.open(path), up, scale)
    if path.suffix.lower() == ".json" and path.is_file():
        if not is_sunrgbd_info(read_json(path)):
            raise BadInputError(f"{path} is no info file of SUN RGB-D; a scan is expected (see the help).")
        return _plain(read_sunrgbd(path), up, scale)
    if not holds_points(path):
        raise BadInputError(
            f"{path} is no scan: a scene folder of ScanNet or ARKitScenes, a PLY or glTF with points, an info file of "
            "SUN RGB-D (as JSON) or a run of `fewview reconstruct` is expected."
        )
    cloud, notes = read_any_points(path)
    points = cloud.xyz.float()
    colors = cloud.rgb.float() / 255 if _is_colored(path) else None
    if colors is None:
        notes = (*notes, f"{path.name} has no colours; sentences about colours cannot be understood.")
    turned = _z_up(points, up or "z") * (1.0 if scale is None else scale)
    return Scan(path.stem, turned, colors, aligned=False, notes=notes)


def _plain(scan: Scan, up: str | None, scale: float | None) -> Scan:
    """A scan whose files say what is up, and that they are metric."""
    if up is not None or scale is not None:
        raise BadInputError(f"{scan.name} lies in metres with z up already; leave --up and --scale out.")
    return scan


def _of_run(run: Run, up: str | None, scale: float | None) -> Scan:
    if scale is None:
        raise BadInputError(
            f"{run.path} is a reconstruction, whose unit is not known; give the metres in one of its units with "
            "--scale (a known length over the same one in the run's units)."
        )
    splat = load_run_splat(run)
    gaussians = splat.at()
    solid = gaussians.opacities > LEAST_OPACITY
    if not bool(solid.any()):
        raise BadInputError(
            f"{run.path} has no Gaussian with an opacity above {LEAST_OPACITY:g}, so it has no surface."
        )
    axis = parse_axis(up) if up is not None else splat.up
    points = gaussians.means[solid].float() @ file_from_world(axis).rotation.float().T @ _Z_UP.T
    note = "The points are those of a reconstruction: thinner and noisier than the scans that networks are trained on."
    colors = gaussians.base_colors[solid].clamp(0, 1).float()
    return Scan(run.path.resolve().name, points * scale, colors, aligned=False, notes=(note,))


def _z_up(points: Tensor, up: str) -> Tensor:
    axis = parse_axis(up)
    if axis == (0.0, 0.0, 1.0):
        return points
    return points @ file_from_world(axis).rotation.to(points).T @ _Z_UP.to(points).T


def _is_colored(path: Path) -> bool:
    """False for a PLY whose vertices have no colour; glTF meshes have one, grey where they say none."""
    if path.suffix.lower() != ".ply":
        return True
    vertex = read_header(path).element("vertex")
    return vertex is not None and set(COLORS) <= set(vertex.properties)
