"""`fewview detect` and `fewview detect eval`."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fewview.detect.metrics.nuscenes_submission import submission_boxes, write_submission
from fewview.detect.tasks.driving_samples import NuScenesSamples
from support.command import assert_one_sentence, fewview
from support.nuscenes_folder import write_nuscenes


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_nuscenes(tmp_path / "data").root


@pytest.fixture
def submission(root: Path, tmp_path: Path) -> Path:
    data = NuScenesSamples(root)
    results = {}
    for i in range(len(data)):
        sample = data[i]
        assert sample.boxes is not None
        results[sample.token] = submission_boxes(sample, replace(sample.boxes, scores=torch.ones(len(sample.boxes))))
    path = tmp_path / "found.json"
    write_submission(path, results, data.tokens, ("use_lidar",))
    return path


def test_the_table_and_the_files(root: Path, submission: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = fewview(capsys, "detect", "eval", root, submission, "--json")
    assert outcome.code == 0
    assert outcome.json["samples"] == 4
    assert outcome.json["mAP"] == pytest.approx(0.4)  # car, bus, pedestrian and barrier of ten
    assert "mAP: 0.4000" in outcome.out
    assert "pedestrian            1.000   0.000   0.000   0.000   0.000   0.000" in outcome.out
    assert "barrier               1.000   0.000   0.000   0.000   -       -" in outcome.out
    assert "the official nuscenes-devkit is not installed here" in outcome.out
    assert outcome.json["official"] is None
    folder = submission.with_name("found_metrics")
    summary = json.loads((folder / "metrics_summary.json").read_text())
    assert summary["nd_score"] == outcome.json["NDS"]
    assert summary["label_tp_errors"]["barrier"]["vel_err"] is None
    details = json.loads((folder / "metrics_details.json").read_text())
    assert len(details) == 40
    assert len(details["car:2.0"]["precision"]) == 101


def test_a_part_of_the_data(root: Path, submission: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenes = tmp_path / "scenes.txt"
    scenes.write_text("scene-0000\n")
    outcome = fewview(capsys, "detect", "eval", root, submission, "--split", scenes, "--quiet")
    assert_one_sentence(outcome, 2, "2 samples that are not among the 2 that are measured")
    results = json.loads(submission.read_text())
    kept = NuScenesSamples(root, scenes).tokens
    results["results"] = {token: results["results"][token] for token in kept}
    submission.write_text(json.dumps(results))
    outcome = fewview(capsys, "detect", "eval", root, submission, "--split", scenes, "--json", "--quiet")
    assert outcome.json["samples"] == 2
    assert len(outcome.out.splitlines()) == 1


def test_the_official_devkit(root: Path, submission: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    python = os.environ.get("FEWVIEW_DEVKIT_PYTHON")
    if not python:
        pytest.skip("FEWVIEW_DEVKIT_PYTHON names no interpreter with the nuscenes-devkit")
    (root / "maps").mkdir()
    (root / "maps" / "m.png").touch()
    out = tmp_path / "out"
    outcome = fewview(capsys, "detect", "eval", root, submission, "-o", out, "--devkit-python", python, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["official"]["largest_difference"] < 1e-12  # the same sums in the same order
    assert "The numbers are those of the official nuscenes-devkit" in outcome.out
    assert (out / "devkit" / "plots" / "summary.pdf").is_file()


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (("evil",), ("There is no command 'evil'", "`fewview detect eval`")),
        (("zzzz",), ("There is no command 'zzzz'", "`fewview detect --help` lists them")),
        (("eval", "nowhere", "nothing.json"), ("nowhere holds no nuScenes-format tables",)),
    ],
)
def test_wrong_input(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    args: tuple[str, ...],
    parts: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_one_sentence(fewview(capsys, "detect", *args), 2, *parts)
    assert not [*tmp_path.iterdir()], "nothing is left behind"


def test_a_missing_submission_and_a_wrong_interpreter(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = fewview(capsys, "detect", "eval", root, root / "none.json", "--quiet")
    assert_one_sentence(outcome, 2, "none.json could not be read")
    outcome = fewview(capsys, "detect", "eval", root, root / "none.json", "--devkit-python", root / "python")
    assert_one_sentence(outcome, 2, "could not be started as a Python interpreter")


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("detect",), ("detect", "--help")):
        outcome = fewview(capsys, *words)
        assert outcome.code == 0
        assert "usage: fewview detect COMMAND" in outcome.out
        assert "Measure detections with the nuScenes metric" in outcome.out
    assert "--devkit-python" in fewview(capsys, "detect", "eval", "--help").out
