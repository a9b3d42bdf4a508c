"""ARKitScenes' files, made by the test: boxes with a yaw, the mesh, and posed photographs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from fewview.detect.tasks.indoor_samples import open_rooms
from fewview.detect.tasks.indoor_task import ARKIT_CLASSES
from fewview.scene.datasets.arkit_scenes import ARKitScenes, read_arkit_scene
from fewview.scene.datasets.indoor_scan import read_indoor_scan
from fewview.scene.errors import BadInputError
from fewview.scene.geometry import transform_points
from scipy.spatial.transform import Rotation
from support.grounding import room_scan, write_vertices

WIDTH, HEIGHT, FOCAL = 32, 24, 20.0
YAW, CENTER, LENGTHS = 0.4, (1.0, -0.5, 0.6), (1.2, 0.7, 1.0)
TIMES = ("10.017", "10.117", "10.217", "10.900")  # the last one has no pose
NAMES = ("tv-monitor", "sofa", "lamp")


def poses() -> list[np.ndarray]:
    """cam_from_world of the first three photographs."""
    made = []
    for i in range(3):
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_euler("xz", [1.8, 0.3 * i]).as_matrix()
        pose[:3, 3] = (0.1 * i, 0.2, 2.0)
        made.append(pose)
    return made


def write_scene(root: Path, split: str, name: str) -> Path:
    folder = root / "3dod" / split / name
    frames = folder / f"{name}_frames"
    for part in ("lowres_wide", "lowres_depth", "lowres_wide_intrinsics"):
        (frames / part).mkdir(parents=True)
    c, s = math.cos(YAW), math.sin(YAW)
    # The rows are the axes, here with the vertical one first, as their order is not always x, y, z.
    axes = [0, 0, 1, c, s, 0, -s, c, 0]
    box = {"centroid": CENTER, "axesLengths": [LENGTHS[2], *LENGTHS[:2]], "normalizedAxes": axes}
    rows = [{"uid": f"object{i}", "label": label, "segments": {"obbAligned": box}} for i, label in enumerate(NAMES)]
    (folder / f"{name}_3dod_annotation.json").write_text(json.dumps({"data": rows, "skipped": False}))
    scan = room_scan(0, 900)
    write_vertices(folder / f"{name}_3dod_mesh.ply", scan.points.numpy(), scan.colors)
    lines = []
    for time, pose in zip(TIMES, poses(), strict=False):
        turn = Rotation.from_matrix(pose[:3, :3]).as_rotvec()
        lines.append(" ".join(str(v) for v in (float(time) + 0.0004, *turn, *pose[:3, 3])))
    (frames / "lowres_wide.traj").write_text("\n".join(lines) + "\n")
    for i, time in enumerate(TIMES):
        stem = f"{name}_{time}"
        cv2.imwrite(str(frames / "lowres_wide" / f"{stem}.png"), np.full((HEIGHT, WIDTH, 3), 40 * i, np.uint8))
        cv2.imwrite(str(frames / "lowres_depth" / f"{stem}.png"), np.full((HEIGHT, WIDTH), 1500, np.uint16))
        numbers = f"{WIDTH} {HEIGHT} {FOCAL} {FOCAL + 1} 15.5 11.5"
        (frames / "lowres_wide_intrinsics" / f"{stem}.pincam").write_text(numbers)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_scene(tmp_path, "Training", "40753679")
    write_scene(tmp_path, "Validation", "41069021")
    return tmp_path


def test_a_scene_has_its_boxes_photographs_and_mesh(root: Path) -> None:
    scan = ARKitScenes.open(root, "train").scan("40753679")
    assert len(scan) == len(room_scan(0, 900))
    assert scan.colors is not None
    assert scan.objects is not None
    assert scan.objects.names == ("tv monitor", "sofa", "lamp")
    torch.testing.assert_close(scan.objects.centers[0], torch.tensor(CENTER))
    torch.testing.assert_close(scan.objects.sizes[0], torch.tensor(LENGTHS))
    torch.testing.assert_close(scan.objects.quats[0], torch.tensor([math.cos(YAW / 2), 0, 0, math.sin(YAW / 2)]))
    # A corner of the box by the release's formula: the centre plus the transposed axes times half the lengths.
    axes = np.array([[0, 0, 1], [math.cos(YAW), math.sin(YAW), 0], [-math.sin(YAW), math.cos(YAW), 0]])
    corner = np.array(CENTER) + axes.T @ (np.array([LENGTHS[2], *LENGTHS[:2]]) / 2)
    away = (scan.objects.corners[0] - torch.from_numpy(corner).float()).norm(dim=1)
    assert float(away.min()) < 1e-5
    assert scan.cameras is not None
    assert len(scan.frames) == 3
    assert "1 of 4 photographs" in scan.notes[0]
    torch.testing.assert_close(scan.cameras.cam_from_world, torch.from_numpy(np.stack(poses())).float())
    K = torch.tensor([[FOCAL, 0, 15.5], [0, FOCAL + 1, 11.5], [0, 0, 1]])
    torch.testing.assert_close(scan.cameras.K[2], K)
    assert int(scan.frames[1].load()[0, 0, 0]) == 40
    assert float(scan.frames[1].load_depth()[3, 4]) == pytest.approx(1.5)
    # The translation is that of the world in the camera's frame.
    seen = transform_points(scan.cameras.cam_from_world[2], torch.zeros(1, 3))[0]
    torch.testing.assert_close(seen, torch.tensor([0.2, 0.2, 2.0]))


def test_rooms_of_a_split_are_samples_with_the_seventeen_classes(root: Path) -> None:
    assert open_rooms(root, ARKIT_CLASSES).tokens == ("40753679", "41069021")
    rooms = open_rooms(root, ARKIT_CLASSES, "val")
    assert rooms.tokens == ("41069021",)
    room = rooms[0]
    assert room.boxes is not None
    assert [room.boxes.name(i) for i in range(len(room.boxes))] == ["tv monitor", "sofa"]  # a lamp is none of them
    assert room.photograph(1).shape == (HEIGHT, WIDTH, 3)
    assert len(read_indoor_scan(root / "3dod" / "Training" / "40753679")) == len(room_scan(0, 900))


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("traj", "seven numbers"),
        ("pincam", "six numbers"),
        ("no pincam", "intrinsics"),
        ("axes", "not upright"),
        ("lengths", "positive metres"),
        ("label", "label"),
        ("name", "named by its time"),
    ],
)
def test_what_does_not_fit_is_one_sentence(root: Path, what: str, said: str) -> None:
    folder = root / "3dod" / "Training" / "40753679"
    frames = folder / f"{folder.name}_frames"
    annotation = folder / f"{folder.name}_3dod_annotation.json"
    table = json.loads(annotation.read_text())
    box = table["data"][1]["segments"]["obbAligned"]
    first = next((frames / "lowres_wide_intrinsics").glob("*10.017.pincam"))
    if what == "traj":
        (frames / "lowres_wide.traj").write_text("1 2 3\n")
    elif what == "pincam":
        first.write_text("32 24 0 20 15 11")
    elif what == "no pincam":
        first.unlink()
    elif what == "axes":
        box["normalizedAxes"] = [1, 0, 0, 0, 0.6, 0.8, 0, -0.8, 0.6]
    elif what == "lengths":
        box["axesLengths"] = [1, -1, 1]
    elif what == "label":
        del table["data"][1]["label"]
    else:
        (frames / "lowres_wide" / f"{folder.name}_first.png").touch()
    annotation.write_text(json.dumps(table))
    with pytest.raises(BadInputError, match=said):
        read_arkit_scene(folder)


def test_folders_without_such_scenes(root: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no split 'test'"):
        ARKitScenes.open(root, "test")
    with pytest.raises(BadInputError, match="no scene of ARKitScenes"):
        ARKitScenes.open(root / "3dod" / "Training")
