"""`fewview edit --drag`: what it writes, what it tells, and what the other commands make of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from fewview.recon.methods.dreammesh4d.face_gaussians import bound_gaussians, face_places, gaussian_table
from fewview.scene.formats import load_splat, save_splat
from fewview.scene.mesh_bound import MeshBoundMotion
from fewview.scene.mesh_formats import load_mesh
from fewview.scene.readers import load_run_capture
from fewview.scene.run import Run
from fewview.scene.run_splat import load_run_splat, save_run_splat
from fewview.scene.splat import MovingSplat
from support.bending_bar import bending_bar
from support.command import assert_one_sentence, fewview
from support.dragged_scenes import LENGTH, limb
from support.small_splats import FIRST_S, LAST_S, moving_run

MOVED = {"at": [0.0, 0.2, LENGTH], "rings": 3, "move": [0.0, 0.4, 0.0], "rotate": {"axis": [-1, 0, 0], "degrees": 30}}
ANCHOR = {"at": [0.0, 0.2, 0.0], "rings": 3, "anchor": True}
FILM = [{"time_s": 0, "handles": []}, {"time_s": 1, "handles": [MOVED]}, {"time_s": 3, "handles": []}]


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    run = Run.create(tmp_path / "run", {})
    save_run_splat(run, limb(300))
    return run.path


def drag_file(folder: Path, **values) -> Path:
    path = folder / "drag.json"
    path.write_text(json.dumps({"version": 1} | values))
    return path


def test_a_drag_gives_a_still_splat_and_tells_what_became_of_it(capsys, scene, tmp_path) -> None:
    drag = drag_file(tmp_path, time_s=0, handles=[MOVED, ANCHOR])
    done = fewview(capsys, "edit", scene, "--drag", drag, "-o", tmp_path / "new.ply", "--json")
    assert done.code == 0, done.err
    before, after = limb(300).at(0.0), load_splat(tmp_path / "new.ply").gaussians
    top, bottom = before.means[:, 2] > LENGTH - 0.25, before.means[:, 2] < 0.2
    assert float((after.means - before.means)[top, 1].mean()) > 0.3
    torch.testing.assert_close(after.means[bottom], before.means[bottom], rtol=0, atol=0.03)
    told = done.json["drag"]
    assert told["time_s"] == 0
    assert told["reached_within"] == 0
    assert 0 < told["mean_stretch"] < 0.1
    assert told["mean_stretch"] < told["max_stretch"]
    moved = (after.means - before.means).norm(dim=-1)
    assert int((moved > 0.005).sum()) <= told["gaussians_moved"] <= int((moved > 1e-4).sum())
    assert [h["kind"] for h in told["handles"]] == ["handle", "anchor"]
    assert len(told["handles"][0]["nodes"]) > 10
    assert 0 <= told["handles"][0]["distance"] < 0.1
    for words in ("frozen at 0 s", "handles[0]", "reached to 0", "% on average", "Gaussians moved"):
        assert words in done.out
    assert "anchor handles[1]" in done.out


def test_a_film_is_a_run_that_moves(capsys, scene, tmp_path) -> None:
    drag = drag_file(tmp_path, handles=[ANCHOR], keyframes=FILM)
    done = fewview(capsys, "edit", scene, "--drag", drag, "-o", tmp_path / "film.ply")
    assert_one_sentence(done, 2, "is a film", "folder")
    still = tmp_path / "still.ply"
    save_splat(still, limb(300).still())
    done = fewview(capsys, "edit", still, "--drag", drag, "-o", tmp_path / "film", "--quiet")
    assert done.code == 0, done.err
    film = load_run_splat(Run.open(tmp_path / "film"))
    assert isinstance(film, MovingSplat)
    assert film.time_range_s == (0.0, 3.0)
    rest = load_splat(still).gaussians.means
    torch.testing.assert_close(film.at(0.0).means, rest, rtol=0, atol=1e-5)
    assert float((film.at(1.0).means - rest).norm(dim=-1).max()) > 0.3
    done = fewview(capsys, "edit", still, "--drag", drag, "-o", tmp_path / "film", "--quiet")
    assert_one_sentence(done, 2, "holds another run")
    done = fewview(capsys, "edit", tmp_path / "film", "--up", "-y", "-o", tmp_path / "turned", "--quiet")
    assert done.code == 0, done.err
    assert load_run_splat(Run.open(tmp_path / "turned")).time_range_s == (0.0, 3.0)
    done = fewview(
        capsys, "render", tmp_path / "film", "--frames", 3, "--size", 48, "-o", tmp_path / "a.mp4", "--quiet"
    )  # fmt: skip
    assert done.code == 0, done.err
    done = fewview(
        capsys, "convert", tmp_path / "film", tmp_path / "part.ply", "--frames", 4, "--keep-frame", "--quiet"
    )
    assert done.code == 0, done.err
    torch.testing.assert_close(load_splat(tmp_path / "part_0001.ply").gaussians.means, film.at(1.0).means)


def test_a_run_takes_its_cameras_along(capsys, tmp_path) -> None:
    run = moving_run(tmp_path / "run")
    nodes = [{"nodes": [0, 1, 2], "anchor": True}, {"nodes": [200], "move": [0, 0.2, 0]}]
    drag = drag_file(tmp_path, time_s=(FIRST_S + LAST_S) / 2, handles=nodes)
    done = fewview(capsys, "edit", run.path, "--drag", drag, "-o", tmp_path / "new", "--up", "-y", "--json")
    assert done.code == 0, done.err
    new = Run.open(tmp_path / "new")
    assert load_run_splat(new).time_range_s is None  # a still of that moment
    assert load_run_capture(new).names == load_run_capture(run).names
    assert new.config()["edited_from"] == str(run.path)
    assert done.json["drag"]["gaussians_moved"] > 0
    assert "+z" in done.out


def bound_run(folder: Path) -> Run:
    """A run of Gaussians on the faces of a bar along x that bends."""
    bar = bending_bar(4, rings=9, around=6)
    face, barycentric = face_places(len(bar), 3)
    table = gaussian_table(bar.vertices, bar.faces, 3, torch.full((len(face), 3), 0.5), 1.3, 0.9)
    gaussians = bound_gaussians(table, bar.vertices, bar.faces, face, barycentric, 1e-6).detach()
    motion = MeshBoundMotion(
        bar.times_s.double(), bar.positions, torch.zeros_like(bar.positions), bar.vertices, bar.faces.int(),
        face.int(), barycentric,
    )  # fmt: skip
    run = Run.create(folder, {})
    save_run_splat(run, MovingSplat(gaussians, up=(0.0, 0.0, 1.0), motion=motion))
    return run


BAR_END = {"at": [0.9, 0.0, 0.0], "rings": 2, "move": [0.0, 0.0, 0.3]}
BAR_ANCHOR = {"at": [-0.9, 0.0, 0.0], "rings": 2, "anchor": True}


def test_a_mesh_under_gaussians_is_dragged_with_them(capsys, tmp_path) -> None:
    run = bound_run(tmp_path / "bar")
    drag = drag_file(tmp_path, time_s=0, handles=[BAR_END, BAR_ANCHOR])
    for name in ("pose.glb", "pose.obj", "pose.ply"):
        done = fewview(capsys, "edit", run.path, "--drag", drag, "-o", tmp_path / name, "--json")
        assert done.code == 0, done.err
    rest = load_run_splat(run).motion.vertices
    posed = load_mesh(tmp_path / "pose.glb")
    assert posed.positions is None
    moved = posed.vertices - rest
    left, right = rest[:, 0] < -0.8, rest[:, 0] > 0.8
    assert float(moved[left].norm(dim=1).max()) < 0.02
    torch.testing.assert_close(moved[right].mean(0), torch.tensor([0.0, 0.0, 0.3]), rtol=0, atol=0.03)
    torch.testing.assert_close(load_mesh(tmp_path / "pose.obj").vertices, posed.vertices, rtol=0, atol=1e-4)
    face, weights = face_places(len(posed), 3)
    on_faces = (weights[..., None] * posed.vertices[posed.faces[face]]).sum(1)
    torch.testing.assert_close(load_splat(tmp_path / "pose.ply").gaussians.means, on_faces, rtol=0, atol=1e-4)
    assert_one_sentence(
        fewview(capsys, "edit", run.path, "--drag", drag, "--recentre", "-o", tmp_path / "more.glb"), 2, "--recentre"
    )


def test_a_dragged_film_of_a_mesh_has_its_mesh(capsys, tmp_path) -> None:
    run = bound_run(tmp_path / "bar")
    keys = [{"time_s": 0, "handles": []}, {"time_s": 2, "handles": [BAR_END]}]
    drag = drag_file(tmp_path, time_s=0, handles=[BAR_ANCHOR], keyframes=keys)
    done = fewview(capsys, "edit", run.path, "--drag", drag, "-o", tmp_path / "new", "--json")
    assert done.code == 0, done.err
    new = Run.open(tmp_path / "new")
    motion = load_run_splat(new).motion
    assert isinstance(motion, MeshBoundMotion)
    mesh = load_mesh(new.mesh_path)
    assert mesh.time_range_s == (0.0, 2.0)
    torch.testing.assert_close(mesh.at(2.0).vertices, motion.positions[-1], rtol=0, atol=1e-4)
    assert float((motion.positions[-1] - motion.positions[0]).norm(dim=1).max()) > 0.25
