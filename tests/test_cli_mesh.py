"""`fewview mesh`: a run and a splat file to meshes, and what it refuses."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from fewview.commands import mesh as command
from fewview.recon.mesh import open3d_backend
from fewview.render.mesh_rendering import surface_colors
from fewview.scene.formats import save_splat
from fewview.scene.frame_motion import FrameMotion
from fewview.scene.mesh_formats import load_mesh
from fewview.scene.point_cloud import PointCloud
from fewview.scene.points_ply import read_points, write_points
from fewview.scene.run import Run
from fewview.scene.run_splat import save_run_splat
from fewview.scene.splat import MovingSplat, StaticSplat
from fewview.viewer.report import write_report
from fewview.viewer.subjects.loader import load_subject
from fewview.viewer.subjects.mesh_subject import MeshSubject
from PIL import Image
from support.command import assert_one_sentence, fewview
from support.flat_gaussians import flat_gaussians
from support.meshes import ball
from support.small_run import small_run

QUICK = ("--voxels", "32", "--size", "80", "--views", "4", "--threads", "1")


@pytest.fixture
def run_of_a_ball(tmp_path: Path) -> Run:
    run = small_run(tmp_path / "run")
    save_splat(run.splat_path, StaticSplat(flat_gaussians(ball(), 1500), up=(0.0, -1.0, 0.0)))
    points = torch.nn.functional.normalize(read_points(run.points_path).xyz, dim=1)
    cloud = PointCloud(points, torch.zeros(len(points), 3, dtype=torch.uint8), metric=True)
    write_points(run.points_path, cloud)
    return run


def test_a_run_gets_a_mesh_with_figures_and_pictures(run_of_a_ball: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_of_a_ball
    outcome = fewview(capsys, "mesh", run.path, *QUICK, "--json", "--quiet")
    assert outcome.code == 0, outcome.err
    result = outcome.json
    mesh = load_mesh(run.mesh_path)
    assert result["mesh"] == str(run.mesh_path)
    assert result["faces"] == len(mesh) > 500
    assert result["metric"] is mesh.metric is True
    assert mesh.up == (0.0, -1.0, 0.0)
    assert float((mesh.vertices.norm(dim=1) - 1).abs().median()) < 0.1, "in the world frame of the run"
    assert result["points"]["median_percent"] < 10
    assert run.metrics()["mesh"]["faces"] == len(mesh)
    page = write_report(run).read_text()
    assert f"{len(mesh):,} faces. Half of {result['points']['in_box']:,} sparse points" in page
    assert "the shape of the mesh" in page
    with Image.open(result["pictures"]) as sheet:
        assert sheet.size[0] > 4 * 96
    subject = load_subject(run.path)
    assert subject.splat is not None
    assert isinstance(load_subject(run.mesh_path), MeshSubject)


def test_a_mesh_is_not_written_over(run_of_a_ball: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run_of_a_ball.mesh_path.write_bytes(b"mine")
    outcome = fewview(capsys, "mesh", run_of_a_ball.path, *QUICK)
    assert_one_sentence(outcome, 2, "mesh.glb is there already", "--overwrite")
    assert run_of_a_ball.mesh_path.read_bytes() == b"mine"
    assert fewview(capsys, "mesh", run_of_a_ball.path, *QUICK, "--overwrite", "--quiet").code == 0
    assert len(load_mesh(run_of_a_ball.mesh_path)) > 500


def test_a_splat_file_gets_a_mesh_beside_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_splat(tmp_path / "ball.spz", StaticSplat(flat_gaussians(ball(), 1500)))
    outcome = fewview(capsys, "mesh", tmp_path / "ball.spz", *QUICK, "--faces", "400")
    assert outcome.code == 0, outcome.err
    mesh = load_mesh(tmp_path / "ball_mesh.glb")
    assert 200 < len(mesh) <= 400
    assert "faces became" in outcome.out
    assert "not known to be a metre" in outcome.out


def test_a_moving_splat_gives_one_moment(run_of_a_ball: Run, capsys: pytest.CaptureFixture[str]) -> None:
    gaussians = flat_gaussians(ball(), 1500)
    means = torch.stack([gaussians.means, gaussians.means * 0.5])
    quats = torch.stack([gaussians.quats, gaussians.quats])
    motion = FrameMotion(torch.tensor([1.0, 3.0]), means, quats)
    save_run_splat(run_of_a_ball, MovingSplat(gaussians, motion=motion))
    outcome = fewview(capsys, "mesh", run_of_a_ball.path, *QUICK, "--time", "3")
    assert outcome.code == 0, outcome.err
    assert "one moment: the one at 3 s" in outcome.out
    assert float(load_mesh(run_of_a_ball.mesh_path).vertices.norm(dim=1).median()) == pytest.approx(0.5, abs=0.1)


def test_nonsense_is_named(tmp_path: Path, run_of_a_ball: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_of_a_ball.path
    for args, words in (
        (["--voxels", "4"], ("--voxels 4", "16 to 768")),
        (["--faces", "1"], ("--faces 1",)),
        (["--time", "nan"], ("--time nan",)),
        (["--time", "1"], ("does not move, so --time 1",)),
        (["-o", str(tmp_path / "a.stl")], ("a.stl does not end like a mesh file",)),
        (["-o", str(tmp_path / "gone" / "a.glb")], ("does not exist",)),
    ):
        assert_one_sentence(fewview(capsys, "mesh", run, *args), 2, *words)
    assert_one_sentence(fewview(capsys, "mesh", tmp_path / "gone.ply"), 2, "gone.ply")


def test_packages_that_are_missing_are_named(
    run_of_a_ball: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "open3d", None)
    outcome = fewview(capsys, "mesh", run_of_a_ball.path, *QUICK, "--quiet", "--surface", "poisson")
    assert_one_sentence(outcome, 2, "Open3D cannot be imported", "pip install", "--surface tsdf")
    assert not run_of_a_ball.mesh_path.exists()

    def broken(name: str) -> None:
        raise OSError("libusb-1.0.so.0: cannot open shared object file")

    monkeypatch.setattr(open3d_backend, "importlib", SimpleNamespace(import_module=broken))
    outcome = fewview(capsys, "mesh", run_of_a_ball.path, *QUICK, "--quiet", "--surface", "poisson")
    assert_one_sentence(outcome, 2, "libusb-1.0.so.0", "apt-get install libusb-1.0-0 libgl1")


@pytest.mark.parametrize("with_xatlas", [True, False])
def test_a_texture_holds_the_colours(
    run_of_a_ball: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, with_xatlas: bool
) -> None:
    if with_xatlas:
        pytest.importorskip("xatlas", reason="xatlas is not installed")
    else:
        monkeypatch.setitem(sys.modules, "xatlas", None)
    assert fewview(capsys, "mesh", run_of_a_ball.path, *QUICK, "--quiet").code == 0
    plain = load_mesh(run_of_a_ball.mesh_path)
    outcome = fewview(capsys, "mesh", run_of_a_ball.path, *QUICK, "--overwrite", "--texture", "512", "--json")
    assert outcome.code == 0, outcome.err
    assert any("Without the package xatlas" in note for note in outcome.json["notes"]) is not with_xatlas
    painted = load_mesh(run_of_a_ball.mesh_path)
    assert painted.texture is not None
    assert len(painted) == len(plain)
    middle = torch.full((len(plain), 3), 1 / 3)
    found, expected = (surface_colors(m, torch.arange(len(plain)), middle) for m in (painted, plain))
    own = torch.cdist(painted.vertices[painted.faces].mean(1), plain.vertices[plain.faces].mean(1)).argmin(1)
    assert float((found - expected[own]).abs().median()) < 0.03


@pytest.mark.skipif(not open3d_backend.can_be_used(), reason="Open3D is not installed")
def test_open3d_gives_a_closed_surface_within_the_budget(
    run_of_a_ball: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    save_splat(run_of_a_ball.path / "alone.ply", StaticSplat(flat_gaussians(ball(), 1500)))
    file = run_of_a_ball.path / "alone.ply"
    outcome = fewview(capsys, "mesh", file, *QUICK, "--surface", "poisson", "--faces", "500", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["faces"] <= 500
    mesh = load_mesh(run_of_a_ball.path / "alone_mesh.glb")
    assert float((mesh.vertices.norm(dim=1) - 1).abs().median()) < 0.1
    assert any("edge collapses of Open3D" in note for note in outcome.json["notes"])


def test_the_default_name_is_that_of_the_input() -> None:
    assert command._default_path(Path("scans/a.compressed.ply")) == Path("scans/a_mesh.glb")
