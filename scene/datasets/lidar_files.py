"""LiDAR sweeps as raw float32 files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ..driving import LidarPoints
from ..errors import BadInputError

MAX_POINTS = 20_000_000  # of one sweep; real ones have tens to hundreds of thousands
COLUMNS = (5, 4)  # of nuScenes, whose fifth is the number of the laser, and of KITTI
MAX_RING = 255  # lasers of a sensor
_MOST = 0.9  # of the points should look right, as files hold a few that do not


def read_lidar(path: Path, columns: int | None = None) -> LidarPoints:
    """A headerless file of little-endian float32: x, y, z in metres, intensity, and maybe more that is not used.

    `columns` is 5 in nuScenes (`.pcd.bin`, with the ring) and 4 in KITTI; where it is not given, the file's size and
    what would be rings tell. Points that are not finite are left out.
    Raises BadInputError when the file is absent, empty, too large, or no multiple of a point's size.
    """
    numbers = _numbers(path, columns)
    if columns is None:
        columns = _columns(numbers, path)
    rows = numbers.reshape(-1, columns)
    rows = rows[np.isfinite(rows[:, :4]).all(axis=1)]
    return LidarPoints(
        torch.from_numpy(np.ascontiguousarray(rows[:, :3])),
        torch.from_numpy(rows[:, 3].copy()),
        torch.zeros(len(rows)),
    )


def lidar_columns(path: Path) -> int:
    """Numbers of a point in a file, 5 or 4, as `read_lidar` takes it. Raises BadInputError."""
    return _columns(_numbers(path, None), path)


def _numbers(path: Path, columns: int | None) -> np.ndarray:
    possible = COLUMNS if columns is None else (columns,)
    try:
        size = path.stat().st_size
        if size == 0 or all(size % (4 * c) for c in possible) or size > MAX_POINTS * 4 * possible[0]:
            raise _wrong_size(path, size, possible)
        return np.fromfile(path, "<f4")
    except OSError as error:
        raise BadInputError(f"The LiDAR sweep {path} could not be read: {error.strerror or error}.") from error


def _wrong_size(path: Path, size: int, possible: tuple[int, ...]) -> BadInputError:
    sizes = " or ".join(f"{4 * c} ({c} float32 numbers a point)" for c in possible)
    return BadInputError(
        f"{path} has {size} bytes; a multiple of {sizes} of at least one and at most {MAX_POINTS} points is expected, "
        "so it is cut short or no LiDAR sweep."
    )


def _columns(numbers: np.ndarray, path: Path) -> int:
    """5 where that fits and the fifth numbers are rings; else 4 where that fits and the fourth can be intensities."""
    fits = [len(numbers) % c == 0 for c in COLUMNS]
    if fits[0] and (not fits[1] or _are_rings(numbers[4::5])):
        return 5
    if fits[1] and _share(numbers[3::4] >= 0) >= _MOST:
        return 4
    if fits[0]:
        return 5  # a fifth number of another kind: read as four, points would have negative intensities
    raise _wrong_size(path, 4 * len(numbers), COLUMNS[:1])


def _are_rings(values: np.ndarray) -> bool:
    return _share((values >= 0) & (values <= MAX_RING) & (values == np.floor(values))) >= _MOST


def _share(true: np.ndarray) -> float:
    return float(true.mean())
