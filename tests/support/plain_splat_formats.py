"""Plain decoders and encoders of splat files: one number after another, written from the tables of the formats alone.

They share no code with the package. A Gaussian is a dictionary: position, log_scale, quat (w, x, y, z, unit), alpha
(0 to 1), dc (3) and rest (coefficients of [r, g, b]).
"""

from __future__ import annotations

import gzip
import math
import struct
from typing import Any

import zstandard

C0 = 0.28209479177387814
Plain = dict[str, Any]


def decode_splat(data: bytes) -> list[Plain]:
    found = []
    for start in range(0, len(data), 32):
        numbers = struct.unpack_from("<6f8B", data, start)
        quat = [(byte - 128) / 128 for byte in numbers[10:14]]
        found.append(
            {
                "position": numbers[:3],
                "log_scale": [math.log(size) for size in numbers[3:6]],
                "dc": [(byte / 255 - 0.5) / C0 for byte in numbers[6:9]],
                "alpha": numbers[9] / 255,
                "quat": _unit(quat),
                "rest": [],
            }
        )
    return found


def encode_splat(gaussians: list[Plain]) -> bytes:
    """As the first converter does it: bytes are truncated."""
    out = b""
    for g in gaussians:
        colors = [int(min(255, max(0, (0.5 + C0 * c) * 255))) for c in g["dc"]]
        quat = [int(min(255, max(0, c * 128 + 128))) for c in g["quat"]]
        sizes = [math.exp(s) for s in g["log_scale"]]
        out += struct.pack("<6f8B", *g["position"], *sizes, *colors, int(g["alpha"] * 255), *quat)
    return out


def decode_spz(data: bytes) -> tuple[dict[str, int], list[Plain]]:
    """Any version; (header, Gaussians)."""
    streams: list[bytes] = []
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    magic, version, count, degree, bits, flags, last = struct.unpack_from("<4sIIBBBB", data)
    assert magic == b"NGSP"
    rest_count = (degree + 1) ** 2 - 1
    rotation_bytes = 3 if version == 2 else 4
    sizes = [9 * count, count, 3 * count, 3 * count, rotation_bytes * count, 3 * rest_count * count]
    if version == 4:
        table = struct.unpack_from("<I", data, 16)[0]
        at = table + 16 * last
        for i in range(last):
            packed, plain = struct.unpack_from("<QQ", data, table + 16 * i)
            streams.append(zstandard.ZstdDecompressor().decompress(data[at : at + packed]))
            assert len(streams[-1]) == plain == sizes[i]
            at += packed
        assert at == len(data)
        streams += [b""] * (6 - last)
    else:
        at = 16
        for size in sizes:
            streams.append(data[at : at + size])
            at += size
        assert at == len(data)
    positions, alphas, colors, scales, rotations, rest = streams
    found = []
    for i in range(count):
        position = []
        for axis in range(3):
            start = 9 * i + 3 * axis
            value = positions[start] + 256 * positions[start + 1] + 65536 * positions[start + 2]
            position.append((value - 2**24 if value >= 2**23 else value) / 2**bits)
        if version == 2:
            x, y, z = (rotations[3 * i + k] / 127.5 - 1 for k in range(3))
            quat = [math.sqrt(max(0.0, 1 - x * x - y * y - z * z)), x, y, z]
        else:
            quat = _smallest_three(struct.unpack_from("<I", rotations, 4 * i)[0])
        start = 3 * rest_count * i
        found.append(
            {
                "position": position,
                "log_scale": [scales[3 * i + k] / 16 - 10 for k in range(3)],
                "quat": quat,
                "alpha": alphas[i] / 255,
                "dc": [(colors[3 * i + k] / 255 - 0.5) / 0.15 for k in range(3)],
                "rest": [[(rest[start + 3 * j + k] - 128) / 128 for k in range(3)] for j in range(rest_count)],
            }
        )
    return {"version": version, "count": count, "degree": degree, "bits": bits, "flags": flags}, found


def _smallest_three(word: int) -> list[float]:
    """wxyz of a word: its lowest ten bits are the last of x, y, z, w but for the largest, then come those before."""
    largest = word >> 30
    xyzw = [0.0] * 4
    for k in (3, 2, 1, 0):
        if k != largest:
            xyzw[k] = (word & 511) / 511 * math.sqrt(0.5) * (-1 if word & 512 else 1)
            word >>= 10
    xyzw[largest] = math.sqrt(max(0.0, 1 - sum(c * c for c in xyzw)))
    return [xyzw[3], *xyzw[:3]]


