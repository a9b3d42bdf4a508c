"""Damaged and hostile PLY files give a sentence or a valid result, never anything else."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
import torch
from fewview.scene.errors import BadInputError
from fewview.scene.formats import splat_ply as ply
from fewview.scene.points_ply import read_points, write_points
from fewview.scene.splat import StaticSplat
from support.datasets import random_gaussians, random_points


@pytest.fixture
def splat(tmp_path: Path) -> bytes:
    ply.write(tmp_path / "good.ply", StaticSplat(random_gaussians(3, 1)))
    return (tmp_path / "good.ply").read_bytes()


def _refused(path: Path, data: bytes, match: str) -> None:
    path.write_bytes(data)
    with pytest.raises(BadInputError, match=match) as caught:
        ply.read(path)
    assert path.name in str(caught.value)


def test_truncation_at_every_header_byte(tmp_path: Path, splat: bytes) -> None:
    body = splat.index(b"end_header\n") + 11
    for cut in [*range(body + 4), *range(body + 4, len(splat), 13), len(splat) - 1]:
        _refused(tmp_path / "a.ply", splat[:cut], "cut short|not a PLY file")


def test_bit_flips_in_the_header(tmp_path: Path, splat: bytes) -> None:
    """One bit of every header byte: the result is a splat or a BadInputError."""
    path = tmp_path / "a.ply"
    header = splat.index(b"end_header\n") + 11
    for byte in range(header):
        damaged = bytearray(splat)
        damaged[byte] ^= 1 << byte % 7
        path.write_bytes(bytes(damaged))
        with contextlib.suppress(BadInputError):
            assert len(ply.read(path).gaussians) <= 3


def test_random_damage_in_the_body(tmp_path: Path, splat: bytes) -> None:
    rng = np.random.default_rng(0)
    start = splat.index(b"end_header\n") + 11
    for _ in range(100):
        damaged = bytearray(splat)
        for byte in rng.integers(start, len(splat), 4):
            damaged[byte] = rng.integers(256)
        (tmp_path / "a.ply").write_bytes(bytes(damaged))
        g = ply.read(tmp_path / "a.ply").gaussians
        assert torch.isfinite(g.means).all()


@pytest.mark.parametrize("count", [b"4", b"1000000000000", b"9223372036854775807", b"9999999999999999999"])
def test_more_rows_than_bytes(tmp_path: Path, splat: bytes, count: bytes) -> None:
    _refused(tmp_path / "a.ply", splat.replace(b"vertex 3", b"vertex " + count), "are left")


@pytest.mark.parametrize("count", [b"-1", b"3.0", b"1e3", b"0x3", b"99999999999999999999999", b"three", b""])
def test_counts_that_are_none(tmp_path: Path, splat: bytes, count: bytes) -> None:
    _refused(tmp_path / "a.ply", splat.replace(b"vertex 3", b"vertex " + count), "byte 36: 'element'")


@pytest.mark.parametrize("text", [False, True])
def test_huge_text_counts_are_not_allocated(tmp_path: Path, splat: bytes, text: bool) -> None:
    data = splat.replace(b"vertex 3", b"vertex 1000000000000")
    _refused(tmp_path / "a.ply", data.replace(b"binary_little_endian", b"ascii") if text else data, "1000000000000")


def test_rows_of_nothing(tmp_path: Path) -> None:
    data = b"ply\nformat binary_little_endian 1.0\nelement vertex 1000000000000\nend_header\n"
    _refused(tmp_path / "a.ply", data, "missing")
    (tmp_path / "a.ply").write_bytes(data)
    with pytest.raises(BadInputError):
        read_points(tmp_path / "a.ply")


@pytest.mark.parametrize("name", ["x", "opacity", "rot_3", "scale_1", "f_dc_2"])
def test_missing_properties_are_named(tmp_path: Path, splat: bytes, name: str) -> None:
    _refused(tmp_path / "a.ply", splat.replace(f"float {name}\n".encode(), f"float other_{name}\n".encode()), name)


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        (b"property float y", b"property float x", "declared twice"),
        (b"property float x", b"property half x", "a type and a name are expected"),
        (b"property float x", b"property list uchar int x", "missing"),
        (b"property float opacity", b"property list uchar int more\nproperty float opacity", "list property"),
        (b"format binary_little_endian 1.0\n", b"", "no 'format' line"),
        (b"format binary_little_endian 1.0", b"format binary_middle_endian 1.0", "'format' followed by"),
        (b"format binary_little_endian 1.0", b"format binary_little_endian 2.0", "'format' followed by"),
        (b"element vertex", b"property float a\nelement vertex", "before the first element"),
        (b"element vertex", b"element vertex 0\nelement vertex", "declared twice"),
        (b"element vertex", b"elephant vertex", "not a line of a PLY header"),
        (b"property float f_rest_8\n", b"", "f_rest_"),
        (b"property float f_rest_8\n", b"property float f_rest_08\n", "f_rest_"),
        (b"end_header", b"end_heads!", "not a line|no 'end_header'"),
    ],
)
def test_headers_that_lie(tmp_path: Path, splat: bytes, old: bytes, new: bytes, match: str) -> None:
    assert old in splat
    _refused(tmp_path / "a.ply", splat.replace(old, new, 1), match)


def test_a_header_without_end_is_bounded(tmp_path: Path) -> None:
    data = b"ply\nformat ascii 1.0\n" + b"comment and so on\n" * 10_000
    _refused(tmp_path / "a.ply", data, "first 131072 bytes")


def test_what_it_is_instead(tmp_path: Path) -> None:
    write_points(tmp_path / "cloud.ply", random_points(2, 2))
    with pytest.raises(BadInputError, match="a point cloud"):
        ply.read(tmp_path / "cloud.ply")
    _refused(tmp_path / "a.ply", b"", "does not start with")
    with pytest.raises(BadInputError, match="could not be read"):
        ply.read(tmp_path / "absent.ply")


def test_rows_that_are_no_numbers_are_left_out(tmp_path: Path) -> None:
    g = random_gaussians(12, 1)
    nan, inf = torch.nan, torch.inf
    g.means[0, 0], g.quats[1, 2], g.log_scales[2, 1], g.opacity_logits[3], g.sh[4, 2, 1] = nan, nan, nan, nan, nan
    g.means[5, 0], g.log_scales[6, 0] = inf, inf
    g.opacity_logits[7], g.opacity_logits[8], g.log_scales[9, 2] = inf, -inf, -inf
    g.quats[10] = 0
    ply.write(tmp_path / "a.ply", StaticSplat(g))
    read = ply.read(tmp_path / "a.ply")
    assert torch.equal(read.gaussians.means, g.means[7:])
    assert torch.equal(read.gaussians.opacity_logits, g.opacity_logits[7:])
    assert "7 of 12" in read.notes[0]


def test_text_rows_that_are_wrong(tmp_path: Path) -> None:
    header = (
        b"ply\nformat ascii 1.0\nelement vertex 2\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
    )
    for body in (b"1 2 3\n4.25 5.25\n", b"1 2 3\n4 5 six\n", b"1 2 3\n4 5 6 7\n", b"1 2 3\n\n" + b" " * 20):
        (tmp_path / "a.ply").write_bytes(header + body)
        with pytest.raises(BadInputError, match="row 1: 3 numbers"):
            read_points(tmp_path / "a.ply")


def test_observations_of_points_that_are_not_there(tmp_path: Path) -> None:
    write_points(tmp_path / "a.ply", random_points(3, 2))
    data = (tmp_path / "a.ply").read_bytes()
    (tmp_path / "a.ply").write_bytes(data[:-8] + b"\x07\0\0\0\0\0\0\0")
    with pytest.raises(BadInputError, match="outside of the 3 points"):
        read_points(tmp_path / "a.ply")
