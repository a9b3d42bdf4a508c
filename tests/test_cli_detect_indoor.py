"""`fewview detect train | run | eval --task indoor`, on two small rooms."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import safetensors.torch
import torch
from fewview import cli
from fewview.detect.imgeonet.imgeonet_weights import save_imgeonet
from fewview.detect.imgeonet.model import ImGeoNet
from fewview.detect.tasks.indoor_samples import open_rooms
from fewview.learn.efficientnet_lite0 import EfficientNetLite0
from fewview.scene.datasets.scannet_classes import DETECTION_CLASSES
from fewview.scene.errors import BadInputError
from make_rooms import make_rooms
from support.data import shared_data
from support.rooms import small_config
from support.threads import one_torch_thread as one_torch_thread

SMALL = small_config(classes=DETECTION_CLASSES, min_score=0.0, candidates=40)


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("rooms") / "data"
    make_rooms(root, 1, 1, views=6, size=(80, 60), cell_m=0.06)
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    save_imgeonet(path, ImGeoNet(SMALL))
    return path


def run(*words: object) -> int:
    return cli.main(["detect", *map(str, words), "--quiet"])


def test_train_resume_run_and_eval(rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    torch.manual_seed(0)
    backbone = tmp_path / "lite0.safetensors"
    safetensors.torch.save_file(EfficientNetLite0((4, 8, 16, 32)).state_dict(), backbone)
    folder = tmp_path / "run"
    words = ("train", "--task", "indoor", rooms, "-o", folder, "--start", backbone, "--views", 2, "--threads", 1)
    assert run(*words, "--epochs", 1, "--val-split", "val", "--json") == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["finished"]
    assert set(result["losses"]) == {"class", "middle", "box", "occupancy"}
    assert 0 <= result["metrics"]["mAP@0.25"] <= 1
    assert {p.name for p in folder.iterdir()} == {
        "checkpoints", "config.json", "learning_curve.csv", "metrics.json", "rooms.json", "weights.safetensors"
    }  # fmt: skip
    assert run(*words) == 2
    assert "holds a training run already" in capsys.readouterr().err
    assert run(*words, "--epochs", 2, "--resume") == 0
    out = tmp_path / "found"
    words = ("run", "--task=indoor", rooms, "--weights", folder, "--split", "val", "-o", out, "--views", 3)
    assert run(*words, "--threads", 1) == 0
    found = json.loads((out / "rooms.json").read_text())
    assert list(found["rooms"]) == ["scene0001_00"]
    assert cv2.imread(str(out / "pictures" / "scene0001_00.jpg")).shape[1] > 800
    assert run("eval", "--task", "indoor", rooms, out / "rooms.json", "--json") == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["rooms"] == 1
    assert json.loads((out / "rooms_metrics.json").read_text())["mAP@0.25"] == result["mAP@0.25"]


def test_true_boxes_score_one(rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    samples = open_rooms(rooms, DETECTION_CLASSES)
    table = {"task": "indoor", "classes": list(DETECTION_CLASSES), "rooms": {}}
    for token, boxes in samples.truth().items():
        assert len(boxes) > 2
        table["rooms"][token] = [
            {"center": boxes.centers[i].tolist(), "size": boxes.sizes[i].tolist(), "yaw": 0.0, "class": boxes.name(i),
             "score": 0.5}
            for i in range(len(boxes))
        ]  # fmt: skip
    path = tmp_path / "true.json"
    path.write_text(json.dumps(table))
    for more in ((), ("--rotated",)):
        assert run("eval", "--task", "indoor", rooms, path, "--json", *more) == 0
        result = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert result["mAP@0.25"] == result["mAP@0.5"] == 1
        assert result["rooms"] == 2


def test_a_photograph_of_sun_rgbd_is_a_room_of_one_view(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    frame = shared_data("detection_frames") / "sunrgbd"
    (info,) = frame.glob("*.json")
    words = ("run", "--task", "indoor", info, "--weights", weights, "-o", tmp_path, "--json", "--min-score", 0)
    assert run(*words) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["rooms"] == 1
    assert result["boxes"] > 0
    assert len(list((tmp_path / "pictures").iterdir())) == 1


def test_posed_photographs_of_any_reader_are_a_room(weights: Path, rooms: Path, tmp_path: Path):
    scene = rooms / "scans" / "scene0000_00"
    frames = []
    for i in range(3):
        pose = np.loadtxt(scene / "pose" / f"{i}.txt")
        frames.append({"file_path": f"color/{i}.jpg", "transform_matrix": (pose @ np.diag([1, -1, -1, 1])).tolist()})
    K = np.loadtxt(scene / "intrinsic" / "intrinsic_color.txt")
    shutil.copytree(scene / "color", tmp_path / "film" / "color")
    table = {"fl_x": K[0, 0], "fl_y": K[1, 1], "cx": K[0, 2], "cy": K[1, 2], "w": 80, "h": 60, "frames": frames}
    (tmp_path / "film" / "transforms.json").write_text(json.dumps(table))
    out = tmp_path / "found"
    assert run("run", "--task", "indoor", tmp_path / "film", "--weights", weights, "-o", out) == 0
    assert json.loads((out / "rooms.json").read_text())["rooms"]["film"]
    with pytest.raises(BadInputError, match="no split 'val'"):
        open_rooms(tmp_path / "film", DETECTION_CLASSES, "val")


def test_help_tells_of_the_other_task(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        cli.main(["detect", "train", "--help"])
    assert "--task indoor --help" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(SystemExit):
        cli.main(["detect", "train", "--task", "indoor", "--help"])
    assert "ImGeoNet" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["detect", "eval", "--task", "outdoor", "x", "y"])
    assert "indoor" in capsys.readouterr().err
