"""`fewview reconstruct --method dreammesh4d`: a film of a cut-out object, to a mesh that moves."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fewview.recon.evidence.evidence_kinds import STATIC_MESH
from fewview.recon.evidence.mesh_file import load_static_mesh, save_static_mesh
from fewview.recon.methods.dreammesh4d.face_gaussians import face_places
from fewview.recon.optimise.dataset import Dataset
from fewview.scene.errors import BadInputError
from fewview.scene.geometry import se3_inverse
from fewview.scene.mesh_bound import MeshBoundMotion
from fewview.scene.mesh_formats import load_mesh, save_mesh
from fewview.scene.mesh_topology import edges
from fewview.scene.run import Run
from fewview.scene.run_splat import load_run_splat
from fewview.scene.splat import MovingSplat
from fewview.scene.triangle_mesh import Mesh
from fewview.viewer.subjects.loader import load_subject
from PIL import Image
from support.bending_bar import bending_bar, films
from support.command import assert_one_sentence, fewview
from support.random_gaussians import random_gaussians

SMALL = [
    "--method", "dreammesh4d", "--steps", 6, "--quiet", "--set", "static_steps=0.34", "nodes=12", "channels=4",
    "plane_resolution=6", "time_resolution=5", "net_width=16",
]  # fmt: skip


def write_film(folder: Path, dataset: Dataset, *, alpha: bool = True, empty: tuple[int, ...] = ()) -> Path:
    """A data set in the layout of D-NeRF: PNG files, and their cameras and times."""
    folder.mkdir(parents=True)
    frames = []
    for i, view in enumerate(dataset.views):
        pixels = view.pixels.numpy().copy()
        if i in empty:
            pixels[..., 3] = 0
        Image.fromarray(pixels if alpha else pixels[..., :3].copy()).save(folder / f"{i:03d}.png")
        world_from_cam = se3_inverse(dataset.cameras.cam_from_world[i].double())
        world_from_cam[:3, 1:3] *= -1  # OpenCV to OpenGL axes
        frames.append(
            {"file_path": f"{i:03d}.png", "transform_matrix": world_from_cam.tolist(), "time": dataset.time_s(i)}
        )
    K, view = dataset.cameras.K[0], dataset.views[0]
    lens = {"fl_x": float(K[0, 0]), "fl_y": float(K[1, 1]), "cx": float(K[0, 2]), "cy": float(K[1, 2])}
    table = {**lens, "w": view.width, "h": view.height, "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(table))
    return folder


@pytest.fixture(scope="module")
def film() -> tuple[Mesh, Dataset]:
    mesh = bending_bar(4, rings=9, around=6)
    return mesh, films().film_of(mesh, films().cameras_around([0.0], 40, 4.0), [0.0, 0.5, 1.0])


def test_pipeline_a_film_and_a_mesh_become_a_moving_mesh_that_all_else_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], film: tuple[Mesh, Dataset]
) -> None:
    mesh, dataset = film
    folder = write_film(tmp_path / "film", dataset)
    save_mesh(tmp_path / "bar.glb", mesh.at())
    done = fewview(
        capsys, "reconstruct", folder, *SMALL, "--mesh", tmp_path / "bar.glb", "-o", tmp_path / "run", "--json"
    )
    assert done.code == 0, done.err
    run = Run.open(tmp_path / "run")
    splat = load_run_splat(run)
    assert isinstance(splat, MovingSplat)
    assert isinstance(splat.motion, MeshBoundMotion)
    assert len(splat) == 6 * len(mesh)
    torch.testing.assert_close(splat.motion.vertices.amin(0), mesh.vertices.amin(0), rtol=0, atol=0.05)
    moving = load_mesh(run.mesh_path)
    assert moving.time_range_s == splat.time_range_s == (0.0, 1.0)
    for time_s in (0.0, 0.4, 1.0):
        found = splat.motion.mesh(splat.gaussians).at(time_s)
        torch.testing.assert_close(moving.at(time_s).vertices, found.vertices, rtol=0, atol=1e-4)
        assert torch.equal(moving.faces, found.faces)
    assert load_subject(run).splat is not None
    written = fewview(capsys, "convert", run.path, tmp_path / "last.ply", "--time", 1.0)
    assert written.code == 0, written.err
    kept = load_static_mesh(run.evidence_path(STATIC_MESH))
    torch.testing.assert_close(kept.vertices, mesh.at().vertices, rtol=0, atol=1e-5)
    (tmp_path / "bar.glb").unlink()
    again = fewview(capsys, "reconstruct", folder, "-o", run.path, "--resume")
    assert again.code == 0, again.err


def test_pipeline_without_a_mesh_one_is_made_from_the_outlines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], film: tuple[Mesh, Dataset]
) -> None:
    mesh, dataset = film
    folder = write_film(tmp_path / "film", dataset)
    done = fewview(capsys, "reconstruct", folder, *SMALL, "-o", tmp_path / "run")
    assert done.code == 0, done.err
    inflated = load_static_mesh(Run.open(tmp_path / "run").evidence_path(STATIC_MESH))
    assert not bool(edges(inflated.faces).boundary.any())
    seen = films().picture(inflated, dataset.cameras[0], None)[1] > 0.5
    truth = films().picture(mesh, dataset.cameras[0], 0.0)[1] > 0.5
    # The outline is eight pixels high, and half covered at its border.
    assert float((seen & truth).sum() / (seen | truth).sum()) > 0.7
    depth = (
        dataset.cameras.cam_from_world[0] @ torch.cat([inflated.vertices, torch.ones(len(inflated.vertices), 1)], 1).T
    )[2]
    wide = inflated.vertices.amax(0) - inflated.vertices.amin(0)
    assert 0.15 < float(depth.max() - depth.min()) / float(wide.max()) < 0.35  # a bar as thick as it is high: 0.22


def test_pipeline_several_cameras_give_their_hull(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], film: tuple[Mesh, Dataset]
) -> None:
    mesh, _ = film
    around = films().cameras_around([0.0, 90.0, 180.0], 40, 4.0, 10.0)
    folder = write_film(tmp_path / "film", films().film_of(mesh, around, [0.0, 1.0]))
    done = fewview(capsys, "reconstruct", folder, *SMALL, "-o", tmp_path / "run")
    assert done.code == 0, done.err
    hull = load_static_mesh(Run.open(tmp_path / "run").evidence_path(STATIC_MESH))
    size = hull.vertices.amax(0) - hull.vertices.amin(0)
    torch.testing.assert_close(size, torch.tensor([2.0, 0.44, 0.44]), rtol=0, atol=0.25)  # with its corners


def played(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(times [T], vertices [T, V, 3], faces [F, 3]) of a GLB file with one morph animation, read by its definition."""
    data = path.read_bytes()
    length = int.from_bytes(data[12:16], "little")
    table, body = json.loads(data[20 : 20 + length]), data[28 + length :]

    def array(index: int) -> np.ndarray:
        accessor = table["accessors"][index]
        view = table["bufferViews"][accessor["bufferView"]]
        kind = {5126: np.float32, 5123: np.uint16, 5125: np.uint32}[accessor["componentType"]]
        width = {"SCALAR": 1, "VEC3": 3}[accessor["type"]]
        found = np.frombuffer(body, kind, accessor["count"] * width, view.get("byteOffset", 0))
        return found.reshape(-1, width) if width > 1 else found

    (primitive,) = table["meshes"][0]["primitives"]
    (animation,) = table["animations"]
    (channel,) = animation["channels"]
    assert channel["target"] == {"node": 0, "path": "weights"}
    sampler = animation["samplers"][channel["sampler"]]
    times, targets = array(sampler["input"]), [array(t["POSITION"]) for t in primitive["targets"]]
    weights = array(sampler["output"]).reshape(len(times), len(targets))
    shifts = np.einsum("tk,kvc->tvc", weights, np.stack(targets))
    return times, array(primitive["attributes"]["POSITION"]) + shifts, array(primitive["indices"]).reshape(-1, 3)


