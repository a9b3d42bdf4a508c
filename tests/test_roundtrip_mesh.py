"""Mesh files: what is written comes back, and trimesh, which shares no code with us, reads the same."""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fewview.render.mesh_rendering import surface_colors
from fewview.scene.formats import side_path
from fewview.scene.mesh_formats import is_mesh_file, load_mesh, save_mesh
from fewview.scene.mesh_topology import vertex_normals
from fewview.scene.png import encode_png
from fewview.scene.points_input import holds_points
from fewview.scene.splat import Axis
from fewview.scene.triangle_mesh import Mesh
from support.gltf_builder import Builder
from support.meshes import ball, cube, painted_cube

Y_UP: Axis = (0.0, 1.0, 0.0)


def with_normals(mesh: Mesh) -> Mesh:
    return replace(mesh, normals=vertex_normals(mesh.vertices, mesh.faces))


def bent(mesh: Mesh, times: tuple[float, ...] = (0.0, 0.5, 2.0)) -> Mesh:
    """The mesh as it sways: each moment a little more."""
    shift = torch.stack([mesh.vertices[:, 2] ** 2, torch.zeros(len(mesh.vertices)), mesh.vertices[:, 0]], dim=1)
    positions = torch.stack([mesh.vertices + i * shift for i in range(len(times))])
    return replace(mesh, positions=positions, times_s=torch.tensor(times))


@pytest.mark.parametrize("up", [Y_UP, (0.0, -1.0, 0.0), (0.0, 0.0, 1.0), None])
@pytest.mark.parametrize("name", ["a.glb", "a.gltf", "a.ply", "a.obj"])
def test_a_mesh_comes_back(tmp_path: Path, name: str, up: Axis | None) -> None:
    mesh = replace(with_normals(ball(radius=3.0, times=2)), up=up)
    save_mesh(tmp_path / name, mesh)
    first = (tmp_path / name).read_bytes()
    save_mesh(tmp_path / name, mesh)
    assert (tmp_path / name).read_bytes() == first
    again = load_mesh(tmp_path / name)
    assert is_mesh_file(tmp_path / name)
    assert again.up == up
    assert not again.metric
    # A turn of the axes and back costs a rounding or two of numbers up to 3.
    assert torch.allclose(again.vertices, mesh.vertices, atol=1e-6)
    assert torch.equal(again.faces, mesh.faces)
    assert torch.equal(again.colors, mesh.colors)
    assert torch.allclose(again.normals, mesh.normals, atol=1e-6)
    assert side_path(tmp_path / name).exists() == (up != Y_UP)


@pytest.mark.parametrize("name", ["a.glb", "a.gltf", "a.obj"])
def test_a_texture_comes_back(tmp_path: Path, name: str) -> None:
    mesh = replace(painted_cube(), up=Y_UP, metric=True)
    assert save_mesh(tmp_path / name, mesh) == ()
    again = load_mesh(tmp_path / name)
    assert torch.equal(again.texture, mesh.texture)
    assert torch.allclose(again.uv, mesh.uv, atol=1e-6)
    assert torch.equal(again.vertices[again.faces], mesh.vertices[mesh.faces])
    assert again.metric
    assert again.notes == ()


def test_what_a_format_does_not_hold_is_said(tmp_path: Path) -> None:
    assert any("no texture" in note for note in save_mesh(tmp_path / "a.ply", painted_cube()))
    moving = bent(cube())
    for name in ("a.ply", "a.obj"):
        assert any("moves from 0 s to 2 s" in note for note in save_mesh(tmp_path / name, moving))
        assert torch.equal(load_mesh(tmp_path / name).vertices, moving.vertices)
    assert any("metre" in note for note in save_mesh(tmp_path / "a.glb", cube()))


@pytest.mark.parametrize("up", [Y_UP, (0.0, -1.0, 0.0)])
def test_motion_comes_back(tmp_path: Path, up: Axis) -> None:
    moving = replace(bent(cube()), up=up)
    save_mesh(tmp_path / "a.glb", moving)
    again = load_mesh(tmp_path / "a.glb")
    assert torch.equal(again.times_s, moving.times_s)
    for time in (0.0, 0.2, 0.5, 1.1, 2.0):
        assert torch.allclose(again.at(time).vertices, moving.at(time).vertices, atol=1e-6)


