"""Our glTF files, checked by a strict reader of its own, and what other writers may say, in files made by hand."""

from __future__ import annotations

import base64
import itertools
import json
import math
import struct
from pathlib import Path

import pytest
import torch
from fewview.scene.formats import gltf
from fewview.scene.gaussians import Gaussians
from fewview.scene.geometry import Similarity, quat_from_rotation, so3_exp
from fewview.scene.splat import StaticSplat
from support.gltf_builder import CODES, SPLAT, WIDTHS, Builder
from support.random_gaussians import odd_gaussians, random_gaussians

TYPES = {
    "POSITION": ("VEC3", 5126), "COLOR_0": ("VEC4", 5123), f"{SPLAT}:ROTATION": ("VEC4", 5126),
    f"{SPLAT}:SCALE": ("VEC3", 5126), f"{SPLAT}:OPACITY": ("SCALAR", 5126),
}  # fmt: skip


def strict(path: Path, degree: int) -> dict[str, list[tuple[float, ...]]]:
    """The attributes of our file by name, after every rule of glTF 2.0 and of the extension that concerns it."""
    data = path.read_bytes()
    magic, version, length = struct.unpack_from("<4sII", data)
    assert (magic, version, length) == (b"glTF", 2, len(data))
    text_length, kind = struct.unpack_from("<I4s", data, 12)
    assert kind == b"JSON"
    assert text_length % 4 == 0
    root = json.loads(data[20 : 20 + text_length])
    body_length, kind = struct.unpack_from("<I4s", data, 20 + text_length)
    body = data[28 + text_length :]
    assert kind == b"BIN\0"
    assert body_length == len(body)
    assert body_length % 4 == 0
    assert root["asset"]["version"] == "2.0"
    assert root["extensionsUsed"] == [SPLAT]
    assert "extensionsRequired" not in root, "points are a fallback that every viewer can show"
    assert root["buffers"] == [{"byteLength": body_length}]
    (primitive,) = root["meshes"][root["nodes"][root["scenes"][root["scene"]]["nodes"][0]]["mesh"]]["primitives"]
    assert primitive["mode"] == 0
    extension = primitive["extensions"][SPLAT]
    assert extension["kernel"] == "ellipse"
    assert extension["colorSpace"] == "srgb_rec709_display"
    assert extension.get("projection", "perspective") == "perspective"
    assert extension.get("sortingMethod", "cameraDistance") == "cameraDistance"
    types = {**TYPES}
    for band in range(degree + 1):
        types |= {f"{SPLAT}:SH_DEGREE_{band}_COEF_{n}": ("VEC3", 5126) for n in range(2 * band + 1)}
    assert set(primitive["attributes"]) == set(types)
    columns, used = {}, []
    for name, index in primitive["attributes"].items():
        accessor = root["accessors"][index]
        view = root["bufferViews"][accessor["bufferView"]]
        assert (accessor["type"], accessor["componentType"]) == types[name]
        assert accessor.get("normalized", False) == (name == "COLOR_0")
        code = CODES[accessor["componentType"]]
        row = struct.Struct("<" + WIDTHS[accessor["type"]] * code)
        start = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
        assert start % 4 == 0
        assert row.size % 4 == 0
        assert "byteStride" not in view
        assert view["target"] == 34962
        assert view["byteLength"] == row.size * accessor["count"]
        assert start + view["byteLength"] <= body_length
        used.append((start, start + view["byteLength"]))
        columns[name] = list(row.iter_unpack(body[start : start + view["byteLength"]]))
        if name == "POSITION":
            assert accessor["min"] == [min(column) for column in zip(*columns[name], strict=True)]
            assert accessor["max"] == [max(column) for column in zip(*columns[name], strict=True)]
    assert len({len(column) for column in columns.values()}) == 1
    used.sort()
    assert all(a[1] == b[0] for a, b in itertools.pairwise(used)), "no gaps and no overlaps"
    assert (used[0][0], used[-1][1]) == (0, body_length)
    return columns


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_our_files_keep_every_rule(tmp_path: Path, degree: int) -> None:
    g = random_gaussians(degree, 37, degree)
    gltf.write(tmp_path / "a.glb", StaticSplat(g))
    columns = strict(tmp_path / "a.glb", degree)
    rows = {name: torch.tensor(column, dtype=torch.float64) for name, column in columns.items()}
    close = {"rtol": 1e-6, "atol": 1e-7}  # float32
    assert torch.equal(rows["POSITION"].float(), g.means)
    torch.testing.assert_close(rows[f"{SPLAT}:SCALE"], g.log_scales.double().exp(), **close)
    torch.testing.assert_close(rows[f"{SPLAT}:OPACITY"][:, 0], g.opacity_logits.double().sigmoid(), **close)
    x, y, z, w = rows[f"{SPLAT}:ROTATION"].unbind(1)
    unit = g.quats.double() / g.quats.double().norm(dim=1, keepdim=True)
    torch.testing.assert_close(torch.stack([w, x, y, z], 1), unit, **close)
    k = 0
    for band in range(degree + 1):
        for n in range(2 * band + 1):
            assert torch.equal(rows[f"{SPLAT}:SH_DEGREE_{band}_COEF_{n}"].float(), g.sh[:, k])
            k += 1
    srgb = (0.5 + 0.2820947917738781 * g.sh[:, 0].double()).clamp(0, 1)
    linear = torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    fallback = torch.cat([linear, g.opacity_logits.double().sigmoid()[:, None]], 1)
    torch.testing.assert_close(rows["COLOR_0"] / 65535, fallback, rtol=0, atol=0.51 / 65535)


