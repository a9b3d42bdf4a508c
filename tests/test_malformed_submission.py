"""Submissions, splits and data sets that cannot be measured: one sentence that names the place."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fewview.detect.metrics.devkit import find_devkit
from fewview.detect.metrics.nuscenes_metric import NuScenesMetric, evaluate
from fewview.detect.metrics.nuscenes_submission import read_submission, write_submission
from fewview.detect.metrics.nuscenes_truth import Truth
from fewview.detect.tasks.driving_samples import NuScenesSamples
from fewview.detect.tasks.nuscenes_splits import scene_names
from fewview.scene.boxes import Boxes
from fewview.scene.datasets.nuscenes_classes import DETECTION_NAMES
from fewview.scene.datasets.nuscenes_log import NuScenes
from fewview.scene.errors import BadInputError
from support.datasets import write_photo
from support.nuscenes_folder import Drive, write_nuscenes


@pytest.fixture
def drive(tmp_path: Path) -> Drive:
    return write_nuscenes(tmp_path / "data")


def _box(token: str, **other: Any) -> dict[str, Any]:
    return {
        "sample_token": token, "translation": [600.0, 1600.0, 1.0], "size": [2.0, 4.0, 1.5],
        "rotation": [1.0, 0.0, 0.0, 0.0], "velocity": [0.0, 0.0], "detection_name": "car", "detection_score": 0.5,
        "attribute_name": "vehicle.parked", **other,
    }  # fmt: skip


Change = Callable[[dict[str, list[Any]], str], Any]


def _first(**other: Any) -> Change:
    return lambda results, token: results[token].append(_box(token, **other))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda r, t: r.pop(t), "lacks 1 of the 4 samples that are measured, e.g."),
        (lambda r, t: r.update(other=[]), r"has 1 sample that is not among the 4 that are measured \('other'\)"),
        (lambda r, t: r.update({t: [_box(t)] * 501}), "has 501 boxes; at most 500 are allowed"),
        (_first(detection_name="Car"), "box 0, 'detection_name', should be one of car, truck"),
        (_first(attribute_name="parked"), "box 0, 'attribute_name', should be one of"),
        (_first(translation=[float("nan"), 0.0, 0.0]), "NaN"),
        (_first(velocity=[0.0, float("inf")]), "Infinity"),
        (_first(velocity=[0.0]), "'velocity', should be 2 finite numbers"),
        (_first(size=[2.0, 0.0, 1.0]), "'size', should be 3 positive numbers"),
        (_first(rotation=[0.0, 0.0, 0.0, 0.0]), "'rotation', should be"),
        (_first(detection_score="high"), "'detection_score', should be"),
        (_first(detection_score=-0.1), "has a box with the score -0.1; scores from 0 on are expected"),
        (_first(sample_token="other"), "belongs to another sample"),
        (lambda r, t: r.update({t: {}}), "should have a list of boxes, found dict"),
        (lambda r, t: r.update({t: [3]}), "box 0 should be an object"),
        (lambda r, t: r[t].append({"sample_token": t}), "has no 'translation'"),
    ],
)
def test_submissions(drive: Drive, tmp_path: Path, change: Change, match: str) -> None:
    results: dict[str, list[Any]] = {token: [] for token in drive.tokens}
    change(results, drive.tokens[1])
    path = tmp_path / "submission.json"
    path.write_text(json.dumps({"meta": {}, "results": results}))
    with pytest.raises(BadInputError, match=match) as caught:
        read_submission(path, drive.tokens)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"results": []}', '{"results": {"a": [}}', "\x80\x04K\x01."])
def test_files_that_are_no_submission(tmp_path: Path, text: str) -> None:
    path = tmp_path / "submission.json"
    path.write_text(text)
    with pytest.raises(BadInputError, match=r"submission\.json"):
        read_submission(path, ["a"])


def test_results_in_memory_are_checked_as_those_of_a_file(drive: Drive, tmp_path: Path) -> None:
    truth = Truth.of(NuScenes(drive.root))
    with pytest.raises(BadInputError, match="The set of predictions lacks 4 of the 4 samples"):
        evaluate(truth, {})
    many = Boxes.upright(
        torch.zeros(501, 3), torch.ones(501, 3), torch.zeros(501), torch.zeros(501, dtype=torch.int64),
        DETECTION_NAMES, scores=torch.ones(501),
    )  # fmt: skip
    path = tmp_path / "submission.json"
    with pytest.raises(BadInputError, match="has 501 boxes"):
        write_submission(path, {drive.tokens[0]: many}, drive.tokens, ())
    with pytest.raises(ValueError, match="given samples only"):
        write_submission(path, {"other": many}, drive.tokens, ())
    assert not path.exists()


@pytest.mark.parametrize(
    ("split", "match"),
    [
        ("nowhere", "There is no split 'nowhere': all, mine, train"),
        ("val", "is one of v1.0-trainval, but the data set is .*; give --split mini_train or mini_val"),
        ("mine", "has scenes that .* lacks: scene-9999"),
        (["scene-7777"], "The list of scenes has scenes that .* lacks: scene-7777"),
        ([], "has no scenes"),
    ],
)
def test_splits(drive: Drive, split: Any, match: str) -> None:
    (drive.folder / "splits.json").write_text(json.dumps({"mine": ["scene-9999"]}))
    with pytest.raises(BadInputError, match=match):
        scene_names(NuScenes(drive.root), split)


def test_split_files(drive: Drive, tmp_path: Path) -> None:
    data = NuScenes(drive.root)
    path = tmp_path / "scenes.json"
    path.write_text('{"val": []}')
    with pytest.raises(BadInputError, match=r"scenes\.json should be a list of scene names"):
        scene_names(data, path)
    binary = tmp_path / "scenes.txt"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInputError, match=r"scenes\.txt could not be read as text"):
        scene_names(data, binary)


def test_a_data_set_without_annotations_is_read_but_not_measured(drive: Drive) -> None:
    (drive.folder / "sample_annotation.json").unlink()
    data = NuScenesSamples(drive.root)
    assert data[0].boxes is None
    assert data[0].camera_objects is None
    with pytest.raises(BadInputError, match=r"has no annotations, .* nothing can be measured"):
        NuScenesMetric.of(data)
    with pytest.raises(BadInputError, match="has no annotations, so its classes cannot be balanced"):
        data.class_balanced(0)


class TestSamples:
    def test_a_sweep_is_cut_short(self, drive: Drive) -> None:
        path = next((drive.root / "sweeps" / "LIDAR_TOP").iterdir())
        path.write_bytes(path.read_bytes()[:-3])
        with pytest.raises(BadInputError, match="cut short or no LiDAR sweep"):
            NuScenesSamples(drive.root)[1]

    def test_a_photograph_has_another_size(self, drive: Drive) -> None:
        data = NuScenesSamples(drive.root)
        sample = data[0]
        path = next(p for p in sorted((drive.root / "samples" / "CAM_BACK").iterdir()))
        write_photo(path, 32, 18, seed=0)
        with pytest.raises(BadInputError, match="32 x 18"):
            data[0]
        with pytest.raises(BadInputError, match="32 x 18"):
            sample.load_images()

    def test_photographs_differ_in_size(self, drive: Drive) -> None:
        row = next(r for r in drive.tables["sample_data"] if "CAM_BACK/" in r["filename"])
        write_photo(drive.root / row["filename"], 32, 18, seed=0)
        row["width"], row["height"] = 32, 18
        drive.rewrite("sample_data")
        with pytest.raises(BadInputError, match="differ in size: 32 x 18, 64 x 36 pixels"):
            NuScenesSamples(drive.root)[0].load_images()


def test_interpreters_without_the_devkit(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="could not be started as a Python interpreter"):
        find_devkit(tmp_path / "python")
    fake = tmp_path / "fake"
    fake.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -I "$@"\n')  # without any package
    fake.chmod(0o755)
    with pytest.raises(BadInputError, match=r"cannot load the nuscenes-devkit .*ModuleNotFoundError"):
        find_devkit(fake)
