"""`.splat` files (antimatter15): 32 bytes for each Gaussian, no header, one colour for all directions.

| byte | type    | value                                            |
|------|---------|--------------------------------------------------|
| 0    | 3 x f32 | position                                         |
| 12   | 3 x f32 | standard deviations (not their logarithms)       |
| 24   | 4 x u8  | red, green, blue, opacity: 255 * value           |
| 28   | 4 x u8  | unit quaternion w, x, y, z: 128 * value + 128    |

Source: github.com/antimatter15/splat, `convert.py` and `main.js`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import BadInputError
from ..files import write_bytes
from ..gaussians import SH_C0
from ..splat import StaticSplat
from .clean import arrays, usable_gaussians
from .packing import BYTES, FINITE_LOGIT, byte_table, clamped_note, levels, lowered, refuse_empty, sigmoid, unit_quats

ROW = np.dtype([("means", "<f4", 3), ("scales", "<f4", 3), ("rgba", "u1", 4), ("quats", "u1", 4)])
_NAME = "A .splat file"
_MAX_LOG_SCALE = 88.0  # exp of it is still a float32
_DC = byte_table((BYTES / 255 - 0.5) / SH_C0)  # [256]
_QUAT = byte_table((BYTES - 128) / 128)  # [256]


def read(path: Path) -> StaticSplat:
    """Every 32 bytes are a Gaussian; those that are no numbers or have negative sizes are left out with a note.

    Raises BadInputError when the size is not a multiple of 32, or when no row at all makes sense.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInputError(f"{path} could not be read: {error.strerror or error}.") from error
    if len(data) == 0 or len(data) % ROW.itemsize:
        raise BadInputError(
            f"{path} has {len(data)} bytes; a .splat file has 32 for each Gaussian, so it is damaged or cut short."
        )
    rows = np.frombuffer(data, ROW)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_scales = np.log(rows["scales"].astype(np.float64)).astype(np.float32)
    rgba = rows["rgba"]
    sh = _DC[rgba[:, None, :3]]
    gaussians, notes = usable_gaussians(
        path, rows["means"].astype(np.float32), _QUAT[rows["quats"]], log_scales, FINITE_LOGIT[rgba[:, 3]], sh
    )
    if len(gaussians) == 0:
        raise BadInputError(f"{path} is no .splat file: none of its {len(rows)} rows of 32 bytes is a Gaussian.")
    return StaticSplat(gaussians, notes=notes)


def write(path: Path, splat: StaticSplat) -> tuple[str, ...]:
    """Write a .splat file, the largest and most opaque Gaussians first, so that its beginning is a preview.

    Bytes are rounded where the first converter truncated, which halves the error for every reader.
    """
    refuse_empty(splat, _NAME)
    gaussians, notes = lowered(splat, 0, _NAME)
    means, quats, log_scales, logits, sh = arrays(gaussians)
    colors = 0.5 + SH_C0 * sh[:, 0].astype(np.float64)
    alpha = sigmoid(logits)
    notes += clamped_note("Sizes", log_scales > _MAX_LOG_SCALE, "e^88")
    notes += clamped_note("Colours", (colors < -0.5 / 255) | (colors > 1 + 0.5 / 255), "0 to 1")
    log_scales = np.minimum(log_scales, _MAX_LOG_SCALE).astype(np.float64)
    rows = np.empty(len(means), ROW)
    rows["means"] = means
    rows["scales"] = np.exp(log_scales)
    rows["rgba"][:, :3] = levels(colors * 255, 255)
    rows["rgba"][:, 3] = levels(alpha * 255, 255)
    rows["quats"] = levels(unit_quats(quats) * 128 + 128, 255)
    with np.errstate(divide="ignore"):
        importance = log_scales.sum(1) + np.log(alpha)
    write_bytes(path, rows[np.argsort(-importance, kind="stable")].tobytes())
    return notes