def test_odd_values_keep_the_rules(tmp_path: Path) -> None:
    gltf.write(tmp_path / "a.glb", StaticSplat(odd_gaussians()))
    columns = strict(tmp_path / "a.glb", 3)
    assert all(math.isfinite(value) for column in columns.values() for row in column for value in row)
    assert columns[f"{SPLAT}:OPACITY"][:2] == [(1.0,), (0.0,)]
    assert columns[f"{SPLAT}:SCALE"][2][1] == 0
    assert columns[f"{SPLAT}:ROTATION"][3] == (0, 0, 0, 1)
    assert all(abs(math.hypot(*quat) - 1) < 1e-6 for quat in columns[f"{SPLAT}:ROTATION"])


def test_integer_encodings(tmp_path: Path) -> None:
    """Rotations as bytes and shorts, scales and opacities as unsigned integers, with and without normalisation."""
    b = Builder()
    b.mesh(
        ROTATION=b.attribute("VEC4", 5120, [(0, 0, -127, 0), (-128, 0, 0, 0)], normalized=True),
        SCALE=b.attribute("VEC3", 5121, [(255, 51, 0), (1, 2, 3)], normalized=True, gap=1),
        OPACITY=b.attribute("SCALAR", 5121, [(51,), (255,)], normalized=True),
    )
    b.mesh(
        ROTATION=b.attribute("VEC4", 5122, [(32767, 0, 0, 0), (0, 0, 0, -32768)], normalized=True),
        SCALE=b.attribute("VEC3", 5123, [(1, 2, 3), (4, 5, 6)]),
        OPACITY=b.attribute("SCALAR", 5123, [(13107,), (0,)], normalized=True),
    )
    b.root["scenes"][0]["nodes"] = [0, 1]
    b.root["nodes"].append({"mesh": 1})
    g = b.read(tmp_path).gaussians
    assert g.quats.tolist() == [[0, 0, 0, -1], [0, -1, 0, 0], [0, 1, 0, 0], [-1, 0, 0, 0]]
    expected = torch.tensor([[255.0, 51, 0], [1, 2, 3], [255, 510, 765], [1020, 1275, 1530]]) / 255
    torch.testing.assert_close(g.scales, expected)
    torch.testing.assert_close(g.opacities, torch.tensor([0.2, 1, 0.2, 0]))


def test_drafts_with_logarithms_are_understood(tmp_path: Path) -> None:
    b = Builder()
    b.mesh(SCALE=b.attribute("VEC3", 5126, [(-1, -2, 0), (-3, -4, 1)]))
    splat = b.read(tmp_path)
    assert splat.gaussians.log_scales.tolist() == [[-1, -2, 0], [-3, -4, 1]]
    assert any("draft" in note for note in splat.notes)


def test_nodes_place_their_splats(tmp_path: Path) -> None:
    """A parent with translation, rotation and scale, a child with a matrix: the splat moves as Gaussians.moved does."""
    b = Builder()
    b.mesh(degree=3)
    plain = b.read(tmp_path).gaussians
    turns = [so3_exp(torch.tensor(v, dtype=torch.float64)) for v in ([0.3, -0.5, 0.9], [1.2, 0.1, 0.4])]
    w, x, y, z = quat_from_rotation(turns[0]).tolist()
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3], matrix[:3, 3] = 0.5 * turns[1], torch.tensor([4.0, 5, 6])
    b.root["nodes"] = [
        {"children": [1], "translation": [1, -2, 3], "rotation": [x, y, z, w], "scale": [3, 3, 3]},
        {"mesh": 0, "matrix": matrix.T.flatten().tolist()},
    ]
    outer = Similarity(torch.tensor(3.0).double(), turns[0], torch.tensor([1.0, -2, 3]).double())
    inner = Similarity(torch.tensor(0.5).double(), turns[1], torch.tensor([4.0, 5, 6]).double())
    expected, found = plain.moved(inner).moved(outer), b.read(tmp_path).gaussians
    assert not torch.allclose(plain.means, found.means)
    for name in ("means", "log_scales", "sh", "opacity_logits"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=1e-5, atol=1e-5)
    assert ((found.quats * expected.quats).sum(1).abs() > 1 - 1e-6).all()


