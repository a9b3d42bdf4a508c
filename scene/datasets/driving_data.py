"""Driving data of any kind that is known here to a `DrivingLog`."""

from __future__ import annotations

from pathlib import Path

from ..driving import DrivingLog
from ..errors import BadInputError
from ..progress import Progress, silent
from .mmdet3d_info import read_info
from .nuscenes_log import NuScenes, version_folders

_HEAD_BYTES = 2**16


def is_driving_data(path: Path) -> bool:
    """True where `path` looks like a nuScenes-format folder, or an info file of one as JSON."""
    if path.is_dir():
        return bool(version_folders(path))
    if path.suffix.lower() != ".json" or not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:  # told by whoever reads it
        return False
    return b'"metainfo"' in head or b'"data_list"' in head


def read_driving_log(path: Path | str, *, sweeps: int = 1, progress: Progress = silent) -> DrivingLog:
    """The key frames of a nuScenes-format folder (or its version folder), or of an MMDetection3D info file as JSON.

    Up to `sweeps` LiDAR sweeps go into each frame: the key sweep, and those before it that are listed.
    Raises BadInputError.
    """
    path = Path(path)
    if path.is_dir():
        return NuScenes(path, progress=progress).log(sweeps)
    if path.is_file():
        return read_info(path, sweeps)
    raise BadInputError(
        f"{path} is not there; a nuScenes-format folder or an info file of MMDetection3D as JSON is expected."
    )
