"""`fewview detect` for sentences: from a data set to accuracies, and from a scan and a sentence to a box."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from fewview.scene.point_cloud import PointCloud
from fewview.scene.points_ply import write_points
from fewview.viewer.subjects.grounded_subject import GroundedSubject
from fewview.viewer.subjects.loader import load_subject
from support.command import Outcome, assert_one_sentence, fewview
from support.data import shared_data
from support.grounding import room_scan, write_scannet, write_vertices
from support.threads import one_torch_thread as one_torch_thread

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scannet(tmp_path_factory.mktemp("rooms") / "data", {"scene0000_00": room_scan(0, 3000)})


@pytest.fixture(scope="module")
def weights(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch, which is not enough to learn anything."""
    from fewview.cli import main

    run = tmp_path_factory.mktemp("run") / "run"
    code = main(
        ["detect", "train", "--task", "grounding", str(root), "-o", str(run), "--encoder", "words", "--epochs", "1",
         "--batch-size", "1", "--device", "cpu", "--quiet"]
    )  # fmt: skip
    assert code in (0, None)
    return run


def test_train_run_and_eval(root: Path, weights: Path, tmp_path: Path, capsys: Captured) -> None:
    assert {"weights.safetensors", "config.json", "metrics.json"} <= {p.name for p in weights.iterdir()}
    train = ("detect", "train", "--task", "grounding", root, "-o", weights, "--encoder", "words", "--quiet")
    assert_one_sentence(fewview(capsys, *train), 2, "holds a training run already", "--resume")
    out = tmp_path / "out"
    done = fewview(
        capsys, "detect", "run", "--task", "grounding", root, "--weights", weights, "-o", out, "--pictures", 2, "--json"
    )
    assert done.code == 0, done.err
    assert done.json["sentences"] == 4
    assert len(list((out / "pictures").iterdir())) == 2
    measured = fewview(capsys, "detect", "eval", "--task", "grounding", root, out / "boxes.json", "--json")
    assert measured.code == 0, measured.err
    overall = measured.json["metrics"]["overall"]
    assert overall["sentences"] == 4
    assert 0 <= overall["acc@0.5"] <= overall["acc@0.25"] <= 1
    assert measured.json["metrics"]["unique"]["sentences"] == 2


def test_ground_a_sentence_in_points_of_a_file(weights: Path, tmp_path: Path, capsys: Captured) -> None:
    scan = room_scan(1, 3000)
    assert scan.colors is not None
    write_points(tmp_path / "room.ply", PointCloud(scan.points, (scan.colors * 255).byte()))
    told = fewview(
        capsys, "detect", "ground", tmp_path / "room.ply", "the red chair", "--weights", weights,
        "-o", tmp_path / "out", "--json",
    )  # fmt: skip
    assert told.code == 0, told.err
    assert len(told.json["center"]) == len(told.json["size"]) == 3
    assert 0 < told.json["score"] < 1
    assert told.json["notes"] == []
    assert (tmp_path / "out" / "picture.jpg").stat().st_size > 1000
    shown = load_subject(tmp_path / "out")
    assert isinstance(shown, GroundedSubject)
    assert shown.scan.sentence == "the red chair"
    assert shown.scan.boxes.centers[0].tolist() == pytest.approx(told.json["center"], abs=1e-3)
    kept = {field.name: int(field.kept.sum()) for field in shown.scan.fields}
    voxels = told.json["voxels"]
    assert list(kept.values()) == [voxels["coarse kept"], voxels["middle kept"], voxels["out"]]
    # Another vertical, and a class that the network never saw.
    turned = PointCloud(scan.points[:, [0, 2, 1]] * scan.points.new_tensor([1, 1, -1]), (scan.colors * 255).byte())
    write_points(tmp_path / "turned.ply", turned)
    again = fewview(
        capsys, "detect", "ground", tmp_path / "turned.ply", "the piano", "--weights", weights, "-o", tmp_path / "two",
        "--up", "y", "--json",
    )  # fmt: skip
    assert again.code == 0, again.err
    assert "bed, chair, table" in again.json["notes"][0]


