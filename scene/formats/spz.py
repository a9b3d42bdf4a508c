"""SPZ (Niantic): 16 to 20 bytes for each Gaussian and one for each coefficient of its colour, then compressed.

| block     | bytes | value                                                                                      |
|-----------|-------|--------------------------------------------------------------------------------------------|
| positions | 3 x 3 | signed, times 2^-12 (the header says how many bits)                                        |
|           | 3 x 2 | version 1: 16-bit floats                                                                   |
| alphas    | 1     | opacity * 255                                                                              |
| colours   | 3     | constant coefficient * 0.15 * 255 + 127.5                                                  |
| scales    | 3     | (log-scale + 10) * 16                                                                      |
| rotations | 3     | to version 2: x, y, z of the unit quaternion with w >= 0, times 127.5 + 127.5              |
|           | 4     | from version 3: which of x, y, z, w is largest, and the others in sign and 9 bits          |
| sh        | 3 K   | coefficient * 128 + 128, rounded to 5 bits in degree 1 and to 4 bits in the higher degrees |

x is right, y up, z back. Source: github.com/nianticlabs/spz, README, `load-spz.cc` and `splat-utils.h`.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch

from ..errors import BadInputError
from ..gaussians import Gaussians
from ..geometry import Similarity
from ..splat import StaticSplat
from .clean import arrays, usable_gaussians
from .packing import BYTES, FINITE_LOGIT, byte_table, clamped_note, levels, lowered, refuse_empty, sigmoid, unit_quats
from .spz_container import MAX_DEGREE, VERSIONS, SpzHeader, read_blocks, write_blocks

# What today's viewers read best. Version 2 is read by all, but its rotations are wrong by up to 12 degrees (1 on
# average, against 0.26 and 0.08 in version 3; nianticlabs/spz pull request 41). Version 4 is the smallest and the
# newest: many viewers that read 3 do not read it yet.
DEFAULT_VERSION = 3
FRACTIONAL_BITS = 12
_NAME = "SPZ"
_MIN_LOG_SCALE, _MAX_LOG_SCALE = -10.0, 255 / 16 - 10
_COLOR = byte_table((BYTES / 255 - 0.5) / 0.15)  # [256]
_LOG_SCALE = byte_table(BYTES / 16 - 10)
_SH = byte_table((BYTES - 128) / 128)
_AXES = {"R": (0, 1.0), "L": (0, -1.0), "U": (1, 1.0), "D": (1, -1.0), "B": (2, 1.0), "F": (2, -1.0)}
# The values of the extension SPZ_ADOBE_coordinate_system from 1 on: where x, y and z point.
_SYSTEMS = [x + y + z for z in "BF" for y in "DU" for x in "LR"]
_SYSTEMS += [x + y + z for y in "FB" for z in "DU" for x in "LR"]


def read(path: Path) -> StaticSplat:
    """An SPZ file of version 1 to 4, in the frame of the format: x right, y up, z back.

    Raises BadInputError for a file that is damaged or cut short.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInputError(f"{path} could not be read: {error.strerror or error}.") from error
    return read_bytes(path, data)


def read_bytes(path: Path, data: bytes) -> StaticSplat:
    """The splat of an SPZ file's data, as `read` gives it; `path` is its name in sentences."""
    header, (positions, alphas, colors, scales, rotations, rest) = read_blocks(path, data)
    n = header.count
    if header.version == 1:
        means = np.ascontiguousarray(positions).view("<f2").astype(np.float32)
    else:
        fixed = np.zeros((n, 3, 4), np.uint8)
        fixed[:, :, 1:] = positions.reshape(n, 3, 3)  # in the upper bytes, so that shifting back extends the sign
        means = (fixed.view("<i4")[:, :, 0] >> 8).astype(np.float32) / np.float32(2**header.fractional_bits)
    quats = _quats_of_version_2(rotations) if header.version <= 2 else _quats(rotations.copy().view("<u4")[:, 0])
    sh = np.concatenate([_COLOR[colors][:, None], _SH[rest].reshape(n, -1, 3)], axis=1)
    gaussians, notes = usable_gaussians(path, means, quats, _LOG_SCALE[scales], FINITE_LOGIT[alphas[:, 0]], sh)
    return StaticSplat(_in_rub(path, gaussians, header.coordinate_system), header.antialiased, notes=notes)


