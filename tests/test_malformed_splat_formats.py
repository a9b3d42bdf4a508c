"""Damaged and hostile splat files of the packed formats give a sentence or a valid splat, never anything else.

`scripts/fuzz_formats.py` does the same ten thousand times for each format.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zstandard
from fewview.scene.errors import BadInputError
from fewview.scene.formats import load_splat, save_splat, side_path
from fewview.scene.formats.spz_container import FREE_BYTES
from fewview.scene.splat import StaticSplat
from support.datasets import random_gaussians

SPLAT = StaticSplat(random_gaussians(5, 1), up=(0.0, 1.0, 0.0))  # +y: no side file
FORMATS = {"a.compressed.ply": None, "2.spz": 2, "3.spz": 3, "4.spz": 4, "a.splat": None}


def written(folder: Path, name: str) -> bytes:
    save_splat(folder / name, SPLAT, spz_version=FORMATS[name])
    side_path(folder / name).unlink(missing_ok=True)
    return (folder / name).read_bytes()


def refused(path: Path, data: bytes, match: str | None = None) -> None:
    path.write_bytes(data)
    with pytest.raises(BadInputError, match=match) as caught:
        load_splat(path)
    assert path.name in str(caught.value)
    assert str(caught.value).endswith(".")


def either(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with contextlib.suppress(BadInputError):
        gaussians = load_splat(path).gaussians
        assert len(gaussians) <= 10
        assert all(bool(torch.isfinite(v).all()) for v in (gaussians.means, gaussians.quats, gaussians.sh))


@pytest.mark.parametrize("name", FORMATS)
def test_truncation(tmp_path: Path, name: str) -> None:
    """At every byte of the header and many of the rest; only a .splat can be whole again, at every 32nd."""
    data = written(tmp_path, name)
    header = data.index(b"end_header\n") + 11 if b"end_header" in data else 48
    for cut in sorted({*range(min(header, len(data))), *range(header, len(data), 7), len(data) - 1}):
        if name == "a.splat" and cut % 32 == 0 and cut:
            either(tmp_path / name, data[:cut])
        else:
            refused(tmp_path / name, data[:cut])


@pytest.mark.parametrize("name", FORMATS)
def test_bit_flips(tmp_path: Path, name: str) -> None:
    data = written(tmp_path, name)
    reach = data.index(b"end_header\n") + 11 if b"end_header" in data else len(data)
    for byte in range(reach):
        damaged = bytearray(data)
        damaged[byte] ^= 1 << byte % 8
        either(tmp_path / name, bytes(damaged))


@pytest.mark.parametrize("name", ["2.spz", "3.spz"])
def test_bit_flips_inside_of_the_compressed_stream(tmp_path: Path, name: str) -> None:
    plain = gzip.decompress(written(tmp_path, name))
    for byte in range(len(plain)):
        damaged = bytearray(plain)
        damaged[byte] ^= 1 << byte % 8
        either(tmp_path / name, gzip.compress(bytes(damaged), 1))


def test_a_damaged_gzip_stream_is_noticed_by_its_checksum(tmp_path: Path) -> None:
    data = written(tmp_path, "3.spz")
    refused(tmp_path / "3.spz", data[:-8] + bytes([data[-8] ^ 1]) + data[-7:], "gzip stream cannot be inflated")
    refused(tmp_path / "3.spz", data + b"more", "goes on after its end")


COUNTS = [0, 4, 6, 1000, 2**16, 2**31 - 1, 2**31, 2**32 - 1]


@pytest.mark.parametrize("count", COUNTS)
def test_spz_counts_that_lie(tmp_path: Path, count: int) -> None:
    for name in ("2.spz", "3.spz"):
        plain = bytearray(gzip.decompress(written(tmp_path, name)))
        struct.pack_into("<I", plain, 8, count)
        refused(tmp_path / name, gzip.compress(bytes(plain)), "promise")
    data = bytearray(written(tmp_path, "4.spz"))
    struct.pack_into("<I", data, 8, count)
    refused(tmp_path / "4.spz", bytes(data), "Gaussians")


@pytest.mark.parametrize("version", [0, 5, 2**32 - 1])
def test_spz_versions_that_are_not_read(tmp_path: Path, version: int) -> None:
    plain = bytearray(gzip.decompress(written(tmp_path, "3.spz")))
    struct.pack_into("<I", plain, 4, version)
    refused(tmp_path / "3.spz", gzip.compress(bytes(plain)), f"is SPZ version {version}.*1 to 4 are read")
    data = bytearray(written(tmp_path, "4.spz"))
    struct.pack_into("<I", data, 4, version)
    refused(tmp_path / "4.spz", bytes(data), f"is SPZ version {version}")


def test_spz_without_its_gzip_wrapping(tmp_path: Path) -> None:
    data = written(tmp_path, "3.spz")
    expected = load_splat(tmp_path / "3.spz").gaussians
    (tmp_path / "3.spz").write_bytes(gzip.decompress(data))
    assert torch.equal(load_splat(tmp_path / "3.spz").gaussians.sh, expected.sh)


@pytest.mark.parametrize(
    ("offset", "kind", "value"),
    [(12, "B", 5), (12, "B", 255), (13, "B", 24), (13, "B", 255), (12, "B", 3)],
)
def test_spz_headers_that_make_no_sense(tmp_path: Path, offset: int, kind: str, value: int) -> None:
    plain = bytearray(gzip.decompress(written(tmp_path, "3.spz")))
    struct.pack_into(f"<{kind}", plain, offset, value)
    refused(tmp_path / "3.spz", gzip.compress(bytes(plain)))


def table_of(data: bytes) -> tuple[int, list[list[int]], list[bytes]]:
    """(offset, sizes, streams) of a version 4 file."""
    offset = struct.unpack_from("<I", data, 16)[0]
    sizes = [list(struct.unpack_from("<QQ", data, offset + 16 * i)) for i in range(data[15])]
    at, streams = offset + 16 * data[15], []
    for packed, _ in sizes:
        streams.append(data[at : at + packed])
        at += packed
    return offset, sizes, streams


def built(data: bytes, sizes: list[list[int]], streams: list[bytes], between: bytes = b"") -> bytes:
    header = bytearray(data[:32])
    struct.pack_into("<I", header, 16, 32 + len(between))
    return b"".join([bytes(header), between, *(struct.pack("<QQ", *size) for size in sizes), *streams])


class TestSpz4Tables:
    def test_sizes(self, tmp_path: Path) -> None:
        data = written(tmp_path, "4.spz")
        for stream in range(6):
            for column in (0, 1):
                for wrong in (0, 1, 2**31, 2**63, 2**64 - 1):
                    _, sizes, streams = table_of(data)
                    sizes[stream][column] = wrong
                    refused(tmp_path / "4.spz", built(data, sizes, streams))

    def test_number_and_place_of_streams(self, tmp_path: Path) -> None:
        data = written(tmp_path, "4.spz")
        for streams in (0, 5, 7, 255):
            refused(tmp_path / "4.spz", data[:15] + bytes([streams]) + data[16:], "6 are expected")
        for offset in (0, 16, 31, 2**32 - 1):
            refused(tmp_path / "4.spz", data[:16] + struct.pack("<I", offset) + data[20:], "their table at byte")
        refused(tmp_path / "4.spz", data + b"\0", "1 bytes follow its last stream")

    def test_a_stream_that_holds_another_size(self, tmp_path: Path) -> None:
        data = written(tmp_path, "4.spz")
        for plain in (b"", b"\0" * 4, b"\0" * 6, b"\0" * 10**6):
            for says_its_size in (True, False):
                _, sizes, streams = table_of(data)
                compressor = zstandard.ZstdCompressor(write_content_size=says_its_size)
                streams[1] = compressor.compress(plain)
                sizes[1][0] = len(streams[1])
                refused(tmp_path / "4.spz", built(data, sizes, streams), "stream 1")

    def test_a_stream_that_does_not_say_its_size_is_read(self, tmp_path: Path) -> None:
        data = written(tmp_path, "4.spz")
        expected = load_splat(tmp_path / "4.spz").gaussians
        _, sizes, streams = table_of(data)
        plain = zstandard.ZstdDecompressor().decompress(streams[0])
        streams[0] = zstandard.ZstdCompressor(write_content_size=False).compress(plain)
        sizes[0][0] = len(streams[0])
        (tmp_path / "4.spz").write_bytes(built(data, sizes, streams))
        assert torch.equal(load_splat(tmp_path / "4.spz").gaussians.means, expected.means)

    def test_a_frame_that_claims_a_terabyte_allocates_nothing(self, tmp_path: Path) -> None:
        data = written(tmp_path, "4.spz")
        _, sizes, streams = table_of(data)
        # Single segment, eight bytes of content size, one empty last block (RFC 8878, 3.1.1).
        streams[0] = b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", 2**40) + b"\x01\0\0"
        sizes[0][0] = len(streams[0])
        refused(tmp_path / "4.spz", built(data, sizes, streams), "stream 0 is damaged")


class TestSpzExtensions:
    def _with(self, tmp_path: Path, records: bytes) -> bytes:
        data = written(tmp_path, "4.spz")
        _, sizes, streams = table_of(data)
        return built(data[:14] + b"\x02" + data[15:], sizes, streams, records)

    def test_unknown_ones_are_skipped(self, tmp_path: Path) -> None:
        path = tmp_path / "4.spz"
        path.write_bytes(self._with(tmp_path, struct.pack("<II", 0x12340001, 3) + b"abc"))
        assert len(load_splat(path).gaussians) == 5

    def test_ones_that_reach_too_far(self, tmp_path: Path) -> None:
        for records in (b"\1", struct.pack("<II", 1, 1), struct.pack("<II", 1, 2**32 - 1) + b"abc"):
            refused(tmp_path / "4.spz", self._with(tmp_path, records), "an extension reaches beyond")

    def test_another_frame_is_turned_into_the_usual_one(self, tmp_path: Path) -> None:
        path, plain = tmp_path / "4.spz", written(tmp_path, "4.spz")
        means = load_splat(path).gaussians.means
        for system, expected in ((0, means), (4, means), (6, means * torch.tensor([1, -1, -1]))):
            path.write_bytes(self._with(tmp_path, struct.pack("<III", 0xADBE0003, 4, system)))
            torch.testing.assert_close(load_splat(path).gaussians.means, expected, rtol=0, atol=0)
        # RFU: y is forward and z up, so up is the third number and back the negative second.
        path.write_bytes(self._with(tmp_path, struct.pack("<III", 0xADBE0003, 4, 12)))
        torch.testing.assert_close(load_splat(path).gaussians.means, means[:, [0, 2, 1]] * torch.tensor([1, 1, -1]))
        refused(path, self._with(tmp_path, struct.pack("<III", 0xADBE0003, 4, 8)), "mirrored frame RUF")
        assert plain != path.read_bytes()

    def test_behind_the_blocks_of_older_versions(self, tmp_path: Path) -> None:
        plain = gzip.decompress(written(tmp_path, "3.spz"))
        record = struct.pack("<II", 0x12340001, 3) + b"abc"
        refused(tmp_path / "3.spz", gzip.compress(plain + record), "goes on after its end")
        (tmp_path / "3.spz").write_bytes(gzip.compress(plain[:14] + b"\x02" + plain[15:] + record))
        assert len(load_splat(tmp_path / "3.spz").gaussians) == 5
        refused(tmp_path / "3.spz", gzip.compress(plain[:14] + b"\x02" + plain[15:] + record[:-1]), "reaches beyond")


def peak_of(path: Path) -> int:
    """Bytes that Python allocated at most while the file was refused."""
    tracemalloc.start()
    try:
        with pytest.raises(BadInputError):
            load_splat(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_gzip_bomb_is_not_inflated(tmp_path: Path) -> None:
    """64 MiB of zeros behind a header of one Gaussian, in 64 KiB."""
    header = struct.pack("<4sIIBBBB", b"NGSP", 3, 1, 0, 12, 0, 0)
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    data = packer.compress(header) + b"".join(packer.compress(bytes(2**20)) for _ in range(64)) + packer.flush()
    (tmp_path / "a.spz").write_bytes(data)
    assert peak_of(tmp_path / "a.spz") < 10 * len(data)  # the file itself and what zlib keeps of its input


@pytest.mark.parametrize("version", [3, 4])
def test_no_more_is_promised_than_a_file_of_its_size_can_hold(tmp_path: Path, version: int) -> None:
    """A file whose count is true, and whose Gaussians are all zeros: too good to be honest from a size on."""
    count = FREE_BYTES // 20 + 1
    header = struct.pack("<4sIIBBBB", b"NGSP", version, count, 0, 12, 0, 5 if version == 4 else 0)
    data = gzip.compress(header)
    if version == 4:
        data = header + struct.pack("<I12x", 32) + struct.pack("<QQ", 20, 9 * count) * 5 + bytes(100)
    (tmp_path / "a.spz").write_bytes(data)
    assert peak_of(tmp_path / "a.spz") < 10**6
    refused(tmp_path / "a.spz", data, "possible in a file of")


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        (b"element chunk 1", b"element chunk 0", "0 chunks for 5 Gaussians"),
        (b"element chunk 1", b"element chunk 2", "2 chunks for 5 Gaussians"),
        (b"element chunk 1", b"element chunk 4000000000000000000", "chunks for 5"),
        (b"element vertex 5", b"element vertex 257", "1 chunks for 257"),
        (b"element vertex 5", b"element vertex 6", "5 'sh' rows for 6"),
        (b"element sh 5", b"element sh 4", "4 'sh' rows for 5"),
        (b"property uchar f_rest_8\n", b"", "8 columns in 'sh'"),
        (b"uchar f_rest_8", b"uchar f_rest_9", "9 columns in 'sh'"),
        (b"uchar f_rest_8", b"float f_rest_8", "of type uchar"),
        (b"uint packed_color", b"float packed_color", "uint 'packed_color'"),
        (b"uint packed_scale", b"uint packed_size", "uint 'packed_scale'"),
        (b"float min_scale_z", b"float min_scale_w", "min_scale_z"),
        (b"float max_b", b"float maximum_b", "max_b"),
        (b"element chunk", b"element lump", "'chunk' should have"),
    ],
)
def test_compressed_ply_headers_that_lie(tmp_path: Path, old: bytes, new: bytes, match: str) -> None:
    data = written(tmp_path, "a.compressed.ply")
    assert old in data
    refused(tmp_path / "a.compressed.ply", data.replace(old, new, 1), match)


@pytest.mark.parametrize("bound", [np.nan, np.inf, -np.inf, 3.4e38])
def test_compressed_ply_bounds_that_are_no_numbers(tmp_path: Path, bound: float) -> None:
    data = bytearray(written(tmp_path, "a.compressed.ply"))
    struct.pack_into("<f", data, data.index(b"end_header\n") + 11, bound)
    either(tmp_path / "a.compressed.ply", bytes(data))
    if not np.isfinite(bound):
        assert "are not numbers" in load_splat(tmp_path / "a.compressed.ply").notes[0]


class TestDotSplat:
    @pytest.mark.parametrize("size", [0, 1, 31, 33, 63])
    def test_sizes(self, tmp_path: Path, size: int) -> None:
        refused(tmp_path / "a.splat", bytes(size), "32 for each Gaussian")

    def test_rows_that_are_no_gaussians(self, tmp_path: Path) -> None:
        rows = np.frombuffer(written(tmp_path, "a.splat"), np.uint8).reshape(5, 32).copy()
        floats = rows[:, :24].copy().view("<f4")
        floats[0, 1], floats[1, 2], floats[2, 4], floats[3, 5] = np.nan, np.inf, -1.0, 0.0
        rows[:, :24] = floats.view(np.uint8)
        (tmp_path / "a.splat").write_bytes(rows.tobytes())
        read = load_splat(tmp_path / "a.splat")
        assert len(read.gaussians) == 2  # a size of zero is flat, not wrong
        assert bool(torch.isneginf(read.gaussians.log_scales[0, 2]))
        assert "3 of 5" in read.notes[0]

    def test_something_else_under_its_name(self, tmp_path: Path) -> None:
        refused(tmp_path / "a.splat", b"\xff" * 320, "none of its 10 rows")


def test_files_that_are_no_splat(tmp_path: Path) -> None:
    refused(tmp_path / "a.bin", b"something else", "one of .compressed.ply, .ply, .spz")
    refused(tmp_path / "a.spz", b"something else", "neither a gzip header nor 'NGSP'")
    refused(tmp_path / "a.spz", gzip.compress(b"something else, long enough"), "not an SPZ file")
    refused(tmp_path / "a.spz", b"")
    with pytest.raises(BadInputError, match="could not be read"):
        load_splat(tmp_path / "absent.spz")
    with pytest.raises(BadInputError, match="could not be read"):
        load_splat(tmp_path)
    with pytest.raises(BadInputError, match="does not end like a splat file"):
        save_splat(tmp_path / "a.obj", SPLAT)


class TestSideFiles:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        save_splat(tmp_path / "a.spz", StaticSplat(SPLAT.gaussians, up=(0.0, 0.0, 1.0)))
        return tmp_path / "a.spz"

    def _change(self, path: Path, **values: Any) -> None:
        side = side_path(path)
        side.write_text(json.dumps(json.loads(side.read_text()) | values))

    @pytest.mark.parametrize(
        "matrix",
        [
            None,
            [],
            [[1, 0, 0, 0]] * 3,
            [[0] * 4] * 3 + [[0, 0, 0, 1]],
            [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, 0], [0, 0, 0, 1]],  # a mirror
            [[1, 0, 0, 0], [0, 2, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
            [[1, 0.1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
            [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]],
            [[1, 0, 0, 1e300], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
            [["1", 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
            [[True, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
            [[10**400, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
        ],
    )
    def test_frames_that_are_none(self, path: Path, matrix: Any) -> None:
        self._change(path, world_from_file=matrix)
        with pytest.raises(BadInputError, match=r"a\.spz\.json.*not a 4x4 similarity"):
            load_splat(path)

    @pytest.mark.parametrize("up", [[0, 0, 2], [0, 0], "z", [0, 0, 0], [0, 0, None]])
    def test_axes_that_are_none(self, path: Path, up: Any) -> None:
        self._change(path, up=up)
        with pytest.raises(BadInputError, match="unit vector"):
            load_splat(path)

    def test_other_values(self, path: Path) -> None:
        self._change(path, antialiased="no")
        with pytest.raises(BadInputError, match="true or false"):
            load_splat(path)
        self._change(path, antialiased=True, fewview_splat=2)
        with pytest.raises(BadInputError, match="version 2"):
            load_splat(path)

    @pytest.mark.parametrize("text", ["", "{", '{"fewview_splat": NaN}', "\x00"])
    def test_text_that_is_no_json(self, path: Path, text: str) -> None:
        side_path(path).write_text(text)
        with pytest.raises(BadInputError, match=r"a\.spz\.json"):
            load_splat(path)

    def test_one_of_another_file_is_not_used(self, path: Path) -> None:
        expected = load_splat(path)
        assert expected.up == (0, 0, 1)
        save_splat(path.with_name("b.spz"), SPLAT)
        path.write_bytes(path.with_name("b.spz").read_bytes())  # as when only the splat was replaced
        found = load_splat(path)
        assert found.up == (0, 1, 0)
        assert "was written for another file" in found.notes[0]

    def test_json_of_others_is_left_alone(self, tmp_path: Path) -> None:
        side_path(tmp_path / "a.spz").write_text('{"name": "settings of another program"}')
        with pytest.raises(BadInputError, match="is in the way"):
            save_splat(tmp_path / "a.spz", StaticSplat(SPLAT.gaussians, up=(0.0, -1.0, 0.0)))
        assert not (tmp_path / "a.spz").exists()
        save_splat(tmp_path / "a.spz", SPLAT)  # needs none
        assert "another program" in side_path(tmp_path / "a.spz").read_text()
        assert load_splat(tmp_path / "a.spz").notes == ()

    def test_a_scaled_frame_is_applied(self, path: Path) -> None:
        """Only a rotation is written, but the file is for any similarity."""
        before = load_splat(path)
        matrix = torch.tensor(json.loads(side_path(path).read_text())["world_from_file"])
        matrix[:3] *= 2
        matrix[:3, 3] += torch.tensor([1.0, 2, 3])
        self._change(path, world_from_file=matrix.tolist())
        g = load_splat(path).gaussians
        torch.testing.assert_close(g.means, 2 * before.gaussians.means + torch.tensor([1.0, 2, 3]))
        torch.testing.assert_close(g.scales, 2 * before.gaussians.scales)
