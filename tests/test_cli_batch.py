"""`fewview batch`: many captures, each in its own process; what fails stops nobody, and what is left is done later."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from pathlib import Path

import pytest
from fewview.commands import batch_engines
from fewview.commands.batch_engines import ENGINES, ray_is_installed
from fewview.commands.capture_job import CaptureJob, Outcome, find_captures, run_capture
from fewview.recon.pipeline.reconstruct_config import ReconstructConfig
from fewview.scene.run import Run
from support import killed_captures
from support.capture_folder import write_capture
from support.command import assert_one_sentence, fewview, press_ctrl_c

QUICK = ("--steps", 8, "--threads", 1, "--json")


@pytest.fixture
def captures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two captures with cameras, and a folder without a photograph between them."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "captures"
    write_capture(folder / "a house", views=4)
    shutil.copytree(folder / "a house", folder / "tree <1>")
    (folder / "empty").mkdir()
    (folder / ".hidden").mkdir()
    (folder / "list.txt").write_text("not a capture")
    return folder


@pytest.mark.parametrize(
    "engine",
    [
        "local",
        pytest.param("ray", marks=pytest.mark.skipif(not ray_is_installed(), reason="Ray is not installed")),
    ],
)
def test_a_failure_stops_nobody_and_the_rest_is_done_later(
    captures: Path, capsys: pytest.CaptureFixture[str], engine: str
) -> None:
    command = ("batch", captures, "-o", "out", "--engine", engine, "--workers", 2, *QUICK)
    first = fewview(capsys, *command)
    assert first.code == 1
    assert (first.json["done"], first.json["failed"]) == (2, 1)
    states = {name: entry["state"] for name, entry in first.json["captures"].items()}
    assert states == {"a house": "done", "empty": "failed", "tree <1>": "done"}
    assert "photographs" in first.json["captures"]["empty"]["error"]
    assert "\nempty: " in first.out
    for name in ("a house", "tree <1>"):
        assert first.json["captures"][name]["psnr"] > 5
        assert first.json["captures"][name]["cpu_seconds"] > 0
        # An ordinary run, which can be looked at and continued by itself.
        assert Run.open(Path("out") / name).config()["command"] == "reconstruct"

    page = Path("out/index.html").read_text()
    assert 'href="a%20house/report.html"' in page
    assert 'href="tree%20%3C1%3E/report.html"' in page
    assert "tree &lt;1&gt;" in page
    assert "<1>" not in page
    assert page.count("data:image/jpeg") == 4  # a photograph and its rendering for each
    assert json.loads(Path("out/batch.json").read_text())["captures"]["empty"]["state"] == "failed"

    assert_one_sentence(fewview(capsys, *command), 2, "holds another batch", "--resume")
    shutil.copytree(captures / "a house", captures / "empty", dirs_exist_ok=True)
    before = Run.open("out/a house").report_path.stat().st_mtime_ns
    again = fewview(capsys, *command, "--resume")
    assert again.code == 0, again.err
    assert (again.json["done"], again.json["failed"]) == (3, 0)
    assert again.json["captures"]["a house"] == first.json["captures"]["a house"]
    assert Run.open("out/a house").report_path.stat().st_mtime_ns == before


def test_a_process_that_is_killed_goes_on_and_twice_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Spawned processes import the stand-in by its name.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setattr(batch_engines, "run_capture", killed_captures.killed)
    jobs = [CaptureJob(name, tmp_path, tmp_path / name, ReconstructConfig(), 1) for name in ("once", "always")]
    once, always = sorted(batch_engines.on_this_computer(jobs, 2), key=lambda o: o.name, reverse=True)
    assert (once.name, once.state, once.attempts) == ("once", "done", 2)
    assert (always.state, always.attempts) == ("failed", 2)
    assert "ended from outside" in always.error


def test_ctrl_c_keeps_what_is_finished_and_says_how_to_go_on(
    captures: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(jobs: list[CaptureJob], workers: int) -> object:
        yield Outcome(jobs[0].name, "done")
        press_ctrl_c()

    monkeypatch.setitem(ENGINES, "local", interrupted)
    outcome = fewview(capsys, "batch", captures, "-o", "out", "--quiet")
    assert_one_sentence(outcome, 130, "fewview batch", "--resume")
    assert json.loads(Path("out/batch.json").read_text())["captures"]["a house"]["state"] == "done"


def test_whatever_happens_in_a_capture_is_an_outcome(captures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fewview.commands import capture_job

    monkeypatch.setattr(capture_job, "_hear_termination", lambda: None)
    job = CaptureJob("x", captures / "a house", captures.parent / "run", ReconstructConfig(steps=1), 1)
    for error, state, word in (
        (KeyboardInterrupt(), "interrupted", "kept"),
        (MemoryError(), "failed", "--workers"),
        (ZeroDivisionError("oh"), "failed", "Unexpected ZeroDivisionError: oh"),
    ):

        def broken(*args: object, error: BaseException = error, **options: object) -> None:
            raise error

        monkeypatch.setattr(capture_job, "run_to_report", broken)
        found = run_capture(job)
        assert found.state == state
        assert word in found.error


def test_bad_input_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str], captures: Path) -> None:
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    for arguments, words in (
        ((nothing,), ("holds no captures",)),
        ((tmp_path / "absent",), ("is not a folder",)),
        ((captures / "a house" / "images",), ("one capture", "fewview reconstruct")),
        ((captures, "--engine", "slurm"), ("--engine slurm", "local or ray")),
        ((captures, "--workers", 0), ("--workers 0",)),
        ((captures, "-o", captures / "list.txt"), ("is a file", "-o")),
        ((captures, "-o", captures), ("is not empty", "-o")),
    ):
        assert_one_sentence(fewview(capsys, "batch", *arguments), 2, *words)
    assert not (tmp_path / "runs").exists()


def test_without_ray_or_with_a_cluster(
    captures: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(batch_engines.importlib.util, "find_spec", lambda name: None if name == "ray" else real(name))
    assert_one_sentence(fewview(capsys, "batch", captures, "--engine", "ray"), 2, "fewview[batch]", "--engine local")
    monkeypatch.setattr(batch_engines, "ray_is_installed", lambda: True)
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    outcome = fewview(capsys, "batch", captures, "--engine", "ray", "--workers", 3)
    assert_one_sentence(outcome, 2, "--workers 3", "RAY_ADDRESS")


def test_captures_are_folders_and_videos(tmp_path: Path) -> None:
    for name in ("b.mp4", "a", "c.txt"):
        (tmp_path / name).mkdir() if name == "a" else (tmp_path / name).touch()
    assert [c.name for c in find_captures(tmp_path)] == ["a", "b.mp4"]
    (tmp_path / "b").mkdir()
    with pytest.raises(Exception, match="would both become the run b"):
        find_captures(tmp_path)