def test_several_splats_become_one(tmp_path: Path) -> None:
    """Primitives and nodes are put one behind the other; lower degrees get zeros, other meshes are left out."""
    b = Builder()
    first = b.mesh(degree=1)
    b.root["meshes"][0]["primitives"] = [{"attributes": {"POSITION": 0}}, first]
    b.mesh(degree=2)
    b.root["nodes"] = [{"mesh": 0}, {"mesh": 1, "translation": [10, 0, 0]}, {"children": [0, 1]}, {"mesh": 1}]
    b.root["scenes"][0]["nodes"] = [2]
    g = b.read(tmp_path).gaussians
    assert g.means[:, 0].tolist() == [1, -1, 11, 9]
    assert g.sh_degree == 2
    assert not g.sh[:2, 4:].any()
    assert g.sh[2, :, 1].tolist() == [0, 0, 1, 2, 0, 1, 2, 3, 4]
    del b.root["scene"], b.root["scenes"]
    b.root["nodes"].pop()
    assert len(b.read(tmp_path).gaussians) == 4, "without scenes, all nodes without parents are shown"


def test_other_ways_of_rendering_are_told(tmp_path: Path) -> None:
    b = Builder()
    b.mesh()["extensions"][SPLAT] |= {"kernel": "x", "colorSpace": "display_p3", "projection": "y"}
    notes = b.read(tmp_path).notes
    assert len(notes) == 3
    assert "display_p3" in " ".join(notes)


def test_linear_light_becomes_srgb(tmp_path: Path) -> None:
    b = Builder()
    # 0.21404 in linear light is 0.5 in sRGB (IEC 61966-2-1), and 0 and 1 are the same in both.
    rows = [[(value - 0.5) / 0.28209479177387814 for value in (0.0, 0.21404, 1.0)]] * 2
    primitive = b.mesh(0, SH_DEGREE_0_COEF_0=b.attribute("VEC3", 5126, rows))
    primitive["extensions"][SPLAT]["colorSpace"] = "lin_rec709_display"
    splat = b.read(tmp_path)
    assert splat.gaussians.base_colors[0].tolist() == pytest.approx([0, 0.5, 1], abs=1e-5)
    assert "linear light" in splat.notes[0]


def test_buffers_beside_the_file(tmp_path: Path) -> None:
    b = Builder()
    b.mesh()
    for i, buffer in enumerate(b.root["buffers"]):
        (tmp_path / "bins").mkdir(exist_ok=True)
        (tmp_path / "bins" / f"a {i}.bin").write_bytes(base64.b64decode(buffer["uri"].partition(",")[2]))
        buffer["uri"] = f"bins/a%20{i}.bin"
    assert b.read(tmp_path).gaussians.means.tolist() == [[1, 2, 3], [-1, 0, 2]]


def test_values_come_back(tmp_path: Path) -> None:
    """GLB and .gltf hold float32 of everything: only the activations round."""
    for degree in range(4):
        written = random_gaussians(degree, 50, degree)
        for name in ("a.glb", "a.gltf"):
            assert gltf.write(tmp_path / name, StaticSplat(written)) == ()
            check(gltf.read(tmp_path / name).gaussians, written)


def test_odd_values_come_back(tmp_path: Path) -> None:
    written = odd_gaussians()
    gltf.write(tmp_path / "a.glb", StaticSplat(written))
    check(gltf.read(tmp_path / "a.glb").gaussians, written)


def check(read: Gaussians, written: Gaussians) -> None:
    assert torch.equal(read.means, written.means)
    assert torch.equal(read.sh, written.sh)
    torch.testing.assert_close(read.log_scales, written.log_scales, rtol=1e-6, atol=1e-6)
    # 1 - opacity has the rounding of float32 near 1, which a logit of 9 makes e^9 times as large.
    torch.testing.assert_close(read.opacity_logits, written.opacity_logits, rtol=1e-6, atol=1e-3)
    norm = written.quats.double().norm(dim=1, keepdim=True)
    unit = torch.where(norm > 0, written.quats.double() / norm, torch.tensor([1.0, 0, 0, 0]).double())
    torch.testing.assert_close(read.quats.double(), unit, rtol=0, atol=1e-6)


def test_equal_splats_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a.glb", "b.glb"):
        gltf.write(tmp_path / name, StaticSplat(random_gaussians(1, 20, 2)))
    assert (tmp_path / "a.glb").read_bytes() == (tmp_path / "b.glb").read_bytes()


def test_clamped_and_dropped_values_are_told(tmp_path: Path) -> None:
    g = random_gaussians(2, 5, 4)
    g.log_scales[0, 0], g.log_scales[1, 1], g.opacity_logits[2] = 200, -200, 90
    notes = gltf.write(tmp_path / "a.glb", StaticSplat(g))
    assert any("degree 4" in note for note in notes)
    assert any("Sizes of 2 of 5" in note for note in notes)
    read = gltf.read(tmp_path / "a.glb").gaussians
    assert read.sh_degree == 3
    assert torch.isfinite(read.log_scales).all()
    assert torch.isfinite(read.opacity_logits).all()
