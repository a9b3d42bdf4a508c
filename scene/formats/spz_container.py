"""The container of SPZ files: a header and planar blocks of bytes.

Versions 1 to 3 are one gzip stream; version 4 is a plain header, a table of contents and a Zstandard stream a block.

Nothing is inflated beyond the size that the header implies, and that size is first held against the file's own.

Source: github.com/nianticlabs/spz, README and `load-spz.cc`.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import zstandard

from ..errors import BadInputError
from ..files import write_bytes
from ..zlib_order import require_zlib

MAGIC = b"NGSP"
GZIP = b"\x1f\x8b"
VERSIONS = (2, 3, 4)  # that are written; 1, with positions of 16-bit floats, is only read
MAX_DEGREE = 4
# Splats shrink to a half or a quarter; this leaves room for any that are real and stops a bomb. The floor is for
# small files of equal Gaussians, which shrink to nearly nothing.
MAX_RATIO = 64
FREE_BYTES = 16 * 2**20
_MAX_EXTENSION_BYTES = 64 * 1024
_GZIP_LEVEL, _ZSTD_LEVEL = 6, 12
_HAS_ANTIALIASING, _HAS_EXTENSIONS = 1, 2
_LEGACY = struct.Struct("<4sIIBBBB")  # magic, version, points, SH degree, fractional bits, flags, reserved
_PLAIN = struct.Struct("<4sIIBBBBI12x")  # the same with the number of streams, then the table's offset
_ENTRY = struct.Struct("<QQ")  # of the table of contents: compressed and plain size
_RECORD = struct.Struct("<II")  # of an extension: type and size, before its payload
COORDINATE_SYSTEM = 0xADBE0003  # the extension SPZ_ADOBE_coordinate_system: one u32


@dataclass(frozen=True)
class SpzHeader:
    version: int
    count: int
    sh_degree: int
    fractional_bits: int  # of the positions
    antialiased: bool
    coordinate_system: int = 0  # of the extension; 0 is none given

    @property
    def widths(self) -> tuple[int, ...]:
        """Bytes for each Gaussian: positions, alphas, colours, scales, rotations, spherical harmonics."""
        return (
            6 if self.version == 1 else 9,
            1,
            3,
            3,
            3 if self.version <= 2 else 4,
            3 * ((self.sh_degree + 1) ** 2 - 1),
        )


def is_spz(path: Path, head: bytes) -> bool:
    """True where a file with these first bytes is SPZ; a gzip stream only when it starts like one inside."""
    if head[:2] == GZIP:
        try:
            head = zlib.decompressobj(31).decompress(head, 4)
        except zlib.error:
            return False
    return head[:4] == MAGIC


def read_blocks(path: Path, data: bytes) -> tuple[SpzHeader, list[np.ndarray]]:
    """The header and the six blocks of bytes, each uint8 [N, width] in the order of `SpzHeader.widths`.

    Raises BadInputError, which names `path`, for data that are damaged, cut short, of another version, or bigger inside
    than they can be.
    """
    if data[:2] == GZIP:
        return _read_gzip(path, data)
    if data[:4] != MAGIC:
        raise BadInputError(f"{path} is not an SPZ file: it starts with neither a gzip header nor 'NGSP'.")
    if len(data) >= 8 and data[4:8] != struct.pack("<I", 4):
        return _legacy_blocks(path, data, len(data))  # versions 1 to 3 without their gzip wrapping
    return _read_streams(path, data)


def write_blocks(path: Path, header: SpzHeader, blocks: list[np.ndarray]) -> None:
    """Write a file of version 2, 3 or 4; equal input gives equal bytes."""
    flags = _HAS_ANTIALIASING * header.antialiased
    plain = [np.ascontiguousarray(block, np.uint8).tobytes() for block in blocks]
    fields = (MAGIC, header.version, header.count, header.sh_degree, header.fractional_bits, flags)
    if header.version < 4:
        require_zlib("An SPZ file")
        packer = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, 31)  # zlib's own gzip header has no time in it
        parts = [packer.compress(part) for part in (_LEGACY.pack(*fields, 0), *plain)]
        write_bytes(path, b"".join([*parts, packer.flush()]))
        return
    plain = [part for part in plain if part]
    streams = [zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(part) for part in plain]
    table = [_ENTRY.pack(len(stream), len(part)) for stream, part in zip(streams, plain, strict=True)]
    write_bytes(path, b"".join([_PLAIN.pack(*fields, len(streams), _PLAIN.size), *table, *streams]))


def _read_gzip(path: Path, data: bytes) -> tuple[SpzHeader, list[np.ndarray]]:
    inflate = zlib.decompressobj(31)
    try:
        plain = inflate.decompress(data, _LEGACY.size)
        header, extended = _header(path, plain, len(data))
        # One byte more than there may be, so that what is too long shows, and what is not is checked to its end.
        limit = header.count * sum(header.widths) + extended * _MAX_EXTENSION_BYTES + 1
        plain += inflate.decompress(inflate.unconsumed_tail, limit)
    except zlib.error as error:
        raise BadInputError(f"{path} is damaged: its gzip stream cannot be inflated ({error}).") from error
    if not inflate.eof or inflate.unused_data:
        more = len(plain) - _LEGACY.size == limit or inflate.unused_data
        what = "goes on after its end" if more else "is cut short"
        raise BadInputError(f"{path} is damaged: {header.count} Gaussians were promised, and the file {what}.")
    return _legacy_blocks(path, plain, len(data))


def _legacy_blocks(path: Path, plain: bytes, file_size: int) -> tuple[SpzHeader, list[np.ndarray]]:
    header, extended = _header(path, plain, file_size)
    sizes = [header.count * width for width in header.widths]
    end = _LEGACY.size + sum(sizes)
    if len(plain) < end or (len(plain) > end and not extended):
        raise BadInputError(
            f"{path} promises {header.count} Gaussians of {sum(header.widths)} bytes, {end} bytes with the header, but "
            f"holds {len(plain)}; the file is damaged or cut short."
        )
    if extended:
        header = _with_extensions(path, header, plain[end:])
    starts = np.cumsum([_LEGACY.size, *sizes])
    return header, [
        np.frombuffer(plain, np.uint8, size, start).reshape(header.count, width)
        for start, size, width in zip(starts[:-1].tolist(), sizes, header.widths, strict=True)
    ]


def _read_streams(path: Path, data: bytes) -> tuple[SpzHeader, list[np.ndarray]]:
    header, extended = _header(path, data, len(data))
    if len(data) < _PLAIN.size:
        raise BadInputError(f"{path} has {len(data)} bytes; a header of {_PLAIN.size} is expected.")
    count, table = _PLAIN.unpack_from(data)[-2:]
    widths = [width for width in header.widths if width]
    start = table + count * _ENTRY.size
    if count != len(widths) or table < _PLAIN.size or start > len(data):
        raise BadInputError(
            f"{path} has {count} streams with their table at byte {table}; {len(widths)} are expected for spherical "
            f"harmonics of degree {header.sh_degree}, between byte {_PLAIN.size} and its end at {len(data)}."
        )
    if extended:
        header = _with_extensions(path, header, data[_PLAIN.size : table])
    blocks = []
    for i, width in enumerate(widths):
        packed, size = _ENTRY.unpack_from(data, table + i * _ENTRY.size)
        if size != header.count * width or packed > len(data) - start:
            raise BadInputError(
                f"{path}, stream {i}: {packed} bytes at byte {start} for {size} plain ones, where "
                f"{len(data) - start} are left and {header.count} Gaussians have {header.count * width}."
            )
        blocks.append(_decompressed(path, i, data[start : start + packed], size).reshape(header.count, width))
        start += packed
    if start != len(data):
        raise BadInputError(f"{path} is damaged: {len(data) - start} bytes follow its last stream.")
    return header, [*blocks, *[np.zeros((header.count, 0), np.uint8)] * (6 - len(blocks))]


def _decompressed(path: Path, i: int, packed: bytes, size: int) -> np.ndarray:
    """uint8 [size] of one Zstandard frame, which must hold exactly that many."""
    try:
        claimed = zstandard.get_frame_parameters(packed).content_size
        known = claimed not in (zstandard.CONTENTSIZE_UNKNOWN, zstandard.CONTENTSIZE_ERROR)
        # A claimed size is what would be allocated, whatever the limit.
        plain = (
            b""
            if known and claimed != size
            else zstandard.ZstdDecompressor().decompress(packed, size, allow_extra_data=False)
        )
    except zstandard.ZstdError as error:
        raise BadInputError(f"{path}, stream {i} is damaged: {error}.") from error
    if len(plain) != size:
        raise BadInputError(f"{path}, stream {i} is damaged: it does not hold the {size} bytes that were promised.")
    return np.frombuffer(plain, np.uint8)


def _header(path: Path, plain: bytes, file_size: int) -> tuple[SpzHeader, bool]:
    """(the first 16 bytes, which all versions share; whether extension records are there), checked."""
    if len(plain) < _LEGACY.size:
        raise BadInputError(f"{path} is cut short: {len(plain)} bytes of its header of {_LEGACY.size} are there.")
    magic, version, count, degree, bits, flags, _ = _LEGACY.unpack_from(plain)
    if magic != MAGIC:
        raise BadInputError(f"{path} is not an SPZ file: it holds {magic!r} instead of {MAGIC!r}.")
    if version != 1 and version not in VERSIONS:
        raise BadInputError(f"{path} is SPZ version {version}; versions 1 to 4 are read here.")
    if degree > MAX_DEGREE or bits > 23:
        raise BadInputError(
            f"{path} has spherical harmonics of degree {degree} and {bits} fractional bits; at most {MAX_DEGREE} and "
            "23 are expected, so its header is damaged."
        )
    header = SpzHeader(version, count, degree, bits, bool(flags & _HAS_ANTIALIASING))
    implied, possible = count * sum(header.widths), max(FREE_BYTES, MAX_RATIO * file_size)
    if count == 0 or implied > possible:
        raise BadInputError(
            f"{path} promises {count} Gaussians, {implied} bytes; at least 1 and at most {possible} bytes are "
            f"possible in a file of {file_size} bytes, so it is damaged."
        )
    return header, bool(flags & _HAS_EXTENSIONS)


def _with_extensions(path: Path, header: SpzHeader, records: bytes) -> SpzHeader:
    """The header with what the known extensions say; unknown ones are skipped by their length."""
    at = 0
    while at < len(records):
        kind, size = _RECORD.unpack_from(records, at) if at + _RECORD.size <= len(records) else (0, len(records))
        start = at + _RECORD.size
        if size > len(records) - start:
            raise BadInputError(f"{path} is damaged: an extension reaches beyond the {len(records)} bytes for them.")
        if kind == COORDINATE_SYSTEM and size == 4:
            (system,) = struct.unpack_from("<I", records, start)
            return replace(header, coordinate_system=system)
        at = start + size
    return header
