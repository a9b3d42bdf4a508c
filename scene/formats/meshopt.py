"""Attributes compressed by meshoptimizer, as glTF files hold them (EXT_meshopt_compression, mode ATTRIBUTES).

Elements of a fixed number of bytes, a multiple of 4, come in blocks; in a block each byte of the element has a stream
of its own, in groups of 16 differences to the byte before, each group in 0, 2, 4 or 8 bits. What does not fit into 2 or
4 bits is written as the largest value there and follows in a byte.

Source: github.com/KhronosGroup/glTF, extensions/2.0/Vendor/EXT_meshopt_compression, appendices A and B.
"""

from __future__ import annotations

import math

import numpy as np

HEADER = 0xA0
MAX_GROWTH = 64  # 2 bits say that 16 bytes are as before
FILTERS = ("NONE", "QUATERNION", "EXPONENTIAL")
_GROUP = 16
_MAX_BLOCK_BYTES, _MAX_BLOCK = 8192, 256
_TAIL_BYTES = 32
_ZIGZAG = np.array([v >> 1 if v % 2 == 0 else 255 - (v >> 1) for v in range(256)], np.uint8)
# The values of each byte of packed differences, the first in the highest bits.
_TWO_BITS = np.stack([np.arange(256) >> shift & 3 for shift in (6, 4, 2, 0)], axis=1).astype(np.uint8)
_FOUR_BITS = np.stack([np.arange(256) >> shift & 15 for shift in (4, 0)], axis=1).astype(np.uint8)


def decoded(data: bytes | memoryview, count: int, stride: int, filter_name: str = "NONE") -> np.ndarray:
    """uint8 [count, stride] of a stream. Raises ValueError, with a sentence's end, for one that is damaged.

    A stream that cannot hold so much is refused before anything is allocated.
    """
    if stride < 4 or stride > 256 or stride % 4:
        raise ValueError(f"has elements of {stride} bytes, where a multiple of 4 up to 256 is expected")
    if len(data) < 1 + _TAIL_BYTES or count * stride > MAX_GROWTH * len(data):
        raise ValueError(f"has {len(data)} bytes, too few for {count} elements of {stride}; it is cut short")
    if data[0] != HEADER:
        raise ValueError(
            f"begins with byte {data[0]:#04x}, where {HEADER:#04x} is expected: that of EXT_meshopt_compression"
        )
    packed = np.frombuffer(data, np.uint8)
    tail = max(stride, _TAIL_BYTES)
    end = len(packed) - tail
    last = packed[len(packed) - stride :]
    elements = np.empty((count, stride), np.uint8)
    block, at = min(_MAX_BLOCK_BYTES // stride & ~(_GROUP - 1), _MAX_BLOCK), 1
    for start in range(0, count, block):
        size = min(block, count - start)
        for byte in range(stride):
            deltas, at = _stream(packed, at, end, -(-size // _GROUP))
            # Sums of bytes wrap around, as they should.
            elements[start : start + size, byte] = last[byte] + np.cumsum(_ZIGZAG[deltas[:size]], dtype=np.uint8)
        last = elements[start + size - 1]
    if at != end:
        raise ValueError(f"has {end - at} bytes too many")
    return _filtered(elements, filter_name)


def _stream(packed: np.ndarray, at: int, end: int, groups: int) -> tuple[np.ndarray, int]:
    """(differences [16 * groups] in zigzag, where the next stream begins)."""
    head = packed[at : at + -(-groups // 4)]
    at += len(head)
    modes = [int(head[i // 4]) >> 2 * (i % 4) & 3 for i in range(groups)] if at <= end else []
    deltas = np.zeros((groups, _GROUP), np.uint8)
    for i, mode in enumerate(modes):
        if mode == 3:
            values, at = packed[at : at + _GROUP], at + _GROUP
        elif mode:
            width, table = (4, _TWO_BITS) if mode == 1 else (8, _FOUR_BITS)
            values, at = table[packed[at : at + width]].reshape(-1), at + width
            escaped = values == (3 if mode == 1 else 15)
            more = int(escaped.sum())
            if at + more <= end:
                values[escaped] = packed[at : at + more]
            at += more
        else:
            continue
        if at > end:
            break
        deltas[i] = values
    if at > end or not modes:
        raise ValueError("ends in the middle of a block; it is cut short")
    return deltas.reshape(-1), at


def _filtered(elements: np.ndarray, name: str) -> np.ndarray:
    """The elements uint8 [count, stride] after the filter, of the same size."""
    count, stride = elements.shape
    if name == "EXPONENTIAL":  # 24 bits of mantissa, 8 of exponent, both signed
        words = elements.reshape(-1).view("<i4")
        with np.errstate(over="ignore"):
            values = np.ldexp((words << 8 >> 8).astype(np.float64), words >> 24).astype("<f4")
        return values.view(np.uint8).reshape(count, stride)
    if name == "QUATERNION":  # three components and, in the last word, their scale and which of x, y, z, w is left out
        if stride != 8:
            raise ValueError(f"has quaternions of {stride} bytes, where 8 are expected")
        shorts = elements.reshape(-1).view("<i2").reshape(count, 4)
        largest = shorts[:, 3] & 3
        three = shorts[:, :3] / ((shorts[:, 3:] | 3) * math.sqrt(2))
        rest = np.sqrt(np.maximum(0, 1 - (three**2).sum(1)))
        quats = np.empty((count, 4))
        for i in range(3):
            np.put_along_axis(quats, (largest[:, None] + 1 + i) % 4, three[:, i : i + 1], 1)
        np.put_along_axis(quats, largest[:, None].astype(np.int64), rest[:, None], 1)
        return np.rint(quats.clip(-1, 1) * 32767).astype("<i2").view(np.uint8).reshape(count, stride)
    return elements