def test_motion_is_as_gltf_says(tmp_path: Path) -> None:
    """An independent reading of the file: vertices are POSITION plus the weights times the targets."""
    moving = replace(bent(cube()), up=Y_UP)
    save_mesh(tmp_path / "a.glb", moving)
    data = (tmp_path / "a.glb").read_bytes()
    length = struct.unpack_from("<I", data, 12)[0]
    root, body = json.loads(data[20 : 20 + length]), data[28 + length :]

    def array(index: int) -> np.ndarray:
        accessor = root["accessors"][index]
        view = root["bufferViews"][accessor["bufferView"]]
        width = {"SCALAR": 1, "VEC3": 3}[accessor["type"]]
        assert accessor["componentType"] == 5126
        found = np.frombuffer(body, "<f4", accessor["count"] * width, view["byteOffset"]).reshape(-1, width)
        if "min" in accessor:
            assert np.allclose(found.min(0), accessor["min"])
            assert np.allclose(found.max(0), accessor["max"])
        return found

    (primitive,) = root["meshes"][0]["primitives"]
    (animation,) = root["animations"]
    (channel,) = animation["channels"]
    assert channel["target"] == {"node": 0, "path": "weights"}
    sampler = animation["samplers"][channel["sampler"]]
    times = array(sampler["input"])[:, 0]
    weights = array(sampler["output"]).reshape(len(times), -1)
    targets = np.stack([array(target["POSITION"]) for target in primitive["targets"]])
    assert weights.shape[1] == len(targets) == len(root["meshes"][0]["weights"])
    base = array(primitive["attributes"]["POSITION"])
    for time in (0.0, 0.3, 1.0, 2.0):
        at = np.array([np.interp(time, times, column) for column in weights.T])
        assert np.allclose(base + np.tensordot(at, targets, 1), moving.at(time).vertices.numpy(), atol=1e-6)


@pytest.mark.parametrize("name", ["a.glb", "a.ply", "a.obj"])
def test_trimesh_reads_the_same(tmp_path: Path, name: str) -> None:
    trimesh = pytest.importorskip("trimesh")
    mesh = replace(ball(times=2), up=Y_UP)
    save_mesh(tmp_path / name, mesh)
    theirs = trimesh.load(tmp_path / name, process=False, force="mesh")
    assert np.allclose(theirs.vertices, mesh.vertices.numpy(), atol=1e-6)
    assert np.array_equal(theirs.faces, mesh.faces.numpy())
    assert theirs.is_watertight
    assert theirs.volume > 0, "faces turn outward"
    if name != "a.glb":  # trimesh leaves the colours of glTF linear
        assert np.abs(theirs.visual.vertex_colors[:, :3].astype(int) - mesh.colors.numpy()).max() <= 1
    painted = replace(painted_cube(), up=Y_UP)
    if name != "a.ply":
        save_mesh(tmp_path / name, painted)
        theirs = trimesh.load(tmp_path / name, process=False, force="mesh")
        picture = getattr(theirs.visual.material, "baseColorTexture", None) or theirs.visual.material.image
        assert np.array_equal(np.asarray(picture.convert("RGB")), painted.texture.numpy())
        # trimesh counts v upwards, as OBJ does.
        assert np.allclose(theirs.visual.uv * [1, -1] + [0, 1], painted.uv.numpy(), atol=1e-6)


@pytest.mark.parametrize("ending", ["glb", "ply", "obj"])
def test_what_trimesh_writes_is_read(tmp_path: Path, ending: str) -> None:
    trimesh = pytest.importorskip("trimesh")
    theirs = trimesh.creation.icosphere(subdivisions=2)
    theirs.export(tmp_path / f"a.{ending}")
    mesh = load_mesh(tmp_path / f"a.{ending}")
    assert len(mesh) == len(theirs.faces)
    # Exporters of text write eight digits.
    assert np.allclose(mesh.vertices[mesh.faces].numpy(), theirs.vertices[theirs.faces], atol=1e-6)
    assert mesh.up == Y_UP


