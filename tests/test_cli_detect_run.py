"""`fewview detect run` keeps what it has found: interrupted, resumed, with bad frames; and its other layouts."""

from __future__ import annotations

import csv
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from fewview.commands import detect_run
from fewview.detect.detector_registry import new_detector
from fewview.detect.measure import Predictor
from fewview.detect.metrics.nuscenes_submission import submission_boxes
from fewview.detect.sparsefusion.model import SparseFusionModel
from fewview.detect.sparsefusion.weight_files import save_weights
from fewview.detect.tasks.driving_picture import frame_picture
from fewview.detect.tasks.driving_samples import NuScenesSamples
from fewview.detect.tasks.driving_task import CLASS_NAMES
from fewview.detect.tasks.scan_arrays import boxes_in_scan
from fewview.scene.boxes import Boxes
from fewview.scene.datasets.lidar_detections import (
    DetectionsFile,
    FrameDetections,
    read_detections,
    write_csv,
    write_kitti,
)
from fewview.scene.errors import BadInputError
from scipy.spatial.transform import Rotation
from support.command import assert_one_sentence, fewview
from support.detection import HEIGHT, SMALLEST, WIDTH, make_sample, random_boxes
from support.nuscenes_folder import write_nuscenes
from support.threads import one_torch_thread as one_torch_thread


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_nuscenes(tmp_path / "data").root


def run(root: Path, out: Path, *others: object) -> tuple[object, ...]:
    return ("detect", "run", root, "--preset", "tiny", "-o", out, "--device", "cpu", "--pictures", 0, "--json", *others)


def submitted(out: Path) -> dict:
    return json.loads((out / "submission.json").read_text())["results"]


def frames(seed: int, count: int = 2) -> list[FrameDetections]:
    random = np.random.default_rng(seed)
    made = []
    for i in range(count):
        boxes = random_boxes(random, 6).to(torch.float64)
        boxes = replace(boxes, scores=torch.from_numpy(random.uniform(0, 1, 6)), point_counts=None)
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_euler("ZYX", [-math.pi / 2, 0.01, 0.02]).as_matrix()
        pose[:3, 3] = [0.9, 0, 1.8]
        made.append(FrameDetections(f"f{i}", 1_000 + i, torch.from_numpy(pose), torch.eye(4).double(), boxes))
    return made