def test_roundtrip_the_glb_of_a_run_plays_its_skinned_vertices(tmp_path: Path) -> None:
    """As another program reads it: the same faces at all moments, and vertices that agree to 1e-4."""
    mesh = bending_bar(5, rings=9, around=6)
    assert mesh.positions is not None
    assert mesh.times_s is not None
    face, barycentric = face_places(len(mesh), 6)
    motion = MeshBoundMotion(
        mesh.times_s.double(), mesh.positions, torch.zeros_like(mesh.positions), mesh.vertices, mesh.faces.int(),
        face.int(), barycentric,
    )  # fmt: skip
    gaussians = random_gaussians(0, len(face), 0)
    save_mesh(tmp_path / "mesh.glb", replace(motion.mesh(gaussians), up=(0.0, 1.0, 0.0)))  # as files have it
    times, vertices, faces = played(tmp_path / "mesh.glb")
    np.testing.assert_allclose(times, mesh.times_s, atol=1e-6)
    np.testing.assert_allclose(vertices, mesh.positions, atol=1e-4)
    assert faces.tolist() == mesh.faces.tolist()
    corners = torch.from_numpy(vertices[2])[mesh.faces[face]]
    on_faces = (barycentric[..., None] * corners).sum(1)
    torch.testing.assert_close(motion.at(gaussians, 0.5).means, on_faces, rtol=0, atol=1e-4)