def encode_spz_gzip(gaussians: list[Plain], version: int, *, flags: int = 0, bits: int = 12) -> bytes:
    """Versions 1 to 3."""
    degree = round(math.sqrt(len(gaussians[0]["rest"]) + 1)) - 1
    out = struct.pack("<4sIIBBBB", b"NGSP", version, len(gaussians), degree, bits, flags, 0)
    for g in gaussians:
        for p in g["position"]:
            out += struct.pack("<e", p) if version == 1 else struct.pack("<i", round(p * 2**bits))[:3]
    out += bytes(round(g["alpha"] * 255) for g in gaussians)
    out += bytes(round(c * 0.15 * 255 + 127.5) for g in gaussians for c in g["dc"])
    out += bytes(round((s + 10) * 16) for g in gaussians for s in g["log_scale"])
    for g in gaussians:
        w, x, y, z = g["quat"]
        if version <= 2:
            sign = -1 if w < 0 else 1
            out += bytes(round(sign * c * 127.5 + 127.5) for c in (x, y, z))
        else:
            xyzw = [x, y, z, w]
            largest = max(range(4), key=lambda k: abs(xyzw[k]))
            sign = -1 if xyzw[largest] < 0 else 1
            word = largest
            for k in range(4):
                if k != largest:
                    word = word << 10 | (512 if sign * xyzw[k] < 0 else 0) | round(511 * abs(xyzw[k]) * math.sqrt(2))
            out += struct.pack("<I", word)
    for g in gaussians:
        for j, color in enumerate(g["rest"]):
            bucket = 8 if j < 3 else 16
            for c in color:
                level = round(c * 128) + 128
                out += bytes([min(255, max(0, (level + bucket // 2) // bucket * bucket))])
    return gzip.compress(out, mtime=0)


def decode_compressed_ply(data: bytes) -> list[Plain]:
    """Files as SuperSplat and we write them: chunk, vertex, and sh where there is one, in this order."""
    header, body = data.split(b"end_header\n", 1)
    lines = header.decode().splitlines()
    counts = {line.split()[1]: int(line.split()[2]) for line in lines if line.startswith("element")}
    bounds_count = sum(line.startswith("property float") for line in lines)
    rest_count = sum("f_rest" in line for line in lines)
    found = []
    vertex_start = 4 * bounds_count * counts["chunk"]
    sh_start = vertex_start + 16 * counts["vertex"]
    assert len(body) == sh_start + rest_count * counts["vertex"]
    for i in range(counts["vertex"]):
        bounds = struct.unpack_from(f"<{bounds_count}f", body, 4 * bounds_count * (i // 256))
        position, rotation, scale, color = struct.unpack_from("<4I", body, vertex_start + 16 * i)
        rgba = [(color >> shift & 255) / 255 for shift in (24, 16, 8, 0)]
        if bounds_count == 18:
            rgba[:3] = [bounds[12 + k] + (bounds[15 + k] - bounds[12 + k]) * rgba[k] for k in range(3)]
        coefficients = []
        for byte in body[sh_start + rest_count * i :][:rest_count]:
            n = 0.0 if byte == 0 else 1.0 if byte == 255 else (byte + 0.5) / 256
            coefficients.append((n - 0.5) * 8)
        per_channel = rest_count // 3
        found.append(
            {
                "position": _lerp_11_10_11(position, bounds[0:3], bounds[3:6]),
                "log_scale": _lerp_11_10_11(scale, bounds[6:9], bounds[9:12]),
                "quat": _largest_first(rotation),
                "alpha": rgba[3],
                "dc": [(c - 0.5) / C0 for c in rgba[:3]],
                "rest": [[coefficients[c * per_channel + j] for c in range(3)] for j in range(per_channel)],
            }
        )
    return found


def _lerp_11_10_11(word: int, low: tuple[float, ...], high: tuple[float, ...]) -> list[float]:
    t = [(word >> 21) / 2047, (word >> 11 & 1023) / 1023, (word & 2047) / 2047]
    return [low[k] + (high[k] - low[k]) * t[k] for k in range(3)]


def _largest_first(word: int) -> list[float]:
    three = [((word >> shift & 1023) / 1023 - 0.5) * math.sqrt(2) for shift in (20, 10, 0)]
    three.insert(word >> 30, math.sqrt(max(0.0, 1 - sum(c * c for c in three))))
    return three


def _unit(quat: list[float]) -> list[float]:
    norm = math.sqrt(sum(c * c for c in quat))
    return [c / norm for c in quat]