OBJ = """# quads, a fan, counted back, all kinds of corners
o thing
v 0 0 0
v 1 0 0
v 1 1 0 1.0
v 0 1 0
v 0.5 2 0
vt 0 0
vn 0 0 1
f 1 2 3 4
f -3//1 -2//1 -1//1
f 1/1 2/1 \\
3/1
l 1 2
"""


def test_obj_has_polygons_and_counts_back(tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text(OBJ)
    mesh = load_mesh(tmp_path / "a.obj")
    triangles = mesh.vertices[mesh.faces].tolist()
    a, b, c, d, e = [0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0.5, 2, 0]
    assert triangles == [[a, b, c], [a, c, d], [c, d, e], [a, b, c]]
    assert mesh.normals is None


def test_obj_takes_colours_and_pictures_of_its_materials(tmp_path: Path) -> None:
    text = "mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nusemtl red\nf 1 2 3\nusemtl none\nf 3 2 1\n"
    (tmp_path / "a.obj").write_text(text)
    (tmp_path / "a.mtl").write_text("newmtl red\nKd 1 0 0\n")
    mesh = load_mesh(tmp_path / "a.obj")
    assert sorted(mesh.colors[mesh.faces[:, 0]].tolist()) == [[200, 200, 200], [255, 0, 0]]
    (tmp_path / "a.mtl").unlink()
    assert any("could not be read" in note for note in load_mesh(tmp_path / "a.obj").notes)
    (tmp_path / "a.mtl").write_text("newmtl red\nmap_Kd ../secret.png\n")
    assert any("a texture was left out" in note for note in load_mesh(tmp_path / "a.obj").notes)


def test_ply_has_polygons_of_any_kind(tmp_path: Path) -> None:
    head = "element vertex 4\nproperty float x\nproperty float y\nproperty float z\n"
    head += "element face 2\nproperty uchar flags\nproperty list uchar int vertex_index\nend_header\n"
    rows = "0 0 0\n1 0 0\n1 1 0\n0 1 0\n"
    (tmp_path / "text.ply").write_text(f"ply\nformat ascii 1.0\n{head}{rows}7 4 0 1 2 3\n7 3 0 2 1\n")
    xyz = struct.pack(">12f", *map(float, rows.split()))
    faces = struct.pack(">BB4i", 7, 4, 0, 1, 2, 3) + struct.pack(">BB3i", 7, 3, 0, 2, 1)
    (tmp_path / "big.ply").write_bytes(f"ply\nformat binary_big_endian 1.0\n{head}".encode() + xyz + faces)
    for name in ("text.ply", "big.ply"):
        assert load_mesh(tmp_path / name).faces.tolist() == [[0, 1, 2], [0, 2, 3], [0, 2, 1]]
        assert is_mesh_file(tmp_path / name)


def primitive_of(builder: Builder, mode: int, corners: list[int] | None = None, **other: int) -> None:
    xyz = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0)]
    primitive = {"attributes": {"POSITION": builder.attribute("VEC3", 5126, xyz), **other}, "mode": mode}
    if corners is not None:
        primitive["indices"] = builder.attribute("SCALAR", 5121, [(c,) for c in corners])
    builder.root["meshes"].append({"primitives": [primitive]})


def read_root(folder: Path, builder: Builder) -> Mesh:
    builder.root["extensionsUsed"] = []
    (folder / "a.gltf").write_text(json.dumps(builder.root))
    return load_mesh(folder / "a.gltf")


@pytest.mark.parametrize(
    ("mode", "corners", "expected"),
    [
        (4, [0, 1, 2], [[0, 1, 2]]),
        (5, None, [[0, 1, 2], [1, 3, 2]]),
        (5, [0, 1, 2, 3, 0], [[0, 1, 2], [1, 3, 2], [2, 3, 0]]),
        (6, None, [[0, 1, 2], [0, 2, 3]]),
    ],
)
def test_gltf_strips_and_fans(tmp_path: Path, mode: int, corners: list[int] | None, expected: list[list[int]]) -> None:
    builder = Builder()
    primitive_of(builder, mode, corners)
    mesh = read_root(tmp_path, builder)
    xyz = torch.tensor([(0.0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0)])
    assert torch.equal(mesh.vertices[mesh.faces], xyz[torch.tensor(expected)])