def refused(capsys: pytest.CaptureFixture[str], folder: Path, run: Path, *more: Any) -> Any:
    outcome = fewview(capsys, "reconstruct", folder, *SMALL, *more, "-o", run)
    assert not (run / "splat.ply").exists()
    return outcome


def test_malformed_films_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], film: tuple[Mesh, Dataset]
) -> None:
    _, dataset = film
    opaque = write_film(tmp_path / "opaque", dataset, alpha=False)
    checks = np.indices((40, 40)).sum(0)[..., None] // 4 % 2 * np.array([200, 90, 40], np.uint8)
    for path in opaque.glob("*.png"):
        pixels = np.array(Image.open(path))
        Image.fromarray(np.where(pixels.any(-1, keepdims=True), pixels, checks).astype(np.uint8)).save(path)
    assert_one_sentence(refused(capsys, opaque, tmp_path / "a"), 2, "neither transparent nor masked", "not plain")
    empty = write_film(tmp_path / "empty", dataset, empty=(1,))
    assert_one_sentence(refused(capsys, empty, tmp_path / "b"), 2, "001.png", "are empty")
    whole = write_film(tmp_path / "whole", dataset)
    outcome = fewview(
        capsys, "reconstruct", whole, "--quiet", "--method", "sc_gs", "--mesh", "x.glb", "-o", tmp_path / "c"
    )
    assert_one_sentence(outcome, 2, "--mesh gives static mesh, which the method")


def test_malformed_meshes_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], film: tuple[Mesh, Dataset]
) -> None:
    mesh, dataset = film
    folder = write_film(tmp_path / "film", dataset)

    def with_mesh(name: str, text: str | bytes) -> Any:
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return refused(capsys, folder, tmp_path / path.stem, "--mesh", path)

    assert_one_sentence(refused(capsys, folder, tmp_path / "0", "--mesh", tmp_path / "none.glb"), 2, "none.glb")
    assert_one_sentence(with_mesh("points.obj", "v 0 0 0\nv 1 0 0\n"), 2, "points.obj", "no faces")
    assert_one_sentence(with_mesh("nan.obj", "v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"), 2, "nan.obj")
    outside = {"asset": {"version": "2.0"}, "buffers": [{"byteLength": 36, "uri": "../secret.bin"}]}
    outside |= {"bufferViews": [{"buffer": 0, "byteLength": 36}], "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}]}
    outside |= {"meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}]}
    accessor = {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}
    assert_one_sentence(with_mesh("outside.gltf", json.dumps(outside | {"accessors": [accessor]})), 2, "outside.gltf")
    huge = json.dumps(outside | {"accessors": [accessor | {"count": 10**12}]})
    assert_one_sentence(with_mesh("huge.gltf", huge), 2, "huge.gltf")
    away = mesh.at()
    save_mesh(tmp_path / "away.glb", Mesh(away.vertices + 20, away.faces))
    assert_one_sentence(refused(capsys, folder, tmp_path / "1", "--mesh", tmp_path / "away.glb"), 2, "outline")


def test_pipeline_a_mesh_that_branches_and_has_many_faces_is_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], film: tuple[Mesh, Dataset]
) -> None:
    _, dataset = film
    folder = write_film(tmp_path / "film", dataset)
    fine = bending_bar(2, rings=65, around=32).at()
    fin = torch.tensor([[0, 1, len(fine.vertices)]])  # a third face at an edge
    branching = Mesh(torch.cat([fine.vertices, torch.tensor([[-0.9, 0.4, 0.1]])]), torch.cat([fine.faces, fin]))
    save_mesh(tmp_path / "bar.ply", branching)
    done = fewview(
        capsys, "reconstruct", folder, *SMALL, "max_faces=600", "--mesh", tmp_path / "bar.ply", "-o", tmp_path / "run"
    )
    assert done.code == 0, done.err
    assert 300 < len(load_run_splat(Run.open(tmp_path / "run"))) / 6 <= 600


def test_malformed_static_meshes_of_a_run_are_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "static_mesh.safetensors"
    save_static_mesh(path, bending_bar(2).at())
    whole = path.read_bytes()
    generator = np.random.default_rng(0)
    for cut in (0, 7, 100, len(whole) - 5):
        path.write_bytes(whole[:cut])
        with pytest.raises(BadInputError, match="makes the mesh again"):
            load_static_mesh(path)
    for _ in range(40):
        damaged = bytearray(whole)
        damaged[int(generator.integers(8, 700))] ^= int(generator.integers(1, 256))
        path.write_bytes(damaged)
        with contextlib.suppress(BadInputError):  # nothing else
            load_static_mesh(path)
