"""A small ICC profile of given primaries, and what its colours are in sRGB, by the formulas of the standards."""

from __future__ import annotations

import struct

import numpy as np

# Display P3 and sRGB, XYZ of their primaries after adaptation to D50 (columns R, G, B); ICC.1:2022, registry.
DISPLAY_P3 = np.array([[0.515102, 0.291965, 0.157153], [0.241182, 0.692236, 0.066582], [-0.001049, 0.041882, 0.784378]])
SRGB = np.array([[0.436066, 0.385147, 0.143066], [0.222488, 0.716873, 0.060608], [0.013916, 0.097076, 0.714096]])
GAMMA = 2.2
D50 = (0.9642, 1.0, 0.8249)


def profile(primaries: np.ndarray, name: str = "Display P3") -> bytes:
    """A display profile, version 2, with one curve of gamma 2.2 for all channels."""

    def xyz(values: tuple[float, ...]) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in values))

    text = name.encode() + b"\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(4 + 4 + 2 + 1 + 67),
        b"cprt": b"text\0\0\0\0none\0",
        b"wtpt": xyz(D50),
        b"rXYZ": xyz(tuple(primaries[:, 0])),
        b"gXYZ": xyz(tuple(primaries[:, 1])),
        b"bXYZ": xyz(tuple(primaries[:, 2])),
        **{c + b"TRC": b"curv\0\0\0\0" + struct.pack(">IH", 1, round(GAMMA * 256)) for c in (b"r", b"g", b"b")},
    }
    table, body, at = b"", b"", 132 + 12 * len(tags)
    for tag, data in tags.items():
        data += bytes(-len(data) % 4)
        table += tag + struct.pack(">II", at + len(body), len(data))
        body += data
    size = at + len(body)
    head = struct.pack(">I4sI4s4s4s", size, b"none", 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + xyz(D50)[8:]
    return head + bytes(128 - len(head)) + struct.pack(">I", len(tags)) + table + body


def in_srgb(rgb: np.ndarray, primaries: np.ndarray) -> np.ndarray:
    """uint8 [..., 3] of such a profile as sRGB levels, float [..., 3], cut to 0 to 255."""
    linear = (rgb / 255.0) ** GAMMA @ primaries.T @ np.linalg.inv(SRGB).T
    linear = linear.clip(0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