def test_gltf_nodes_stretch_and_mirror_meshes(tmp_path: Path) -> None:
    builder = Builder()
    normal = builder.attribute("VEC3", 5126, [(0, 0, 1)] * 4)
    primitive_of(builder, 4, [0, 1, 2], NORMAL=normal)
    builder.root["nodes"] = [{"mesh": 0, "scale": [-2, 1, 3], "translation": [0, 0, 5]}]
    mesh = read_root(tmp_path, builder)
    assert mesh.vertices[mesh.faces].tolist() == [[[0, 1, 5], [-2, 0, 5], [0, 0, 5]]]
    own = torch.linalg.cross(*(mesh.vertices[mesh.faces][0, 1:] - mesh.vertices[mesh.faces][0, :1]))
    assert own.tolist() == [0, 0, 2]
    assert mesh.normals[0].tolist() == [0, 0, 1]


def test_gltf_materials_give_colours(tmp_path: Path) -> None:
    builder = Builder()
    primitive_of(builder, 4, [0, 1, 2])
    primitive_of(builder, 4, [1, 3, 2])
    builder.root["meshes"][0]["primitives"][0]["material"] = 0
    builder.root["nodes"] = [{"mesh": 0}, {"mesh": 1}]
    builder.root["scenes"] = [{"nodes": [0, 1]}]
    # 0.21586 is the linear light of the level 128 of sRGB (IEC 61966-2-1).
    builder.root["materials"] = [{"pbrMetallicRoughness": {"baseColorFactor": [0.21586, 1, 0, 1]}}]
    mesh = read_root(tmp_path, builder)
    assert mesh.colors[mesh.faces[:, 0]].tolist() == [[128, 255, 0], [200, 200, 200]]


def test_several_textures_become_one_picture(tmp_path: Path) -> None:
    painted = replace(painted_cube(), up=Y_UP)
    save_mesh(tmp_path / "a.gltf", painted)
    root = json.loads((tmp_path / "a.gltf").read_text())
    other = 255 - painted.texture.numpy()
    png = encode_png(other)
    root["images"].append({"uri": "data:image/png;base64," + base64.b64encode(png).decode()})
    root["textures"].append({"source": 1})
    second = json.loads(json.dumps(root["materials"][0]))
    second["pbrMetallicRoughness"]["baseColorTexture"]["index"] = 1
    root["materials"].append(second)
    root["meshes"].append({"primitives": [root["meshes"][0]["primitives"][0] | {"material": 1}]})
    root["nodes"].append({"mesh": 1})
    root["scenes"][0]["nodes"] = [0, 1]
    (tmp_path / "a.gltf").write_text(json.dumps(root))
    mesh = load_mesh(tmp_path / "a.gltf")
    assert any("2 textures" in note for note in mesh.notes)
    face = torch.arange(12)
    weights = torch.tensor([[0.2, 0.3, 0.5]]).expand(12, 3)
    expected = surface_colors(painted, face, weights)
    assert torch.allclose(surface_colors(mesh, face, weights), expected, atol=1e-4)
    assert torch.allclose(surface_colors(mesh, face + 12, weights), 1 - expected, atol=1e-4)


def test_splats_and_points_are_no_meshes(tmp_path: Path) -> None:
    builder = Builder()
    primitive_of(builder, 0)
    builder.root["extensionsUsed"] = []
    (tmp_path / "points.gltf").write_text(json.dumps(builder.root))
    assert not is_mesh_file(tmp_path / "points.gltf")
    assert holds_points(tmp_path / "points.gltf")
    splat = Builder()
    splat.mesh()
    splat.read(tmp_path)
    assert not is_mesh_file(tmp_path / "a.gltf")
