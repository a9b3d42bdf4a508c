"""Compressed PLY (SuperSplat, PlayCanvas): 16 bytes for each Gaussian in chunks of 256, and a byte per coefficient.

Positions, log-scales and colours are whole numbers of a few bits between the least and the greatest value of their
chunk; Gaussians are in Morton order, so that chunks are small. `chunk` rows hold the bounds as floats, `vertex` rows
four 32-bit words, `sh` rows one byte for each coefficient beyond the constant, channel by channel as in a plain PLY.

Source: github.com/playcanvas/splat-transform, `compressed-chunk.ts` and `write-compressed-ply.ts`.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from ..errors import BadInputError
from ..gaussians import SH_C0
from ..ply_file import PlyHeader, columns, read_element, read_header, write_elements
from ..splat import StaticSplat
from .clean import arrays, usable_gaussians
from .packing import BYTES, byte_table, clamped_note, levels, logit, lowered, sigmoid, unit_quats
from .splat_ply import says_antialiased, splat_comments, vertical_axis

CHUNK = 256
MAX_LOG_SCALE = 20.0  # bounds of log-scales are clamped to +-20, which also makes -Inf finite
_NAME = "A compressed PLY"
_XYZ = ("x", "y", "z")
_RGB = ("r", "g", "b")
_WORDS = ("packed_position", "packed_rotation", "packed_scale", "packed_color")
_DEGREE = {9: 1, 24: 2, 45: 3}  # by the number of `f_rest` columns
_FLAT = 1e-5  # a narrower range is a single value
# 0 and 255 are the ends of the range, the others the middle of their step.
_SH = byte_table((np.where(BYTES == 0, 0, np.where(BYTES == 255, 1, (BYTES + 0.5) / 256)) - 0.5) * 8)


def is_compressed(path: Path, head: bytes) -> bool:
    """True where a PLY file with these first bytes is a compressed one."""
    if head[:3] != b"ply":
        return False
    try:
        vertex = read_header(path).element("vertex")
    except BadInputError:  # said by the reader
        return False
    return vertex is not None and "packed_position" in vertex.properties


def read(path: Path) -> StaticSplat:
    """A compressed PLY, with colour bounds or, from older tools, without.

    Raises BadInputError for a file that is damaged or cut short; Gaussians of chunks with bounds that are no numbers
    are left out with a note.
    """
    header = read_header(path)
    vertex, bounds, rest = _elements(header)
    n = len(vertex)
    chunk = np.arange(n) // CHUNK
    position, rotation, scale, color = (np.ascontiguousarray(vertex[word]) for word in _WORDS)
    with np.errstate(over="ignore", invalid="ignore"):
        means = _between(_unpacked_11_10_11(position), bounds, chunk, "min_", "max_", _XYZ)
        log_scales = _between(_unpacked_11_10_11(scale), bounds, chunk, "min_scale_", "max_scale_", _XYZ)
        rgb = np.stack([(color >> shift) & 255 for shift in (24, 16, 8)], axis=1) / 255
        if "min_r" in (bounds.dtype.names or ()):
            rgb = _between(rgb, bounds, chunk, "min_", "max_", _RGB)
        constant = ((rgb - 0.5) / SH_C0).astype(np.float32)
    sh = np.concatenate([constant[:, None], rest], axis=1)
    gaussians, notes = usable_gaussians(
        path, means.astype(np.float32), _unpacked_rotation(rotation), log_scales.astype(np.float32),
        logit((color & 255) / 255), sh,
    )  # fmt: skip
    return StaticSplat(gaussians, says_antialiased(header.comments), vertical_axis(header.comments), notes)


def write(path: Path, splat: StaticSplat) -> tuple[str, ...]:
    """Write a compressed PLY in Morton order; equal input gives equal bytes."""
    gaussians, notes = lowered(splat, 3, _NAME)
    means, quats, log_scales, logits, sh = arrays(gaussians)
    order = morton_order(means)
    means, quats, log_scales, logits, sh = (part[order] for part in (means, quats, log_scales, logits, sh))
    rest = sh[:, 1:].transpose(0, 2, 1).reshape(len(sh), 3 * (sh.shape[1] - 1))
    notes += clamped_note("Log-scales", np.abs(log_scales) > MAX_LOG_SCALE, "-20 to 20")
    notes += clamped_note("Spherical harmonics", np.abs(rest) > 4, "-4 to 4")
    colors = (0.5 + SH_C0 * sh[:, 0].astype(np.float64)).astype(np.float32)
    fields: dict[str, np.ndarray] = {}
    position, fields["min_"], fields["max_"] = _normalised(means)
    scale, fields["min_scale_"], fields["max_scale_"] = _normalised(log_scales, MAX_LOG_SCALE)
    color, min_rgb, max_rgb = _normalised(colors)
    names = [f"{bound}{axis}" for bound in fields for axis in _XYZ]
    names += [f"{bound}_{channel}" for bound in ("min", "max") for channel in _RGB]
    bounds = np.concatenate([*fields.values(), min_rgb, max_rgb], axis=1)
    alpha = levels(sigmoid(logits) * 255, 255)
    red, green, blue = levels(color * 255, 255).T
    words = [
        _packed_11_10_11(position), _packed_rotation(quats), _packed_11_10_11(scale),
        red << 24 | green << 16 | blue << 8 | alpha,
    ]  # fmt: skip
    vertex = np.ascontiguousarray(np.stack(words, axis=1)).view([(word, "<u4") for word in _WORDS])[:, 0]
    chunks = np.ascontiguousarray(bounds, np.float32).view([(name, "<f4") for name in names])[:, 0]
    elements = {"chunk": chunks, "vertex": vertex}
    if rest.shape[1]:
        coefficients = np.clip(np.trunc((rest / 8 + 0.5) * 256), 0, 255).astype(np.uint8)
        elements["sh"] = coefficients.view([(f"f_rest_{i}", "u1") for i in range(rest.shape[1])])[:, 0]
    write_elements(path, elements, splat_comments(splat))
    return notes


def morton_order(means: np.ndarray) -> np.ndarray:
    """The order [N] of points [N, 3] along a Z-order curve of 2^21 cells a side; ties keep their order."""
    if len(means) == 0:
        return np.zeros(0, np.int64)
    low, high = means.min(0).astype(np.float64), means.max(0).astype(np.float64)
    cells = np.minimum((means - low) / np.maximum(high - low, 1e-300) * 2**21, 2**21 - 1).astype(np.uint64)
    # Two zero bits between any two bits of the 21, in five steps of halving blocks.
    for shift, mask in (
        (32, 0x1F00000000FFFF), (16, 0x1F0000FF0000FF), (8, 0x100F00F00F00F00F),
        (4, 0x10C30C30C30C30C3), (2, 0x1249249249249249),
    ):  # fmt: skip
        cells = (cells | cells << np.uint64(shift)) & np.uint64(mask)
    codes = cells[:, 0] | cells[:, 1] << np.uint64(1) | cells[:, 2] << np.uint64(2)
    return np.argsort(codes, kind="stable")


def _elements(header: PlyHeader) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(vertex rows [N], chunk rows, spherical harmonics beyond the constant [N, K - 1, 3]), checked."""
    path = header.path
    kinds = {f"{e.name}.{name}": kind for e in header.elements for name, kind in e.fields}
    for word in _WORDS:
        if kinds.get(f"vertex.{word}") != "u4":
            raise BadInputError(f"{path} is no compressed PLY: 'vertex' should have a uint '{word}'.")
    names = [f"{bound}_{scale}{axis}" for bound in ("min", "max") for scale in ("", "scale_") for axis in _XYZ]
    with_colors = "chunk.min_r" in kinds
    names += [f"{bound}_{channel}" for bound in ("min", "max") for channel in _RGB if with_colors]
    missing = [name for name in names if f"chunk.{name}" not in kinds]
    if missing:
        raise BadInputError(f"{path} is no compressed PLY: 'chunk' should have {', '.join(missing)}.")
    counts = {e.name: e.count for e in header.elements}
    if counts["chunk"] != -(-counts["vertex"] // CHUNK):
        raise BadInputError(
            f"{path} has {counts['chunk']} chunks for {counts['vertex']} Gaussians; one for each {CHUNK} is expected."
        )
    vertex, chunk = read_element(header, "vertex"), read_element(header, "chunk")
    return vertex, chunk, _rest(header, counts, kinds)


def _rest(header: PlyHeader, counts: dict[str, int], kinds: dict[str, str]) -> np.ndarray:
    """float32 [N, K - 1, 3] of the element `sh`; K is 1 where there is none."""
    n = counts["vertex"]
    if "sh" not in counts:
        return np.zeros((n, 0, 3), np.float32)
    found = [name for name in kinds if name.startswith("sh.")]
    expected = {f"sh.f_rest_{i}" for i in range(len(found))}
    if len(found) not in _DEGREE or set(found) != expected or any(kinds[name] != "u1" for name in found):
        raise BadInputError(
            f"{header.path} has {len(found)} columns in 'sh'; 9, 24 or 45 of type uchar, f_rest_0 and so on, are "
            "expected (spherical harmonics of degree 1 to 3, three channels)."
        )
    if counts["sh"] != n:
        raise BadInputError(f"{header.path} has {counts['sh']} 'sh' rows for {n} Gaussians; one each is expected.")
    rows = read_element(header, "sh")
    table = np.stack([rows[f"f_rest_{i}"] for i in range(len(found))], axis=1)
    return np.ascontiguousarray(_SH[table].reshape(n, 3, len(found) // 3).transpose(0, 2, 1))


def _between(
    t: np.ndarray, bounds: np.ndarray, chunk: np.ndarray, low: str, high: str, names: tuple[str, ...]
) -> np.ndarray:
    """Values [N, 3] at the fractions t [N, 3] between the bounds of each one's chunk."""
    least = columns(bounds, tuple(low + name for name in names)).astype(np.float64)[chunk]
    greatest = columns(bounds, tuple(high + name for name in names)).astype(np.float64)[chunk]
    return least * (1 - t) + greatest * t


def _normalised(values: np.ndarray, limit: float = math.inf) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(fractions [N, 3] between the bounds of each chunk of 256, least, greatest [ceil(N / 256), 3] float32)."""
    n = len(values)
    if n == 0:
        return np.zeros((0, 3)), np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32)
    # The last chunk is filled with its last Gaussian, which leaves its bounds as they are.
    full = np.concatenate([values, np.repeat(values[-1:], -n % CHUNK, axis=0)]).reshape(-1, CHUNK, 3)
    least = np.clip(full.min(1), -limit, limit).astype(np.float32)
    greatest = np.clip(full.max(1), -limit, limit).astype(np.float32)
    low, size = least.astype(np.float64)[:, None], (greatest.astype(np.float64) - least)[:, None]
    inside = np.clip(full, least[:, None], greatest[:, None])
    fractions = np.where(size < _FLAT, 0, (inside - low) / np.where(size < _FLAT, 1, size))
    return fractions.reshape(-1, 3)[:n], least, greatest


def _packed_11_10_11(fractions: np.ndarray) -> np.ndarray:
    x, y, z = (levels(fractions[:, i] * top, top) for i, top in enumerate((2047, 1023, 2047)))
    return x << 21 | y << 11 | z


def _unpacked_11_10_11(words: np.ndarray) -> np.ndarray:
    return np.stack([(words >> 21) / 2047, (words >> 11 & 1023) / 1023, (words & 2047) / 2047], axis=1)


def _packed_rotation(quats: np.ndarray) -> np.ndarray:
    """The index of the largest component in the top bits, then 10 bits for each other in order; q and -q are equal."""
    unit = unit_quats(quats)
    largest = np.abs(unit).argmax(1)
    unit = np.where(np.take_along_axis(unit, largest[:, None], 1) < 0, -unit, unit)
    others = levels((unit * math.sqrt(0.5) + 0.5) * 1023, 1023)
    word = largest.astype(np.uint32)
    for i in range(4):
        word = np.where(largest == i, word, word << 10 | others[:, i])
    return word


def _unpacked_rotation(words: np.ndarray) -> np.ndarray:
    """Unit quaternions float32 [N, 4]."""
    largest = (words >> 30).astype(np.int64)
    three = (np.stack([words >> shift & 1023 for shift in (20, 10, 0)], axis=1) / 1023 - 0.5) * math.sqrt(2)
    rest = np.sqrt(np.maximum(0, 1 - (three**2).sum(1)))
    quats = np.empty((len(words), 4))
    for i in range(4):
        chosen = largest == i
        quats[chosen] = np.insert(three[chosen], i, rest[chosen], axis=1)
    return unit_quats(quats).astype(np.float32)
