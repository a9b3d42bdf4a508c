"""glTF splats as optimisers of glTF write them: sparse, in whole numbers, packed by meshopt, or with an SPZ inside."""

from __future__ import annotations

import base64
import math
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fewview.scene.errors import BadInputError
from fewview.scene.formats import load_splat, meshopt
from support.gltf_builder import SPLAT, Builder
from support.plain_meshopt import encode
from support.plain_splat_formats import encode_spz_gzip

PLAIN = {
    "position": [0.5, -1.0, 2.0], "log_scale": [-3.0, -2.0, -1.0], "quat": [0.8, 0.6, 0.0, 0.0], "alpha": 0.6,
    "dc": [0.2, -0.4, 1.0], "rest": [],
}  # fmt: skip


def add_view(builder: Builder, data: bytes, **other: Any) -> int:
    """A buffer view with these bytes, in a buffer of its own."""
    uri = "data:application/octet-stream;base64," + base64.b64encode(data).decode()
    builder.root["buffers"].append({"byteLength": len(data), "uri": uri})
    view = {"buffer": len(builder.root["buffers"]) - 1, "byteLength": len(data), **other}
    builder.root["bufferViews"].append(view)
    return len(builder.root["bufferViews"]) - 1


def packed_view(builder: Builder, elements: list[bytes], kind: str = "NONE", fallback: bool = False) -> int:
    """A view of the elements packed by meshopt; the plain ones are in no buffer, or zeros in one."""
    data, size = encode(elements), len(elements) * len(elements[0])
    packed = add_view(builder, data)
    extension = {
        "buffer": builder.root["bufferViews"].pop(packed)["buffer"], "byteLength": len(data), "filter": kind,
        "byteStride": len(elements[0]), "count": len(elements), "mode": "ATTRIBUTES",
    }  # fmt: skip
    builder.root["buffers"].append({"byteLength": size})
    if fallback:
        builder.root["buffers"][-1]["uri"] = (
            "data:application/octet-stream;base64," + base64.b64encode(bytes(size)).decode()
        )
    view = {"buffer": len(builder.root["buffers"]) - 1, "byteLength": size, "byteStride": len(elements[0])}
    builder.root["bufferViews"].append(view | {"extensions": {"EXT_meshopt_compression": extension}})
    used = builder.root["extensionsUsed"]
    builder.root["extensionsUsed"] = [*used, "EXT_meshopt_compression"]
    builder.root["extensionsRequired"] = ["EXT_meshopt_compression"]
    return len(builder.root["bufferViews"]) - 1


def accessor(builder: Builder, count: int, kind: str, component: int, **other: Any) -> int:
    builder.root["accessors"].append({"componentType": component, "count": count, "type": kind, **other})
    return len(builder.root["accessors"]) - 1


def test_the_example_of_the_specification() -> None:
    """Appendix A: ten bytes in 4-bit coding, and the differences that they stand for."""
    group = bytes.fromhex("175ff0bc77a921003 4b5".replace(" ", ""))
    expected = [-1, -4, -3, 26, -91, 0, -6, 6, -4, -4, 5, -5, 1, -1, 0, 0]
    silent = bytes([0])  # the head of a byte of the element whose one group has no differences
    stream = bytes([0xA0, 2]) + group + 3 * silent + bytes(28) + bytes([7, 1, 2, 3])
    found = meshopt.decoded(stream, 16, 4)
    assert found[:, 0].tolist() == [(7 + sum(expected[: i + 1])) % 256 for i in range(16)]
    assert found[:, 1:].tolist() == [[1, 2, 3]] * 16


@pytest.mark.parametrize(("count", "stride"), [(1, 4), (16, 4), (17, 12), (600, 8), (300, 64), (40, 256)])
def test_meshopt_is_undone(count: int, stride: int) -> None:
    """Several blocks, groups of every width: bytes stand still, creep and jump."""
    rng = random.Random(count)
    elements, now = [], [rng.randrange(256) for _ in range(stride)]
    for _ in range(count):
        step = [(0, 0), (1, 1), (5, 7), (255, 300)][rng.randrange(4)]
        now = [(v + rng.randrange(-step[0], step[1] + 1)) % 256 if i % 3 else v for i, v in enumerate(now)]
        elements.append(bytes(now))
    found = meshopt.decoded(encode(elements), count, stride)
    assert found.tobytes() == b"".join(elements)


def test_damaged_streams_are_told() -> None:
    rng = random.Random(5)
    stream = encode([bytes(rng.randrange(256) for _ in range(12)) for _ in range(50)])
    for size in range(len(stream)):
        with pytest.raises(ValueError, match=r"too few|ends in the middle|bytes too many"):
            meshopt.decoded(stream[:size], 50, 12)
    with pytest.raises(ValueError, match="0xa1"):
        meshopt.decoded(b"\xa1" + stream[1:], 50, 12)
    with pytest.raises(ValueError, match="a multiple of 4"):
        meshopt.decoded(stream, 50, 10)
    for _ in range(300):  # anything else is other numbers, of the same count
        damaged = bytearray(stream)
        damaged[rng.randrange(1, len(stream))] ^= 1 << rng.randrange(8)
        try:
            assert meshopt.decoded(bytes(damaged), 50, 12).shape == (50, 12)
        except ValueError as error:
            assert "middle" in str(error) or "too many" in str(error)  # noqa: PT017  # both ends are right


