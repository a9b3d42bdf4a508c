"""Pictures as PNG files."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np

from .files import make_folder, write_bytes
from .zlib_order import can_compress

_LEVEL = 3  # of zlib: half the time of OpenCV's own, 3 % more bytes on photographs
_MAX_STORED = 65535  # bytes in a block of a zlib stream that is not compressed (RFC 1951)
_COLOR_TYPES = {1: 0, 3: 2, 4: 6}  # of a PNG, by its channels


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Writes uint8 [H, W], [H, W, 3] or [H, W, 4], as RGB; makes the folder. FewviewError where it cannot."""
    make_folder(path.parent)
    write_bytes(path, encode_png(pixels))


def encode_png(pixels: np.ndarray) -> bytes:
    """A PNG of uint8 [H, W], [H, W, 3] or [H, W, 4], in the order RGB; larger, but whole, where zlib cannot be used."""
    if not can_compress():
        return _stored_png(pixels)
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR)
    ok, data = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, _LEVEL])
    assert ok  # PNG holds every uint8 picture
    return data.tobytes()


def _stored_png(pixels: np.ndarray) -> bytes:
    """The same picture without compression, by what the PNG and zlib formats say (RFC 2083, 1950, 1951)."""
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1)
    filtered = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1).tobytes()  # filter 0: as it is
    blocks = [filtered[i : i + _MAX_STORED] for i in range(0, len(filtered), _MAX_STORED)]
    stream = b"\x78\x01"
    for i, block in enumerate(blocks):
        stream += struct.pack("<BHH", i == len(blocks) - 1, len(block), len(block) ^ 0xFFFF) + block
    stream += struct.pack(">I", zlib.adler32(filtered))
    color_type = _COLOR_TYPES[1 if pixels.ndim == 2 else pixels.shape[2]]
    header = struct.pack(">IIBBBBB", width, height, 8, color_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", stream) + _chunk(b"IEND", b"")


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
