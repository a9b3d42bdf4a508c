"""The commands from input to report, on a capture so small that it takes a moment."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from fewview.commands import reconstruct as command_module
from fewview.commands.summary import lines_of
from fewview.scene.formats import load_splat
from fewview.scene.run import Run
from PIL import Image
from support.capture_folder import write_capture
from support.command import Outcome, assert_one_sentence, fewview, stops_at

STEPS = 40


@pytest.fixture
def capture_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_capture(tmp_path / "capture")


def reconstruct(capsys: pytest.CaptureFixture[str], folder: Path, *args: object) -> Outcome:
    outcome = fewview(capsys, "reconstruct", folder, "--steps", STEPS, "--json", *args)
    assert outcome.code == 0, outcome.err
    return outcome


def test_a_run_has_everything(capsys: pytest.CaptureFixture[str], capture_folder: Path) -> None:
    outcome = reconstruct(capsys, capture_folder, "-o", "run", "--eval")
    run = Run.open("run")
    result, metrics, config = outcome.json, run.metrics(), run.config()
    assert result["run"] == "run"
    assert result["splat"] == str(run.splat_path)
    assert result["report"] == str(run.report_path)
    splat = load_splat(run.splat_path)
    assert result["gaussians"] == len(splat.gaussians)
    # The cameras are nearly level in a world whose y points down, and the splat says so.
    assert splat.up == pytest.approx((0, -1, 0), abs=0.03)
    assert {"command", "input", "version", "options", "views"} <= set(config)
    # Every 8th of nine photographs in file-name order is held out: the first and the last.
    assert [v["name"] for v in metrics["eval"]["views"]] == config["views"]["test"]
    assert [Path(n).stem for n in config["views"]["test"]] == ["photo_0", "photo_8"]
    assert len(config["views"]["train"]) == 7
    for view in metrics["eval"]["views"]:
        assert view["split"] == "test"
        assert Image.open(run.path / view["render"]).size == Image.open(run.path / view["photo"]).size
    assert metrics["eval"]["mean"]["psnr"] == pytest.approx(result["eval"]["psnr"])
    assert metrics["placed"] == 9
    assert metrics["unplaced"] == {}
    assert metrics["training"]["steps"] == STEPS
    steps, losses, psnrs = zip(*metrics["training"]["curve"], strict=True)
    assert steps[-1] == STEPS
    # Single losses are of single photographs, which differ; eight in a row have seen all seven.
    assert sum(losses[-8:]) < sum(losses[:8])
    assert all(0 < p < 60 for p in psnrs)
    assert {"read", "training", "evaluation"} <= set(metrics["seconds"])


def test_figures_are_those_of_the_written_pictures(capsys: pytest.CaptureFixture[str], capture_folder: Path) -> None:
    reconstruct(capsys, capture_folder, "-o", "run", "--eval")
    run = Run.open("run")
    for view in run.metrics()["eval"]["views"]:
        a, b = (np.asarray(Image.open(run.path / view[k]).convert("RGB"), float) / 255 for k in ("render", "photo"))
        psnr = -10 * np.log10(((a - b) ** 2).mean())
        assert view["psnr"] == pytest.approx(psnr, abs=1e-4)  # float32 images on one side, float64 on the other


def test_training_views_are_measured_when_none_is_held_out(
    capsys: pytest.CaptureFixture[str], capture_folder: Path
) -> None:
    outcome = reconstruct(capsys, capture_folder, "-o", "run")
    assert outcome.json["eval"]["split"] == "train"
    assert "--eval holds some out" in outcome.out


def test_views_are_spread_over_the_training_photographs(
    capsys: pytest.CaptureFixture[str], capture_folder: Path
) -> None:
    reconstruct(capsys, capture_folder, "-o", "run", "--eval", "--views", 3)
    views = Run.open("run").config()["views"]
    assert [Path(n).stem for n in views["train"]] == ["photo_1", "photo_4", "photo_7"]
    assert len(views["test"]) == 2


def test_more_views_than_there_are_is_said(capsys: pytest.CaptureFixture[str], capture_folder: Path) -> None:
    outcome = reconstruct(capsys, capture_folder, "-o", "run", "--views", 50)
    assert any("50" in note and "9" in note for note in outcome.json["notes"])


def test_default_output_is_named_after_the_input(capsys: pytest.CaptureFixture[str], capture_folder: Path) -> None:
    assert reconstruct(capsys, capture_folder).json["run"] == str(Path("runs") / "capture")


def test_a_run_is_never_overwritten(capsys: pytest.CaptureFixture[str], capture_folder: Path) -> None:
    reconstruct(capsys, capture_folder, "-o", "run")
    before = {p: p.stat().st_mtime_ns for p in Path("run").rglob("*")}
    assert_one_sentence(fewview(capsys, "reconstruct", capture_folder, "-o", "run"), 2, "another run", "--resume")
    assert {p: p.stat().st_mtime_ns for p in Path("run").rglob("*")} == before


def test_an_interrupted_run_continues_to_the_same_splat(
    capsys: pytest.CaptureFixture[str], capture_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reconstruct(capsys, capture_folder, "-o", "whole")

    with monkeypatch.context() as patch:
        patch.setattr(command_module, "TerminalProgress", stops_at("training", STEPS // 2))
        stopped = fewview(capsys, "reconstruct", capture_folder, "-o", "parts", "--steps", STEPS)
    assert_one_sentence(stopped, 130, "Interrupted", "--resume", "-o parts")
    assert not Path("parts/splat.ply").exists()
    resumed = fewview(capsys, "reconstruct", capture_folder, "-o", "parts", "--resume", "--json")
    assert resumed.code == 0, resumed.err
    assert resumed.json["steps"] == STEPS
    whole, parts = Path("whole/splat.ply").read_bytes(), Path("parts/splat.ply").read_bytes()
    assert whole == parts
    curves = [[p[0] for p in Run.open(r).metrics()["training"]["curve"]] for r in ("whole", "parts")]
    assert curves[0] == curves[1]


def test_resume_refuses_other_options_and_other_input(capsys: pytest.CaptureFixture[str], capture_folder: Path) -> None:
    reconstruct(capsys, capture_folder, "-o", "run")
    again = ("reconstruct", capture_folder, "-o", "run", "--resume")
    assert_one_sentence(fewview(capsys, *again, "--steps", 50), 2, f"--steps {STEPS}", "50")
    assert_one_sentence(fewview(capsys, "reconstruct", "elsewhere", "-o", "run", "--resume"), 2, "elsewhere")
    finished = fewview(capsys, *again, "--json")
    assert finished.code == 0
    assert finished.json["steps"] == STEPS


def test_resume_begins_where_there_is_no_run_yet(capsys: pytest.CaptureFixture[str], capture_folder: Path) -> None:
    assert reconstruct(capsys, capture_folder, "-o", "run", "--resume").json["steps"] == STEPS


def test_same_seed_same_splat(capsys: pytest.CaptureFixture[str], capture_folder: Path) -> None:
    for name in ("a", "b"):
        reconstruct(capsys, capture_folder, "-o", name, "--threads", 1)
    assert Path("a/splat.ply").read_bytes() == Path("b/splat.ply").read_bytes()


def test_eval_measures_again(capsys: pytest.CaptureFixture[str], capture_folder: Path) -> None:
    first = reconstruct(capsys, capture_folder, "-o", "run", "--eval").json["eval"]
    Path("run/report.html").unlink()
    seconds = Run.open("run").metrics()["seconds"]
    outcome = fewview(capsys, "eval", "run", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["eval"] == first
    assert Run.open("run").metrics()["seconds"] == seconds
    assert len(outcome.json["views"]) == 2
    assert Path("run/report.html").is_file()


def test_a_run_needs_nothing_outside_its_folder(capsys: pytest.CaptureFixture[str], capture_folder: Path) -> None:
    first = reconstruct(capsys, capture_folder, "-o", "run", "--eval").json["eval"]
    shutil.rmtree(capture_folder)
    Path("run").rename("moved")
    assert fewview(capsys, "eval", "moved", "--json").json["eval"] == first


@pytest.mark.parametrize("path", ["orbit", "through"])
def test_render_writes_pictures_and_a_film(capsys: pytest.CaptureFixture[str], capture_folder: Path, path: str) -> None:
    reconstruct(capsys, capture_folder, "-o", "run")
    outcome = fewview(capsys, "render", "run", "--path", path, "--frames", 3, "--size", 64, "--json")
    assert outcome.code == 0, outcome.err
    folder = Path("run/renders") / path
    assert sorted(p.name for p in folder.iterdir()) == ["0000.png", "0001.png", "0002.png", f"{path}.mp4"]
    assert max(Image.open(folder / "0000.png").size) == 64
    assert outcome.json == {"film": str(folder / f"{path}.mp4"), "pictures": str(folder), "frames": 3}


def test_render_of_a_bare_splat_file(capsys: pytest.CaptureFixture[str], capture_folder: Path) -> None:
    reconstruct(capsys, capture_folder, "-o", "run")
    outcome = fewview(capsys, "render", "run/splat.ply", "--frames", 2, "--size", 48, "-o", "film.mp4")
    assert outcome.code == 0, outcome.err
    assert Path("film.mp4").stat().st_size > 0
    refused = fewview(capsys, "render", "run/splat.ply", "--path", "through")
    assert_one_sentence(refused, 2, "without cameras", "--path orbit")


def test_poses_then_reconstruct(capsys: pytest.CaptureFixture[str], capture_folder: Path) -> None:
    poses = fewview(capsys, "poses", capture_folder, "-o", "placed", "--json")
    assert poses.code == 0, poses.err
    cameras = json.loads(Path(poses.json["cameras"]).read_text())
    assert len(cameras["frames"]) == 9
    assert reconstruct(capsys, Path("placed"), "-o", "run").json["placed"] == 9


def test_quiet_and_plain_output(capsys: pytest.CaptureFixture[str], capture_folder: Path) -> None:
    quiet = fewview(capsys, "reconstruct", capture_folder, "-o", "quiet", "--steps", STEPS, "--quiet")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")
    plain = fewview(capsys, "reconstruct", capture_folder, "-o", "plain", "--steps", STEPS)
    assert "fewview view plain" in plain.out
    assert "training: done in" in plain.err


def test_a_run_is_continued_by_its_own_name(capsys: pytest.CaptureFixture[str], capture_folder: Path) -> None:
    reconstruct(capsys, capture_folder, "-o", "runs/other")
    run = Run.open("runs/other")
    whole = run.splat_path.read_bytes()
    run.splat_path.unlink()
    outcome = fewview(capsys, "reconstruct", run.path, "--resume", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["run"] == str(run.path)
    assert run.splat_path.read_bytes() == whole
    assert [p.name for p in Path("runs").iterdir()] == ["other"]


def test_who_is_left_out_is_named_once(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", {})
    run.add_metrics(unplaced={"a.jpg": "a.jpg is blurred.", "b.jpg": "Less confident than was asked for."})
    told = [line for line in lines_of(run) if line.startswith("Left out")]
    assert told == ["Left out     a.jpg is blurred.", "Left out     b.jpg: Less confident than was asked for."]
