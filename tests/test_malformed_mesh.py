"""Damaged and hostile mesh files end in one sentence, or in a mesh; never in another exception or without memory."""

from __future__ import annotations

import contextlib
import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fewview.scene.errors import BadInputError
from fewview.scene.mesh_formats import load_mesh, save_mesh
from fewview.scene.triangle_mesh import Mesh
from support.meshes import cube, painted_cube

NAMES = ("a.glb", "a.gltf", "a.ply", "a.obj")


@pytest.mark.parametrize("name", NAMES)
def test_truncations_are_named_or_harmless(tmp_path: Path, name: str) -> None:
    save_mesh(tmp_path / name, cube())
    data = (tmp_path / name).read_bytes()
    (tmp_path / f"{name}.json").unlink()
    for size in {*range(0, len(data), max(1, len(data) // 150)), len(data) - 1}:
        (tmp_path / name).write_bytes(data[:size])
        with contextlib.suppress(BadInputError):
            assert len(load_mesh(tmp_path / name)) <= 12


@pytest.mark.parametrize("name", NAMES)
def test_bit_flips_are_named_or_harmless(tmp_path: Path, name: str) -> None:
    save_mesh(tmp_path / name, painted_cube(2))
    data = (tmp_path / name).read_bytes()
    (tmp_path / f"{name}.json").unlink()
    rng = np.random.default_rng(3)
    read = 0
    for _ in range(250):
        damaged = bytearray(data)
        damaged[rng.integers(len(data))] ^= 1 << rng.integers(8)
        (tmp_path / name).write_bytes(damaged)
        with contextlib.suppress(BadInputError):
            read += len(load_mesh(tmp_path / name)) <= 13
    assert 5 < read < 250, "both happen"


HEAD = "ply\nformat {} 1.0\nelement vertex {}\nproperty float x\nproperty float y\nproperty float z\n"
FACE = "element face {}\nproperty list uchar int vertex_indices\nend_header\n"
XYZ = struct.pack("<9f", 0, 0, 0, 1, 0, 0, 0, 1, 0)
TRIANGLE = struct.pack("<B3i", 3, 0, 1, 2)


def ply(vertices: int = 3, faces: int = 1, body: bytes = XYZ + TRIANGLE, kind: str = "binary_little_endian") -> bytes:
    return (HEAD.format(kind, vertices) + FACE.format(faces)).encode() + body


PLY: dict[str, bytes] = {
    "has no faces": ply(faces=0, body=XYZ),
    "promises 1000000000000 'vertex' rows": ply(vertices=10**12),
    "promises 1000000000000 'face' rows": ply(faces=10**12),
    "row 1: a list of": ply(faces=2, body=XYZ + TRIANGLE + b"\x05"),
    "row 0: a list of 200 numbers is promised, but 12": ply(body=XYZ + b"\xc8" + TRIANGLE[1:]),
    "names vertex 7, but there are 3": ply(body=XYZ + struct.pack("<B3i", 3, 0, 1, 7)),
    "names vertex -1, but there are 3": ply(body=XYZ + struct.pack("<B3i", 3, 0, 1, -1)),
    "a face has 2 corners": ply(body=XYZ + struct.pack("<B2i", 2, 0, 1)),
    "has no face with three corners|no face has three corners": ply(
        body=struct.pack("<9f", *[float("nan")] * 9) + TRIANGLE
    ),
    "row 0: a list of numbers is expected, found b'3 0 1'": ply(body=b"0 0 0\n1 0 0\n0 1 0\n3 0 1\n", kind="ascii"),
    "row 1: a list of numbers": ply(faces=10**12, body=b"0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n", kind="ascii"),
    "no faces: an element 'face'": HEAD.format("ascii", 0).encode() + b"end_header\n",
}


@pytest.mark.parametrize("sentence", PLY)
def test_nonsense_in_ply_is_named(tmp_path: Path, sentence: str) -> None:
    (tmp_path / "a.ply").write_bytes(PLY[sentence])
    with pytest.raises(BadInputError, match=sentence):
        load_mesh(tmp_path / "a.ply")


V = "v 0 0 0\nv 1 0 0\nv 0 1 0\n"
OBJ = {
    "has no faces": V,
    "names v 4, but there are 3": V + "f 1 2 4\n",
    "names vt 1, but there are 0": V + "f 1/1 2/1 3/1\n",
    "names -4, counted back from 3": V + "f 1 2 -4\n",
    "'0' of a face": V + "f 0 1 2\n",
    "'x' of a face": V + "f 1 2 x\n",
    "'1/2/3/4' of a face": V + "f 1/2/3/4 2 3\n",
    "has 2 corners": V + "f 1 2\n",
    "'v 0 zero 0' should have 3": "v 0 zero 0\n" + V,
    "'v 1' should have 3": "v 1\n" + V,
    "names v 1000000000000": V + "f 1 2 1000000000000\n",
    "no face has three corners": "v nan 0 0\nv inf 0 0\nv 0 1 0\nf 1 2 3\n",
    "10000 are expected": V + "f " + "1 " * 10_001 + "\n",
}


@pytest.mark.parametrize("sentence", OBJ)
def test_nonsense_in_obj_is_named(tmp_path: Path, sentence: str) -> None:
    (tmp_path / "a.obj").write_text(OBJ[sentence])
    with pytest.raises(BadInputError, match=sentence):
        load_mesh(tmp_path / "a.obj")


Root = dict[str, Any]


def primitive(**values: Any) -> Callable[[Root], object]:
    return lambda root: root["meshes"][0]["primitives"][0].update(values)


def indices(**values: Any) -> Callable[[Root], object]:
    return lambda root: root["accessors"][root["meshes"][0]["primitives"][0]["indices"]].update(values)


def sampler(**values: Any) -> Callable[[Root], object]:
    return lambda root: root["animations"][0]["samplers"][0].update(values)


GLTF: dict[str, Callable[[Root], object]] = {
    "has no faces": primitive(mode=0),
    "promises 1000000000000 elements": indices(count=10**12),
    "which is no multiple of 3": indices(count=35),
    "is SCALAR of component type 5126": indices(componentType=5126),
    "names accessors.99.": primitive(indices=99),
    "has no POSITION": primitive(attributes={}),
    "names materials.7.": primitive(material=7),
    "compressed with KHR_draco_mesh_compression": primitive(extensions={"KHR_draco_mesh_compression": {}}),
    "only files in the folder": lambda root: root["buffers"][0].update(uri="../secret.bin"),
    "'gone.bin', which could not be read": lambda root: root["buffers"][0].update(uri="gone.bin"),
    "names samplers.5.": lambda root: root["animations"][0]["channels"][0].update(sampler=5),
    "weights for 3 times": sampler(output=0),
    "1 morph targets, but its animation has weights for 2": lambda root: root["meshes"][0]["primitives"][0].update(
        targets=root["meshes"][0]["primitives"][0]["targets"][:1]
    ),
    "should be finite and increase": lambda root: root["animations"][0]["samplers"][0].update(
        input=root["animations"][0]["samplers"][0]["output"]
    ),
    "more than 16 times": lambda root: root.update(
        nodes=[{"mesh": 0}] * 60_000, scenes=[{"nodes": list(range(60_000))}]
    ),
}


@pytest.mark.parametrize("sentence", GLTF)
def test_nonsense_in_gltf_is_named(tmp_path: Path, sentence: str) -> None:
    first = cube()
    positions = torch.stack([first.vertices, first.vertices * 2, first.vertices])
    save_mesh(tmp_path / "a.gltf", replace(first, positions=positions, times_s=torch.tensor([0.0, 1, 2])))
    root = json.loads((tmp_path / "a.gltf").read_text())
    GLTF[sentence](root)
    (tmp_path / "a.gltf").write_text(json.dumps(root))
    with pytest.raises(
        BadInputError, match=sentence if sentence != "weights for 3 times" else "VEC3|weights for 3 times"
    ):
        load_mesh(tmp_path / "a.gltf")


def test_a_face_that_leads_nowhere_in_gltf_is_named(tmp_path: Path) -> None:
    first = cube()
    save_mesh(tmp_path / "a.gltf", first)
    root = json.loads((tmp_path / "a.gltf").read_text())
    accessor = root["accessors"][root["meshes"][0]["primitives"][0]["attributes"]["POSITION"]]
    accessor["count"] = 4
    for name in ("COLOR_0", "NORMAL"):
        root["meshes"][0]["primitives"][0]["attributes"].pop(name, None)
    (tmp_path / "a.gltf").write_text(json.dumps(root))
    with pytest.raises(BadInputError, match="names vertex 7, but there are 4"):
        load_mesh(tmp_path / "a.gltf")


def test_pictures_that_cannot_be_used_leave_the_shape(tmp_path: Path) -> None:
    save_mesh(tmp_path / "a.gltf", painted_cube())
    root = json.loads((tmp_path / "a.gltf").read_text())
    for image, words in (
        ({"uri": "../secret.png"}, "only files in the folder"),
        ({"uri": "gone.png"}, "could not be read"),
        ({"uri": "data:image/png;base64,AAAA"}, "not a photograph"),
        ({"bufferView": 0}, "not a photograph"),
    ):
        root["images"] = [image]
        (tmp_path / "a.gltf").write_text(json.dumps(root))
        mesh = load_mesh(tmp_path / "a.gltf")
        assert mesh.texture is None
        assert len(mesh) == 12
        assert any("a texture was left out" in note and words in note for note in mesh.notes), mesh.notes


def test_a_surface_that_branches_is_read_and_said(tmp_path: Path) -> None:
    fan = Mesh(torch.rand(5, 3), torch.tensor([[0, 1, 2], [0, 1, 3], [1, 0, 4]]))
    for name in NAMES:
        save_mesh(tmp_path / name, fan)
        mesh = load_mesh(tmp_path / name)
        assert len(mesh) == 3
        assert any("1 of its edges have three faces or more" in note for note in mesh.notes)


def test_faces_that_are_nowhere_are_left_out_and_said(tmp_path: Path) -> None:
    body = (
        struct.pack("<12f", 0, 0, 0, 1, 0, 0, 0, 1, 0, float("nan"), 0, 0) + TRIANGLE + struct.pack("<B3i", 3, 0, 1, 3)
    )
    (tmp_path / "a.ply").write_bytes(ply(4, 2, body))
    mesh = load_mesh(tmp_path / "a.ply")
    assert mesh.faces.tolist() == [[0, 1, 2]]
    assert any("1 faces have corners that are no numbers" in note for note in mesh.notes)


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    none = Mesh(torch.rand(3, 3), torch.zeros(0, 3, dtype=torch.int64))
    nowhere = replace(cube(), vertices=torch.full((8, 3), torch.nan))
    for mesh, words in ((none, "no faces"), (nowhere, "no finite numbers")):
        with pytest.raises(BadInputError, match=words):
            save_mesh(tmp_path / "a.glb", mesh)
    with pytest.raises(BadInputError, match="does not end like a mesh file"):
        save_mesh(tmp_path / "a.stl", cube())
    assert not list(tmp_path.iterdir())


def test_missing_files_and_other_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="could not be read"):
        load_mesh(tmp_path / "gone.obj")
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(BadInputError, match="no mesh file"):
        load_mesh(tmp_path / "a.txt")