def write(path: Path, splat: StaticSplat, *, version: int = DEFAULT_VERSION) -> tuple[str, ...]:
    """Write an SPZ file of version 2, 3 or 4; the Gaussians stay in their order.

    Version 4 keeps spherical harmonics of degree 4, the others at most 3.
    """
    if version not in VERSIONS:
        raise BadInputError(f"SPZ version {version} cannot be written: 2, 3 and 4 are possible.")
    refuse_empty(splat, _NAME)
    name = f"{_NAME} version {version}"
    gaussians, notes = lowered(splat, MAX_DEGREE if version == 4 else 3, name)
    means, quats, log_scales, logits, sh = arrays(gaussians)
    n, rest, limit = len(means), sh[:, 1:], 2 ** (23 - FRACTIONAL_BITS)
    notes += clamped_note("Positions", np.abs(means) > limit, f"-{limit} to {limit} units")
    below, above = log_scales < _MIN_LOG_SCALE - 1 / 32, log_scales > _MAX_LOG_SCALE + 1 / 32
    notes += clamped_note("Sizes", below | above, f"e^{_MIN_LOG_SCALE:g} to e^{_MAX_LOG_SCALE:.2f}")
    notes += clamped_note(
        "Colours", np.abs(sh[:, 0]) > 0.5 / 0.15 * (256 / 255), "-3.33 to 3.33 (constant coefficient)"
    )
    notes += clamped_note("Spherical harmonics", np.abs(rest) > 1 + 1 / 16, "-1 to 1")
    fixed = np.clip(np.floor(means.astype(np.float64) * 2**FRACTIONAL_BITS + 0.5), -(2**23), 2**23 - 1).astype("<i4")
    unit = unit_quats(quats)
    blocks = [
        fixed[:, :, None].view(np.uint8)[:, :, :3],
        levels(sigmoid(logits) * 255, 255),
        levels(sh[:, 0] * np.float64(0.15 * 255) + 127.5, 255),
        levels((log_scales.astype(np.float64) + 10) * 16, 255),
        _rotations_of_version_2(unit) if version == 2 else _rotations(unit).view(np.uint8),
        _coefficients(rest),
    ]
    header = SpzHeader(version, n, gaussians.sh_degree, FRACTIONAL_BITS, splat.antialiased)
    write_blocks(path, header, blocks)
    return notes


def _coefficients(rest: np.ndarray) -> np.ndarray:
    """uint8 [N, (K - 1) * 3]: the harmonics [N, K - 1, 3] on a grid of 1/16 in degree 1 and of 1/8 beyond.

    The coarse grid is what makes the file small: its zero bits cost nothing.
    """
    nearest = rest * np.float32(128) + np.float32(128.5)
    fine = np.clip(nearest, 0, 256, out=nearest).astype(np.uint16)
    fine[:, :3] = fine[:, :3] + 4 & 0x1F8
    fine[:, 3:] = fine[:, 3:] + 8 & 0x1F0
    return np.minimum(fine, 255).astype(np.uint8).reshape(len(rest), -1)


def _rotations_of_version_2(unit: np.ndarray) -> np.ndarray:
    """uint8 [N, 3] of unit quaternions [N, 4] wxyz."""
    return levels(np.where(unit[:, :1] < 0, -unit, unit)[:, 1:] * 127.5 + 127.5, 255)


def _quats_of_version_2(rotations: np.ndarray) -> np.ndarray:
    xyz = rotations / 127.5 - 1
    w = np.sqrt(np.maximum(0, 1 - (xyz**2).sum(1, keepdims=True)))
    return np.concatenate([w, xyz], axis=1).astype(np.float32)


def _rotations(unit: np.ndarray) -> np.ndarray:
    """uint32 [N, 1] of unit quaternions [N, 4] wxyz: the index of the largest, then sign and 9 bits of the others."""
    xyzw = unit[:, [1, 2, 3, 0]]
    largest = np.abs(xyzw).argmax(1)
    xyzw = np.where(np.take_along_axis(xyzw, largest[:, None], 1) < 0, -xyzw, xyzw)
    magnitude = levels(np.abs(xyzw) * (math.sqrt(2) * 511), 511)
    component = (xyzw < 0).astype(np.uint32) << 9 | magnitude
    word = largest.astype(np.uint32)
    for i in range(4):
        word = np.where(largest == i, word, word << 10 | component[:, i])
    return word.astype("<u4")[:, None]


def _quats(words: np.ndarray) -> np.ndarray:
    """Unit quaternions float32 [N, 4] wxyz of the words [N] of `_rotations`."""
    largest = (words >> 30).astype(np.int64)
    three = np.stack([words >> shift & 1023 for shift in (20, 10, 0)], axis=1).astype(np.int64)
    value = np.where(three & 512, -1, 1) * (three & 511) / (511 * math.sqrt(2))
    rest = np.sqrt(np.maximum(0, 1 - (value**2).sum(1)))
    xyzw = np.empty((len(words), 4))
    for i in range(4):
        chosen = largest == i
        xyzw[chosen] = np.insert(value[chosen], i, rest[chosen], axis=1)
    return xyzw[:, [3, 0, 1, 2]].astype(np.float32)


def _in_rub(path: Path, gaussians: Gaussians, system: int) -> Gaussians:
    """Gaussians of a named coordinate system with x right, y up, z back."""
    name = _SYSTEMS[system - 1] if 1 <= system <= len(_SYSTEMS) else "RUB"
    rub_from_file = torch.zeros(3, 3, dtype=torch.float64)
    for column, letter in enumerate(name):
        row, sign = _AXES[letter]
        rub_from_file[row, column] = sign
    if torch.det(rub_from_file) < 0:
        raise BadInputError(
            f"{path} is in the mirrored frame {name} (extension SPZ_ADOBE_coordinate_system), which would turn its "
            "Gaussians inside out; write it in RUB or another right-handed frame."
        )
    if name == "RUB":
        return gaussians
    one, zero = torch.ones((), dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    return gaussians.moved(Similarity(one, rub_from_file, zero))