class TestResume:
    def test_an_interrupted_run_goes_on_and_gives_the_same(
        self, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole, part = tmp_path / "whole", tmp_path / "part"
        assert fewview(capsys, *run(root, whole)).code == 0
        add, calls = DetectionsFile.add, []

        def interrupted(self: DetectionsFile, frame: FrameDetections) -> None:
            calls.append(frame.token)
            if len(calls) == 3:
                raise KeyboardInterrupt
            add(self, frame)

        with monkeypatch.context() as patch:
            patch.setattr(DetectionsFile, "add", interrupted)
            outcome = fewview(capsys, *run(root, part))
        assert outcome.code == 130
        assert "the boxes of 2 of 4 frames are in" in outcome.err
        assert "--resume" in outcome.err
        assert not (part / "submission.json").exists()
        assert_one_sentence(fewview(capsys, *run(root, part, "--quiet")), 2, "were not finished", "--resume")
        with (part / "detections.jsonl").open("ab") as file:
            file.write(b'{"token": "cut sh')  # as a crash leaves it
        monkeypatch.setattr(DetectionsFile, "add", lambda self, frame: (calls.append(frame.token), add(self, frame))[1])
        outcome = fewview(capsys, *run(root, part, "--resume"))
        assert outcome.code == 0, outcome.err
        assert len(calls) == 3 + 2  # two frames were left
        assert submitted(part) == submitted(whole)
        assert (part / "detections.jsonl").read_bytes() == (whole / "detections.jsonl").read_bytes()

    def test_another_run_is_not_continued(self, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert fewview(capsys, *run(root, tmp_path / "out")).code == 0
        outcome = fewview(capsys, *run(root, tmp_path / "out", "--resume", "--seed", 5, "--sweeps", 1, "--quiet"))
        assert_one_sentence(outcome, 2, "of another run (sweeps, weights differ)")
        assert submitted(tmp_path / "out")  # what was finished stays

    def test_a_bad_frame_is_skipped_and_tried_again(
        self, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "out"
        bad = sorted((root / "samples" / "LIDAR_TOP").iterdir())[2]
        good = bad.read_bytes()
        bad.write_bytes(good[:-3])
        outcome = fewview(capsys, *run(root, out))
        assert outcome.code == 0, outcome.err
        assert list(outcome.json["skipped"]) == [NuScenesSamples(root).tokens[2]]
        assert "1 of 4 frames could not be used" in outcome.err
        assert bad.name in outcome.err
        token = NuScenesSamples(root).tokens[2]
        assert submitted(out)[token] == []
        assert list(submitted(out)) == list(NuScenesSamples(root).tokens)
        bad.write_bytes(good)
        outcome = fewview(capsys, *run(root, out, "--resume"))
        assert outcome.json["skipped"] == {}
        assert submitted(out)[token]

    @pytest.mark.parametrize("task", ["driving", "indoor"])
    def test_of_an_input_that_is_none_nothing_else_is_said(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], task: str
    ) -> None:
        (tmp_path / "info.json").write_text("[1, 2, 3]")
        typed = ("detect", "run", "--task", task, tmp_path / "info.json", "--preset", "tiny", "-o", tmp_path / "out")
        assert_one_sentence(fewview(capsys, *typed), 2, "info.json")  # not that the weights are random

    def test_nothing_but_bad_frames_is_an_error(
        self, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for path in (root / "samples" / "LIDAR_TOP").iterdir():
            path.write_bytes(b"\0" * 7)
        outcome = fewview(capsys, *run(root, tmp_path / "out", "--quiet"))
        assert_one_sentence(outcome, 2, "cut short or no LiDAR sweep")

    @pytest.mark.parametrize(
        ("text", "match"),
        [
            (b"hello\n", "line 1 is no JSON"),
            (b"{}\n", "does not begin as a file of detections"),
            (b"", "does not begin as a file of detections"),
            (b'{"format": "fewview detections 1"}\n{"boxes": []}\n', "line 2 is no frame"),
            (b'{"format": "fewview detections 1"}\n{"token": "a", "boxes": 3}\n', "line 2, 'boxes', should be a list"),
            (
                b'{"format": "fewview detections 1"}\n{"token": "a", "boxes": [{"class": "cat"}]}\n',
                "should be one of car",
            ),
            (b'{"format": "fewview detections 1"}\n{"token": "a", "boxes": []}\n', "has no 'ego_from_lidar'"),
        ],
    )
    def test_damaged_files(self, tmp_path: Path, text: bytes, match: str) -> None:
        path = tmp_path / "detections.jsonl"
        path.write_bytes(text)
        with pytest.raises(BadInputError, match=match):
            list(read_detections(path, CLASS_NAMES))


class TestLayouts:
    def test_boxes_come_back_and_lead_to_the_same_submission(self, tmp_path: Path) -> None:
        made = frames(0)
        file = DetectionsFile(tmp_path / "d.jsonl", {}, resume=False)
        for frame in made:
            file.add(frame)
        for found, frame in zip(read_detections(file.path, CLASS_NAMES), made, strict=True):
            assert found.token == frame.token
            assert found.timestamp_us == frame.timestamp_us
            for name in ("centers", "sizes", "scores", "velocities", "labels"):
                assert torch.equal(getattr(found.boxes, name), getattr(frame.boxes, name)), name
            # A turn to an angle and back: a few roundings of float64.
            torch.testing.assert_close(found.boxes.yaws, frame.boxes.yaws, atol=1e-12, rtol=0)
            expected = submission_boxes(frame, frame.boxes)
            torch.testing.assert_close(submission_boxes(found, found.boxes).centers, expected.centers)

    def test_csv(self, tmp_path: Path) -> None:
        made = frames(1)
        write_csv(tmp_path / "a.csv", made)
        with (tmp_path / "a.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == 12
        boxes = made[1].boxes
        assert rows[6]["token"] == "f1"
        assert rows[6]["class"] == boxes.name(0)
        found = [
            float(rows[6][key]) for key in ("x", "y", "z", "length", "width", "height", "yaw", "score", "vx", "vy")
        ]
        wanted = [*boxes.centers[0], *boxes.sizes[0], boxes.yaws[0], boxes.scores[0], *boxes.velocities[0, :2]]
        assert found == pytest.approx([float(v) for v in wanted], rel=1e-5)  # six digits are written

    def test_kitti(self, tmp_path: Path) -> None:
        """Corners, rebuilt by KITTI's own definition from the text, are the boxes' corners in its camera's axes."""
        made = frames(2)
        write_kitti(tmp_path / "kitti", made)
        assert [json.loads(line) for line in (tmp_path / "kitti" / "tokens.txt").read_text().splitlines()] == [
            "f0",
            "f1",
        ]
        frame = made[1]
        lines = (tmp_path / "kitti" / "000001.txt").read_text().splitlines()
        assert len(lines) == 6
        axes = np.array([[0, -1, 0], [0, 0, -1], [1, 0, 0]]) @ frame.ego_from_lidar.numpy()[:3, :3]
        for i, line in enumerate(lines):
            words = line.split()
            assert words[0] == frame.boxes.name(i)
            assert words[1:3] == ["-1", "-1"]
            alpha, *_, height, width, length, x, y, z, turn, score = map(float, words[3:])
            assert math.cos(alpha) == pytest.approx(math.cos(turn - math.atan2(x, z)), abs=1e-3)
            assert score == pytest.approx(float(frame.boxes.scores[i]), abs=1e-4)
            around = np.array([[math.cos(turn), 0, math.sin(turn)], [0, 1, 0], [-math.sin(turn), 0, math.cos(turn)]])
            local = [[a * length / 2, b * height, c * width / 2] for a in (-1, 1) for b in (-1, 0) for c in (-1, 1)]
            corners = np.array(local) @ around.T + [x, y, z]
            expected = frame.boxes.corners[i].numpy() @ axes.T
            gaps = np.linalg.norm(corners[:, None] - expected[None], axis=2)
            # The sensor leans by 0.02, which upright boxes of KITTI cannot: up to 0.02 of half a diagonal of 4.4 m.
            assert gaps.min(axis=1).max() < 0.15

    def test_the_command_writes_them(self, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        outcome = fewview(capsys, *run(root, tmp_path / "out", "--formats", "csv", "kitti"))
        assert outcome.code == 0, outcome.err
        assert len((tmp_path / "out" / "detections.csv").read_text().splitlines()) > 1
        assert len(list((tmp_path / "out" / "kitti").glob("0*.txt"))) == 4


class TestArrays:
    def test_boxes_are_those_of_the_data_set(self, root: Path) -> None:
        torch.manual_seed(0)
        detector = new_detector("sparsefusion", "tiny")
        sample = NuScenesSamples(root, sweeps=1)[1]
        expected = Predictor(detector, torch.device("cpu"))(sample)
        found = boxes_in_scan(
            detector,
            sample.points.numpy(),
            list(sample.load_images()),
            sample.cameras.cam_from_world.numpy(),
            sample.cameras.K.numpy(),
        )
        assert torch.equal(found.centers, expected.centers)
        assert torch.equal(found.scores, expected.scores)
        assert isinstance(boxes_in_scan(detector, sample.points[:, :4]), Boxes)  # four columns, no camera

    @pytest.mark.parametrize(
        ("arguments", "match"),
        [
            ((np.zeros((5, 3)),), r"\[P, 4\]"),
            ((np.zeros(5),), "2 dimensions"),
            ((np.full((5, 4), np.nan),), "not finite"),
            ((np.zeros((5, 4)), [np.zeros((4, 4, 3), np.uint8)]), "give both"),
            ((np.zeros((5, 4)), [np.zeros((4, 4, 3))], np.eye(4)[None], np.eye(3)[None]), "uint8"),
            (
                (np.zeros((5, 4)), [np.zeros((4, 4, 3), np.uint8)], np.eye(4)[None], np.zeros((2, 3, 3))),
                "K has the shape",
            ),
        ],
    )
    def test_wrong_arrays_are_one_sentence(self, arguments: tuple, match: str) -> None:
        with pytest.raises(BadInputError, match=match):
            boxes_in_scan(new_detector("sparsefusion", "tiny"), *arguments)


class TestPictures:
    def test_words_and_marks_show(self) -> None:
        sample = make_sample(0)
        boxes = replace(sample.boxes, scores=torch.ones(len(sample.boxes)))
        plain, marked = (frame_picture(sample, boxes, random_weights=flag) for flag in (False, True))
        height = 2 * round(640 * sample.load_images().shape[1] / sample.load_images().shape[2])
        assert np.array_equal(plain[:height], marked[:height])
        red = (marked[height:, :, 0].astype(int) - marked[height:, :, 1]) > 100
        assert red[:, :500].sum() > 200
        # The recording car stands in the middle of the view from above, in black.
        above = plain[:height, 3 * 640 :]
        middle = above[height // 2 - 40 : height // 2 + 40, height // 2 - 40 : height // 2 + 40]
        assert (middle.max(axis=2) < 60).sum() > 40
        # The bar is 20 of 110 m long, and its ends are a few pixels thick.
        bar = above[height - height // 30]
        dark = np.flatnonzero(bar.max(axis=1) < 60)
        dark = dark[dark < height // 2]
        assert dark.max() - dark.min() == pytest.approx(20 / 110 * height, abs=6)

    @pytest.mark.parametrize(("views", "columns"), [(0, 0), (1, 1), (2, 1), (3, 2), (5, 3)])
    def test_any_number_of_photographs(self, views: int, columns: int) -> None:
        sample = make_sample(0)
        images = sample.load_images()[:views]
        sample = replace(sample, cameras=sample.cameras[:views], load_images=lambda: images)
        boxes = replace(sample.boxes, scores=torch.ones(len(sample.boxes)))
        picture = frame_picture(sample, boxes)
        height = round(640 * HEIGHT / WIDTH)
        side = (0, height, 2 * height, 2 * height)[min(views, 3)] or 720
        assert picture.shape[1] == columns * 640 + side
        assert side < picture.shape[0] < side + 120  # and the legend


def test_pictures_of_a_lidar_network_show_photographs_that_are_there(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_weights(tmp_path / "lidar.safetensors", SparseFusionModel(replace(SMALLEST, use_images=False)))
    command = ("detect", "run", root, "--weights", tmp_path / "lidar.safetensors", "--pictures", 1, "--json")
    widths = []
    for out in ("with", "without"):
        outcome = fewview(capsys, *command, "-o", tmp_path / out, "--min-score", 0.9)
        assert outcome.code == 0, outcome.err
        assert outcome.json["skipped"] == {}
        widths.append(cv2.imread(outcome.json["pictures"][0]).shape[1])
        shutil.rmtree(root / "samples" / "CAM_BACK", ignore_errors=True)
    assert widths == [3 * 640 + 720, 720]


def test_random_weights_are_marked(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    marks = []
    draw = detect_run.frame_picture

    def watched(*args: object, random_weights: bool) -> np.ndarray:
        marks.append(random_weights)
        return draw(*args, random_weights=random_weights)

    monkeypatch.setattr(detect_run, "frame_picture", watched)
    out = tmp_path / "out"
    outcome = fewview(capsys, "detect", "run", root, "--preset", "tiny", "-o", out, "--pictures", 1, "--json")
    assert outcome.code == 0, outcome.err
    assert marks == [True]
