"""Rooms, weights and files of boxes that cannot be used: one sentence each."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import safetensors.torch
import torch
from fewview import cli
from fewview.detect.imgeonet.imgeonet_weights import load_imgeonet, save_imgeonet
from fewview.detect.imgeonet.model import ImGeoNet
from fewview.detect.imgeonet.room_preparation import RoomPreparation
from fewview.detect.metrics.indoor_results import read_indoor_results
from fewview.detect.tasks.indoor_samples import open_rooms
from fewview.detect.tasks.indoor_task import in_classes
from fewview.detect.tasks.room_sample import room_sample
from fewview.scene.boxes import Boxes
from fewview.scene.cameras import Cameras
from fewview.scene.errors import BadInputError
from fewview.scene.scan import Scan
from support.rooms import SMALLEST_ROOMS, made_room

GOOD = {"center": [0, 0, 1], "size": [1, 1, 1], "yaw": 0.0, "class": "bed", "score": 0.5}


def _results(path: Path, entry: object = GOOD, **changes: object) -> Path:
    table = {"task": "indoor", "classes": ["chair", "bed"], "rooms": {"a": [entry], "b": []}, **changes}
    path.write_text(json.dumps(table))
    return path


def test_a_good_file_of_boxes_is_read(tmp_path: Path):
    found = read_indoor_results(_results(tmp_path / "rooms.json"))
    assert {token: len(boxes) for token, boxes in found.items()} == {"a": 1, "b": 0}
    assert found["a"].labels.tolist() == [1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"task": "driving"}, "has 'driving' as task; \"indoor\" is expected"),
        ({"classes": []}, "classes; one name or more"),
        ({"classes": ["bed", "bed"]}, "all different"),
        ({"rooms": []}, "as rooms; an object"),
        ({"entry": {**GOOD, "class": "lamp"}}, r"rooms\.a\[0\]\.class; one of the file's classes"),
        ({"entry": {**GOOD, "size": [1, 0, 1]}}, r"size; three numbers above 0"),
        ({"entry": {**GOOD, "center": [1, 2]}}, "a list of 3 numbers"),
        ({"entry": {**GOOD, "score": "high"}}, r"rooms\.a\[0\]\.score; a number is expected"),
        ({"entry": {k: v for k, v in GOOD.items() if k != "yaw"}}, r"has no rooms\.a\[0\]\.yaw"),
        ({"entry": 5}, r"rooms\.a\[0\]"),
    ],
)
def test_files_of_boxes_that_do_not_fit(tmp_path: Path, change: dict, words: str):
    with pytest.raises(BadInputError, match=words):
        read_indoor_results(_results(tmp_path / "rooms.json", **change))


def test_absent_and_broken_files_of_boxes(tmp_path: Path):
    with pytest.raises(BadInputError, match="cannot be read"):
        read_indoor_results(tmp_path / "none.json")
    (tmp_path / "half.json").write_text('{"task": "indoor", "rooms": {')
    with pytest.raises(BadInputError):
        read_indoor_results(tmp_path / "half.json")
    whole = _results(tmp_path / "rooms.json").read_text()
    (tmp_path / "nan.json").write_text(whole.replace("0.5", "NaN"))
    with pytest.raises(BadInputError):
        read_indoor_results(tmp_path / "nan.json")


def test_a_scan_without_photographs():
    scan = Scan("attic", torch.rand(10, 3))
    with pytest.raises(BadInputError, match="attic has no photographs with a pose and intrinsics"):
        room_sample(scan, ("bed",))


def test_a_room_keeps_the_notes_of_its_scan():
    room = made_room()
    scan = Scan("attic", torch.rand(10, 3), frames=room.frames, cameras=room.cameras, notes=("no axis alignment",))
    assert room_sample(scan, ("bed",)).notes == ("no axis alignment",)


def test_classes_that_the_network_never_saw_are_left_out():
    names = ("anvil", "Office_Chair", "BED")
    boxes = Boxes.upright(torch.zeros(3, 3), torch.ones(3, 3), torch.zeros(3), torch.arange(3), names)
    found = in_classes(boxes, ("bed", "chair"))
    assert [found.name(i) for i in range(len(found))] == ["chair", "bed"]
    assert len(in_classes(boxes[:1], ("bed",))) == 0
    outside = replace(boxes, labels=torch.tensor([-1, -1, 2]))
    assert len(in_classes(outside, ("bed", "chair"))) == 1


def test_cameras_that_are_no_numbers():
    room = made_room()
    poses = room.cameras.cam_from_world.clone()
    poses[2, 0, 3] = torch.nan
    broken = replace(room, cameras=replace(room.cameras, cam_from_world=poses))
    with pytest.raises(BadInputError, match=r"The camera of 2\.png in room-0"):
        RoomPreparation(SMALLEST_ROOMS).read(broken)
    none = replace(room, frames=(), cameras=room.cameras[torch.zeros(0, dtype=torch.int64)])
    with pytest.raises(BadInputError, match="no photographs with a pose"):
        RoomPreparation(SMALLEST_ROOMS).read(none)


def test_photographs_of_another_size_than_their_camera_says():
    room = made_room()
    cameras = Cameras(room.cameras.cam_from_world, room.cameras.K, room.cameras.width * 2, room.cameras.height)
    preparation = RoomPreparation(SMALLEST_ROOMS)
    with pytest.raises(BadInputError, match="has 64 x 48 pixels, its camera says 128 x 48"):
        preparation.prepare(preparation.read(replace(room, cameras=cameras)))


def test_training_without_any_depth():
    room = made_room()
    blind = replace(room, frames=tuple(replace(f, load_depth=None) for f in room.frames))
    preparation = RoomPreparation(SMALLEST_ROOMS)
    with pytest.raises(BadInputError, match="have no depth, from which the occupancy"):
        preparation.prepare(preparation.read(blind), np.random.default_rng(0))
    assert preparation.prepare(preparation.read(blind)).depths is None


def test_photographs_without_cameras(tmp_path: Path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(3):
        cv2.imwrite(str(folder / f"{i}.jpg"), np.full((40, 60, 3), 40 * i, np.uint8))
    with pytest.raises(BadInputError, match="have no cameras"):
        open_rooms(folder, ("bed",))


def test_weights_that_are_no_imgeonet(tmp_path: Path):
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file({"a": torch.zeros(3)}, path)
    with pytest.raises(BadInputError, match="holds no ImGeoNet of ours"):
        load_imgeonet(path)
    save_imgeonet(path, ImGeoNet(SMALLEST_ROOMS))
    state = safetensors.torch.load_file(path)
    with safetensors.safe_open(path, "pt") as file:
        metadata = file.metadata()
    state["head.scales"][0] = torch.nan
    safetensors.torch.save_file(state, path, metadata)
    with pytest.raises(BadInputError, match=r"holds values in 'head\.scales' that are not finite"):
        load_imgeonet(path)
    for field, value in (("image_backbone", "vgg"), ("voxel_m", "wide"), ("rooms", 3), ("voxels", [1, 2, 3])):
        config = {**json.loads(metadata["imgeonet_config"]), field: value}
        safetensors.torch.save_file(state, path, {"imgeonet_config": json.dumps(config)})
        with pytest.raises(BadInputError, match="its config"):
            load_imgeonet(path)


@pytest.mark.parametrize(
    "words",
    [
        ("run", "--views", "0"),
        ("run", "--min-score", "2"),
        ("run", "--pictures", "-1"),
        ("train", "--epochs", "0"),
        ("train", "--views", "0"),
    ],
)
def test_numbers_that_cannot_be(words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["detect", words[0], "--task", "indoor", str(tmp_path), *words[1:]]) == 2
    assert f"{words[1]} {words[2]} cannot be used" in capsys.readouterr().err
