"""LiDAR sweeps as raw float32 files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ..driving import LidarPoints
from ..errors import BadInputError

MAX_POINTS = 20_000_000  # of one sweep; real ones have tens to hundreds of thousands


def read_lidar(path: Path, columns: int = 5) -> LidarPoints:
    """A headerless file of little-endian float32: x, y, z in metres, intensity, and maybe more that is not used.

    `columns` is 5 in nuScenes (`.pcd.bin`, with the ring) and 4 in KITTI. Points that are not finite are left out.
    Raises BadInputError when the file is absent, empty, too large, or no multiple of a point's size.
    """
    bytes_each = 4 * columns
    try:
        size = path.stat().st_size
        if size == 0 or size % bytes_each or size > MAX_POINTS * bytes_each:
            raise BadInputError(
                f"{path} has {size} bytes; a multiple of {bytes_each} ({columns} float32 numbers a point) of at least "
                f"one and at most {MAX_POINTS} points is expected, so it is cut short or no LiDAR sweep."
            )
        rows = np.fromfile(path, "<f4").reshape(-1, columns)
    except OSError as error:
        raise BadInputError(f"The LiDAR sweep {path} could not be read: {error.strerror or error}.") from error
    rows = rows[np.isfinite(rows[:, :4]).all(axis=1)]
    return LidarPoints(
        torch.from_numpy(np.ascontiguousarray(rows[:, :3])),
        torch.from_numpy(rows[:, 3].copy()),
        torch.zeros(len(rows)),
    )
