"""The side file `NAME.EXT.json`: what a splat file cannot say itself about its frame and its rendering.

It names the splat file that it was written with by size and SHA-256, so that one left behind is never applied to
another. Nothing needs it: without it a splat is in the frame that its format prescribes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import BadInputError
from ..files import file_sha256, read_json, write_json
from ..geometry import Similarity
from ..splat import Axis

VERSION = 1
MAX_BYTES = 64 * 1024
_KIND = "fewview_splat"


@dataclass(frozen=True)
class SideFile:
    world_from_file: Similarity
    up: Axis | None  # unit vector in the world frame
    antialiased: bool


def side_path(splat_path: Path) -> Path:
    return splat_path.with_name(splat_path.name + ".json")


def check_side_path(splat_path: Path) -> None:
    """Raises BadInputError when the side file's name is taken by a file that is none of ours."""
    path = side_path(splat_path)
    if path.exists() and not _is_ours(path):
        raise BadInputError(
            f"{path} is in the way: it is not a side file of a splat. Move it, or choose another name for the splat."
        )


def write_side_file(splat_path: Path, side: SideFile) -> None:
    """Write the side file of a splat file that is already there."""
    s = side.world_from_file
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3], matrix[:3, 3] = s.scale.double() * s.rotation.double(), s.translation.double()
    length = 1.0 if side.up is None else math.hypot(*side.up)
    table = {
        _KIND: VERSION,
        "file": {"bytes": splat_path.stat().st_size, "sha256": file_sha256(splat_path)},
        "world_from_file": (matrix + 0.0).tolist(),  # without the sign of zeros
        "up": None if side.up is None else [value / length for value in side.up],
        "antialiased": side.antialiased,
    }
    write_json(side_path(splat_path), table)


def remove_side_file(splat_path: Path) -> None:
    """Remove a side file that no longer says anything; a file of another kind stays."""
    path = side_path(splat_path)
    if path.exists() and _is_ours(path):
        path.unlink()


def read_side_file(splat_path: Path, *, even_if_changed: bool = False) -> tuple[SideFile | None, tuple[str, ...]]:
    """The side file of a splat file, None when there is none; a note when it belongs to another file.

    With `even_if_changed` one of other bytes counts, too. Raises BadInputError for one that is damaged: a frame that is
    no similarity, numbers that are not finite.
    """
    path = side_path(splat_path)
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        return None, ()
    table = read_json(path)
    if not isinstance(table, dict) or _KIND not in table:
        return None, ()
    if table[_KIND] != VERSION:
        raise BadInputError(
            f"{path} is a side file of version {str(table[_KIND])[:20]}; this Fewview reads version {VERSION}. Remove "
            "it to take the splat as it is."
        )
    file = table.get("file")
    size = file.get("bytes") if isinstance(file, dict) else None
    notes: tuple[str, ...] = ()
    if not isinstance(file, dict) or size != splat_path.stat().st_size or file.get("sha256") != file_sha256(splat_path):
        if not even_if_changed:
            return None, (f"{path.name} was written for another file than {splat_path.name}, so it was not used.",)
        notes = (
            f"{splat_path.name} was changed after it was written here; it was taken to be in the same frame as before, "
            f"that of {path.name}.",
        )
    antialiased = table.get("antialiased")
    if not isinstance(antialiased, bool):
        raise BadInputError(f"{path}: 'antialiased' should be true or false, found {str(antialiased)[:60]}.")
    return SideFile(_similarity(path, table.get("world_from_file")), _up(path, table.get("up")), antialiased), notes


def _is_ours(path: Path) -> bool:
    if path.stat().st_size > MAX_BYTES:
        return False
    try:
        table = read_json(path)
    except BadInputError:
        return False
    return isinstance(table, dict) and _KIND in table


def _numbers(value: Any, count: int) -> list[float] | None:
    """`count` finite numbers, or None."""
    if not isinstance(value, list) or len(value) != count:
        return None
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) and abs(v) < 1e30 for v in value):
        return None
    return [float(v) for v in value]


def _similarity(path: Path, value: Any) -> Similarity:
    rows = [_numbers(row, 4) for row in value] if isinstance(value, list) and len(value) == 4 else []
    found = [row for row in rows if row is not None]
    if len(found) == 4 and found[3] == [0, 0, 0, 1]:
        matrix = torch.tensor(found, dtype=torch.float64)
        determinant = float(torch.det(matrix[:3, :3]))
        if 1e-30 < determinant < 1e30:
            scale = torch.tensor(determinant ** (1 / 3), dtype=torch.float64)
            rotation = matrix[:3, :3] / scale
            if float((rotation @ rotation.T - torch.eye(3, dtype=torch.float64)).abs().max()) < 1e-6:
                return Similarity(scale, rotation, matrix[:3, 3])
    raise BadInputError(
        f"{path}: 'world_from_file' is not a 4x4 similarity (rotation, positive scale, translation). Correct it, or "
        "remove the file to take the splat as it is."
    )


def _up(path: Path, value: Any) -> Axis | None:
    if value is None:
        return None
    numbers = _numbers(value, 3)
    if numbers is None or abs(math.hypot(*numbers) - 1) > 1e-6:
        raise BadInputError(f"{path}: 'up' should be a unit vector or null, found {str(value)[:60]}.")
    x, y, z = numbers
    return x, y, z
