"""Splat files against plain decoders and encoders that were written from the formats' tables alone."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from fewview.scene.formats import antimatter15, compressed_ply, spz
from fewview.scene.gaussians import Gaussians
from fewview.scene.splat import StaticSplat
from support.datasets import random_gaussians
from support.plain_splat_formats import (
    decode_compressed_ply,
    decode_splat,
    decode_spz,
    encode_splat,
    encode_spz_gzip,
)


def tame(count: int, degree: int, seed: int = 0) -> Gaussians:
    """Gaussians within what every format can hold."""
    g = random_gaussians(count, degree, seed)
    quats = torch.nn.functional.normalize(g.quats, dim=1)
    return Gaussians(g.means.clamp(-9, 9), quats, g.log_scales.clamp(-9, 5), g.opacity_logits.clamp(-5, 5), 0.2 * g.sh)


def assert_same(found: Gaussians, plain: list[dict[str, Any]]) -> None:
    """Ours in float32, theirs in double precision: a few rounding errors apart, nothing of the formats' steps."""
    close = {"rtol": 2e-6, "atol": 2e-6}
    assert len(found) == len(plain)
    for i, g in enumerate(plain):
        # Three rounded components may be longer than 1 together; only the direction counts.
        quat, expected_quat = found.quats[i].double(), torch.tensor(g["quat"], dtype=torch.float64)
        quat, expected_quat = quat / quat.norm(), expected_quat / expected_quat.norm()
        sign = 1 if quat @ expected_quat > 0 else -1
        expected = Gaussians(
            torch.tensor([g["position"]]),
            expected_quat[None].float(),
            torch.tensor([g["log_scale"]]),
            torch.tensor([g["alpha"]]),
            torch.tensor([[g["dc"], *g["rest"]]]),
        )
        torch.testing.assert_close(found.means[i], expected.means[0], **close)
        torch.testing.assert_close(sign * quat.float(), expected.quats[0], **close)
        torch.testing.assert_close(found.log_scales[i], expected.log_scales[0], **close)
        torch.testing.assert_close(found.opacities[i], expected.opacity_logits[0], **close)
        torch.testing.assert_close(found.sh[i], expected.sh[0], **close)


def plain_of(g: Gaussians) -> list[dict[str, Any]]:
    return [
        {
            "position": g.means[i].tolist(),
            "log_scale": g.log_scales[i].tolist(),
            "quat": g.quats[i].tolist(),
            "alpha": float(g.opacities[i]),
            "dc": g.sh[i, 0].tolist(),
            "rest": g.sh[i, 1:].tolist(),
        }
        for i in range(len(g))
    ]


@pytest.mark.parametrize("degree", range(4))
@pytest.mark.parametrize("version", [2, 3, 4])
def test_spz_is_read_as_plainly_decoded(tmp_path: Path, version: int, degree: int) -> None:
    path, g = tmp_path / "a.spz", tame(5, degree, version)
    spz.write(path, StaticSplat(g, antialiased=True), version=version)
    header, plain = decode_spz(path.read_bytes())
    assert header == {"version": version, "count": 5, "degree": degree, "bits": 12, "flags": 1}
    assert_same(spz.read(path).gaussians, plain)
    assert spz.read(path).antialiased


@pytest.mark.parametrize("version", [2, 3])
def test_spz_holds_the_bytes_of_a_plain_encoder(tmp_path: Path, version: int) -> None:
    path, g = tmp_path / "a.spz", tame(5, 3)
    spz.write(path, StaticSplat(g), version=version)
    ours = decode_spz(path.read_bytes())
    assert ours == decode_spz(encode_spz_gzip(plain_of(g), version))


def test_spz_with_other_fractional_bits(tmp_path: Path) -> None:
    path, g = tmp_path / "a.spz", tame(5, 1)
    path.write_bytes(encode_spz_gzip(plain_of(g), 3, bits=16))
    # Half a step of 2^-16.
    torch.testing.assert_close(spz.read(path).gaussians.means, g.means, rtol=0, atol=2**-17 + 1e-6)


def test_spz_of_version_1_has_positions_of_16_bit_floats(tmp_path: Path) -> None:
    """The rest is that of version 2."""
    g = tame(5, 1)
    (tmp_path / "1.spz").write_bytes(encode_spz_gzip(plain_of(g), 1))
    (tmp_path / "2.spz").write_bytes(encode_spz_gzip(plain_of(g), 2))
    found, two = spz.read(tmp_path / "1.spz").gaussians, spz.read(tmp_path / "2.spz").gaussians
    assert torch.equal(found.means, g.means.half().float())
    for name in ("quats", "log_scales", "opacity_logits", "sh"):
        assert torch.equal(getattr(found, name), getattr(two, name))


def test_a_dot_splat_is_read_as_plainly_decoded(tmp_path: Path) -> None:
    path, g = tmp_path / "a.splat", tame(5, 0)
    antimatter15.write(path, StaticSplat(g))
    assert_same(antimatter15.read(path).gaussians, decode_splat(path.read_bytes()))
    path.write_bytes(encode_splat(plain_of(g)))
    assert_same(antimatter15.read(path).gaussians, decode_splat(path.read_bytes()))


def test_a_dot_splat_begins_with_what_is_seen_most(tmp_path: Path) -> None:
    g = tame(40, 0)
    antimatter15.write(tmp_path / "a.splat", StaticSplat(g))
    weight = [math.exp(sum(p["log_scale"])) * p["alpha"] for p in decode_splat((tmp_path / "a.splat").read_bytes())]
    # Rounding of opacities to 1/255 may swap neighbours, the least opaque here has 1/150.
    assert all(a >= 0.5 * b for a, b in itertools.pairwise(weight))
    assert weight[0] > weight[-1]


@pytest.mark.parametrize("degree", range(4))
def test_compressed_ply_is_read_as_plainly_decoded(tmp_path: Path, degree: int) -> None:
    path, g = tmp_path / "a.ply", tame(5, degree)
    compressed_ply.write(path, StaticSplat(g))
    assert_same(compressed_ply.read(path).gaussians, decode_compressed_ply(path.read_bytes()))


def test_compressed_ply_of_several_chunks(tmp_path: Path) -> None:
    path, g = tmp_path / "a.ply", tame(600, 1)
    compressed_ply.write(path, StaticSplat(g))
    assert b"element chunk 3\n" in path.read_bytes()
    assert_same(compressed_ply.read(path).gaussians, decode_compressed_ply(path.read_bytes()))


def test_compressed_ply_of_older_tools_has_no_colour_bounds(tmp_path: Path) -> None:
    path = tmp_path / "a.ply"
    compressed_ply.write(path, StaticSplat(tame(5, 0)))
    header, body = path.read_bytes().split(b"end_header\n", 1)
    for channel in ("min_r", "min_g", "min_b", "max_r", "max_g", "max_b"):
        header = header.replace(f"property float {channel}\n".encode(), b"")
    path.write_bytes(header + b"end_header\n" + body[:48] + body[72:])  # 12 of 18 bounds
    assert_same(compressed_ply.read(path).gaussians, decode_compressed_ply(path.read_bytes()))