def test_ground_says_what_is_wrong_in_one_sentence(weights: Path, tmp_path: Path, capsys: Captured) -> None:
    scan = room_scan(1, 3000)
    few, bare = tmp_path / "few.ply", tmp_path / "bare.ply"
    write_vertices(few, scan.points[:10].numpy(), scan.colors[:10])
    write_vertices(bare, scan.points.numpy(), None)
    with_nan = scan.points.numpy().copy()
    with_nan[::2] = np.nan
    write_vertices(tmp_path / "nan.ply", with_nan, scan.colors)
    write_vertices(tmp_path / "wide.ply", scan.points.numpy() * 1000, scan.colors)

    def ground(path: Path, sentence: str, *more: object) -> Outcome:
        return fewview(
            capsys, "detect", "ground", path, sentence, "--weights", weights, "-o", tmp_path / "o", "--quiet", *more
        )

    assert_one_sentence(ground(few, "the chair"), 2, "10 points", "100")
    assert_one_sentence(ground(tmp_path / "wide.ply", "the chair"), 2, "metres")
    assert_one_sentence(ground(bare, " "), 2, "empty")
    assert_one_sentence(ground(bare, "椅子"), 2, "Latin")
    assert_one_sentence(ground(bare, "chair " * 5000), 2, "at most 512")
    assert_one_sentence(ground(bare, "on the left of it"), 2, "names no thing")
    assert_one_sentence(ground(tmp_path / "no.ply", "the chair"), 2, "no.ply")
    assert_one_sentence(ground(bare, "the chair", "--scale", -1), 2, "scale")
    for path, words in (
        (bare, "no colours"),
        (tmp_path / "nan.ply", "1,500 of 3,000 points of nan.ply are not finite"),
    ):
        done = ground(path, "the chair", "--json")
        assert done.code == 0, done.err
        assert words in done.json["notes"][0]
    assert not (tmp_path / "o" / "box.json.tmp").exists()


def test_tables_and_scenes_that_do_not_fit(weights: Path, tmp_path: Path, capsys: Captured) -> None:
    root = write_scannet(tmp_path / "data", {"scene0000_00": room_scan(0, 3000)})
    table = root / "ScanRefer" / "ScanRefer_filtered_train.json"
    rows = json.loads(table.read_text())
    rows[1]["object_id"] = "77"
    table.write_text(json.dumps(rows))
    out = ("-o", tmp_path / "out", "--quiet")
    train = ("detect", "train", "--task", "grounding", root, "--encoder", "words", "--batch-size", 1, *out)
    assert_one_sentence(fewview(capsys, *train), 2, "scene0000_00", "77")
    run = ("detect", "run", "--task", "grounding", root, "--weights", weights, *out)
    assert_one_sentence(fewview(capsys, *run), 2, "scene0000_00", "77")
    scene = root / "scans" / "scene0000_00"
    (scene / "scene0000_00.txt").unlink()
    told = fewview(capsys, "detect", "ground", scene, "the red chair", "--weights", weights, *out, "--json")
    assert told.code == 0, told.err
    assert "no axis alignment" in told.json["notes"][0]
    (scene / "color").mkdir()
    cv2.imwrite(str(scene / "color" / "0.jpg"), np.zeros((8, 8, 3), np.uint8))
    ground = ("detect", "ground", scene, "the red chair", "--weights", weights, *out)
    assert_one_sentence(fewview(capsys, *ground), 2, "without intrinsics")
    rooms = ("detect", "run", "--task", "indoor", root, "--preset", "tiny", *out)
    assert_one_sentence(fewview(capsys, *rooms), 2, "without intrinsics")


def test_a_run_tells_of_scans_that_are_not_aligned(weights: Path, tmp_path: Path, capsys: Captured) -> None:
    names = [f"scene{i:04d}_00" for i in range(7)]
    root = write_scannet(tmp_path / "data", {name: room_scan(0, 1500) for name in names})
    for name in names:
        (root / "scans" / name / f"{name}.txt").unlink()
    run = ("detect", "run", "--task", "grounding", root, "--weights", weights, "-o", tmp_path / "out", "--json")
    told = fewview(capsys, *run, "--quiet", "--pictures", 0)
    assert told.code == 0, told.err
    *notes, more = told.json["notes"]
    assert len(notes) == 5
    assert all("no axis alignment" in note for note in notes)
    assert "2 more such notes" in more


def test_a_real_frame_of_a_depth_camera(weights: Path, tmp_path: Path, capsys: Captured) -> None:
    info = shared_data("detection_frames") / "sunrgbd" / "sunrgbd_000017_infos.json"
    told = fewview(capsys, "detect", "ground", info, "the bed", "--weights", weights, "-o", tmp_path / "out", "--json")
    assert told.code == 0, told.err
    assert told.json["voxels"]["fine"] > 100
