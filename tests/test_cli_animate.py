"""`fewview animate`, and films of which a person says that the camera stood."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fewview.scene.mesh_formats import load_mesh
from fewview.scene.readers import load_run_capture
from fewview.scene.run import Run
from PIL import Image
from support.bending_bar import bending_bar, films
from support.command import assert_one_sentence, fewview
from support.tiny_zero123 import tiny_zero123

SMALL = (
    "--steps", 6, "--quiet", "--set", "static_steps=0.34", "nodes=12", "channels=4", "plane_resolution=6",
    "time_resolution=5", "net_width=16",
)  # fmt: skip


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five RGBA frames of a bar that bends, and nothing about cameras."""
    folder = tmp_path_factory.mktemp("bar")
    film = films().film_of(
        bending_bar(5, rings=9, around=6), films().cameras_around([0.0], 40, 4.0), [0.0, 0.25, 0.5, 0.75, 1.0]
    )
    for i, view in enumerate(film.views):
        Image.fromarray(view.pixels.numpy()).save(folder / f"{i:03d}.png")
    return folder


def test_frames_become_a_mesh_that_moves(tmp_path: Path, capsys: pytest.CaptureFixture[str], frames: Path) -> None:
    done = fewview(capsys, "animate", frames, "--fps", 4, "--standing-camera", *SMALL, "-o", tmp_path / "run", "--json")
    assert done.code == 0, done.err
    mesh = load_mesh(done.json["mesh"]["file"])
    assert (len(mesh.faces), mesh.time_range_s) == (done.json["mesh"]["faces"], (0.0, 1.0))
    assert any("The camera stands still" in note for note in done.json["notes"])
    capture = load_run_capture(Run.open(tmp_path / "run"))
    assert capture.cameras is not None
    assert bool((capture.cameras.cam_from_world == capture.cameras.cam_from_world[0]).all())
    assert torch.equal(capture.times_s, torch.arange(5) / 4)
    again = fewview(capsys, "reconstruct", frames, "-o", tmp_path / "run", "--resume")  # it is such a run
    assert again.code == 0, again.err


def test_photographs_without_times_are_no_film(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], frames: Path
) -> None:
    for more in ((), ("--standing-camera",)):
        assert_one_sentence(fewview(capsys, "animate", frames, *more, "-o", tmp_path / "run"), 2, "--fps")
        assert not (tmp_path / "run").exists()


def test_a_standing_camera_is_not_looked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str], frames: Path) -> None:
    line = ("reconstruct", frames, "--fps", 4, "--standing-camera", "-o", tmp_path / "run")
    assert_one_sentence(fewview(capsys, *line, "--synthesis"), 2, "--standing-camera", "--synthesis")
    assert_one_sentence(fewview(capsys, "reconstruct", frames, *line[4:]), 2, "no film of one camera", "--fps")
    assert not (tmp_path / "run").exists()


def test_a_view_prior_is_asked_and_another_folder_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], frames: Path
) -> None:
    line = ("animate", frames, "--fps", 4, "--standing-camera", *SMALL, "--view-prior")
    assert_one_sentence(fewview(capsys, *line, frames, "-o", tmp_path / "other"), 2, "config.json", "Stable Zero123")
    assert not (tmp_path / "other").exists(), "refused before anything is placed"
    others = ("reconstruct", frames, "--fps", 4, "--method", "3dgs", "-o", tmp_path / "run")
    assert_one_sentence(fewview(capsys, *others, "--view-prior", frames), 2, "--view-prior", "3dgs")
    folder = tiny_zero123(tmp_path / "zero123")
    done = fewview(capsys, *line, folder, "-o", tmp_path / "run", "--json")
    assert done.code == 0, done.err