def test_filters() -> None:
    floats = [(-3, 5), (1 << 22, -20), (-(1 << 23), 100), (0, -128)]
    words = [struct.pack("<I", (e & 255) << 24 | m & 0xFFFFFF) for m, e in floats]
    found = meshopt.decoded(encode(words), 4, 4, "EXPONENTIAL").view("<f4")[:, 0]
    assert found.tolist() == [m * 2.0**e for m, e in floats]
    quats = []
    for largest in range(4):  # of x, y, z, w; the others follow it in a circle
        one = 2047
        three = [round(v * one * math.sqrt(2)) for v in (0.5, -0.25, 0.125)]
        quats.append(struct.pack("<4h", *three, one & ~3 | largest))
    found = meshopt.decoded(encode(quats), 4, 8, "QUATERNION").view("<i2") / 32767
    rest = math.sqrt(1 - 0.5**2 - 0.25**2 - 0.125**2)
    for largest in range(4):
        expected = np.roll([rest, 0.5, -0.25, 0.125], largest)
        np.testing.assert_allclose(found[largest], expected, rtol=0, atol=1 / 2047)


@pytest.mark.parametrize("fallback", [False, True])
def test_attributes_packed_by_meshopt(tmp_path: Path, fallback: bool) -> None:
    builder = Builder()
    means = [(1.0, 2.0, 3.0), (-1.0, 0.0, 2.0)]
    view = packed_view(builder, [struct.pack("<3f", *mean) for mean in means], fallback=fallback)
    quats = [struct.pack("<4h", 0, 0, 0, 2047), struct.pack("<4h", 0, 0, 0, 2044)]  # w is left out, then x
    turns = packed_view(builder, quats, "QUATERNION", fallback)
    builder.mesh(
        0,
        POSITION=accessor(builder, 2, "VEC3", 5126, bufferView=view),
        ROTATION=accessor(builder, 2, "VEC4", 5122, bufferView=turns, normalized=True),
    )
    found = builder.read(tmp_path).gaussians
    assert found.means.tolist() == [list(mean) for mean in means]
    assert found.quats.tolist() == [[1, 0, 0, 0], [0, 1, 0, 0]]


def test_sparse_accessors(tmp_path: Path) -> None:
    """Zeros, or a view, with some elements replaced."""
    builder = Builder()
    index = add_view(builder, bytes([1]))
    value = add_view(builder, struct.pack("<3f", 7, 8, 9))
    sparse = {"count": 1, "indices": {"bufferView": index, "componentType": 5121}, "values": {"bufferView": value}}
    builder.mesh(0, POSITION=accessor(builder, 2, "VEC3", 5126, sparse=sparse))
    assert builder.read(tmp_path).gaussians.means.tolist() == [[0, 0, 0], [7, 8, 9]]
    builder = Builder()
    based = builder.attribute("VEC3", 5126, [(1, 2, 3), (4, 5, 6)])
    index, value = add_view(builder, struct.pack("<H", 0)), add_view(builder, struct.pack("<3f", 7, 8, 9))
    builder.root["accessors"][based]["sparse"] = {
        "count": 1, "indices": {"bufferView": index, "componentType": 5123}, "values": {"bufferView": value}
    }  # fmt: skip
    builder.mesh(0, POSITION=based)
    assert builder.read(tmp_path).gaussians.means.tolist() == [[7, 8, 9], [4, 5, 6]]


def test_positions_in_whole_numbers(tmp_path: Path) -> None:
    """KHR_mesh_quantization: a node scales them back. Without the extension they are against the specification."""
    builder = Builder()
    builder.mesh(0, POSITION=builder.attribute("VEC3", 5122, [(100, -200, 300), (0, 1, 2)], gap=2))
    builder.root["nodes"][0] |= {"scale": [0.01] * 3, "translation": [1, 0, 0]}
    with pytest.raises(BadInputError, match="component type 5122"):
        builder.read(tmp_path)
    builder.root["extensionsUsed"].append("KHR_mesh_quantization")
    builder.root["extensionsRequired"] = ["KHR_mesh_quantization"]
    found = builder.read(tmp_path).gaussians
    torch.testing.assert_close(found.means, torch.tensor([[2.0, -2, 3], [1, 0.01, 0.02]]))
    assert found.scales[0].tolist() == pytest.approx([0.01, 0.02, 0.04])


@pytest.mark.parametrize(
    "inner", ["KHR_gaussian_splatting_compression_spz_2", "KHR_gaussian_splatting_compression_spz"]
)
def test_an_spz_inside(tmp_path: Path, inner: str) -> None:
    builder = Builder()
    primitive = builder.mesh(0)
    spz = encode_spz_gzip([PLAIN], 2)
    primitive["extensions"][SPLAT]["extensions"] = {inner: {"bufferView": add_view(builder, spz)}}
    builder.root["extensionsRequired"] = [SPLAT, inner]
    builder.root["nodes"][0]["translation"] = [10, 0, 0]
    found = builder.read(tmp_path).gaussians
    (tmp_path / "a.spz").write_bytes(spz)
    alone = load_splat(tmp_path / "a.spz").gaussians
    torch.testing.assert_close(found.means, alone.means + torch.tensor([10.0, 0, 0]))
    for name in ("log_scales", "opacity_logits", "sh"):
        assert torch.equal(getattr(found, name), getattr(alone, name))


def test_the_oldest_draft_with_an_spz(tmp_path: Path) -> None:
    builder = Builder()
    primitive = builder.mesh(0)
    view = add_view(builder, encode_spz_gzip([PLAIN], 2))
    primitive["extensions"] = {"KHR_spz_gaussian_splats_compression": {"bufferView": view}}
    assert builder.read(tmp_path).gaussians.means.tolist() == [PLAIN["position"]]
