"""ScanNet's files, ScanRefer's and ReferIt3D's sentences: written, read back, and what is left out on the way."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from fewview.scene.cameras import Cameras
from fewview.scene.datasets.indoor_scan import read_indoor_scan
from fewview.scene.datasets.referit3d import read_referit3d
from fewview.scene.datasets.scannet_classes import LABELS_FILE, class_of
from fewview.scene.datasets.scannet_folder import ScanNet
from fewview.scene.datasets.scannet_scene import read_scannet_scene
from fewview.scene.datasets.sunrgbd_frame import read_sunrgbd
from fewview.scene.errors import BadInputError
from fewview.scene.formats import save_splat
from fewview.scene.geometry import transform_points
from fewview.scene.run import Run
from fewview.scene.splat import StaticSplat
from make_rooms import make_rooms
from support.data import shared_data
from support.grounding import THINGS, room_scan, write_scannet
from support.small_run import small_gaussians

NAME = "scene0000_00"


def alignment() -> np.ndarray:
    matrix = np.eye(4)
    c, s = math.cos(0.6), math.sin(0.6)
    matrix[:2, :2], matrix[:3, 3] = [[c, -s], [s, c]], (1.0, -2.0, 0.3)
    return matrix


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_scannet(tmp_path / "data", {NAME: room_scan(0, 3000)}, alignment())


def test_a_scan_comes_back_in_its_aligned_frame(root: Path) -> None:
    before, data = room_scan(0, 3000), ScanNet.open(root, "train", "scanrefer")
    scan = data[0]
    torch.testing.assert_close(scan.points, before.points, atol=1e-5, rtol=0)
    torch.testing.assert_close(scan.colors, before.colors, atol=1 / 510 + 1e-6, rtol=0)
    assert torch.equal(scan.object_of_point, before.object_of_point)
    torch.testing.assert_close(scan.objects.centers, before.objects.centers, atol=1e-5, rtol=0)
    assert [scan.objects.name(i) for i in range(4)] == [thing[0] for thing in THINGS]
    assert [s.text for s in scan.sentences] == [s.text for s in before.sentences]
    assert scan.sentences[0].kinds == {"multiple", "easy", "view-independent"}
    assert scan.sentences[1].kinds == {"multiple", "easy", "view-dependent"}
    assert scan.sentences[2].kinds == {"unique", "easy", "view-independent"}
    assert scan.aligned
    assert scan.notes == ()


def test_vertices_that_are_not_finite_go_with_a_note(root: Path) -> None:
    from support.grounding import write_vertices

    scan = room_scan(0, 3000)
    points = scan.points.numpy().copy()
    points[::10] = np.nan
    write_vertices(root / "scans" / NAME / f"{NAME}_vh_clean_2.ply", points, scan.colors)
    read, _ = read_scannet_scene(root / "scans" / NAME)
    assert len(read) == len(scan) - len(points[::10])
    assert "not finite" in read.notes[0]


def test_a_scan_without_alignment_says_so(root: Path) -> None:
    (root / "scans" / NAME / f"{NAME}.txt").unlink()
    scan, _ = read_scannet_scene(root / "scans" / NAME)
    assert not scan.aligned
    assert "axis alignment" in scan.notes[0]


def test_objects_annotated_twice_are_one_and_keep_both_numbers(root: Path) -> None:
    path = root / "scans" / NAME / f"{NAME}.aggregation.json"
    table = json.loads(path.read_text())
    table["segGroups"].insert(1, {"id": 9, "objectId": 9, "label": "chair", "segments": [10]})  # as object 0
    table["segGroups"].append({"id": 7, "objectId": 7, "label": "ghost", "segments": [999]})  # of no vertex
    path.write_text(json.dumps(table))
    scan, rows = read_scannet_scene(root / "scans" / NAME)
    assert len(scan.objects) == 4
    assert rows == {0: 0, 9: 0, 1: 1, 2: 2, 3: 3}
    assert scan.objects.tokens == ("0", "1", "2", "3")


def test_sentences_of_referit3d_and_their_difficulties(root: Path) -> None:
    folder = root / "ReferIt3D"
    folder.mkdir()
    (folder / "sr3d.csv").write_text(
        "scan_id,target_id,distractor_ids,utterance,instance_type,anchors_types,anchor_ids,mentions_target_class\n"
        f'{NAME},0,"[1]","the chair, close to the bed",chair,"[\'bed\']","[3]",True\n'
        f'{NAME},1,"[]","that thing",chair,"[]","[]",False\n'
    )
    (folder / "nr3d.csv").write_text(
        "scan_id,target_id,instance_type,utterance,correct_guess\n"
        f"{NAME},1,chair,facing the bed it is the left one,True\n{NAME},2,table,something,False\n"
    )
    sr3d = ScanNet.open(root, sentences="sr3d")[0].sentences
    assert [(s.text, s.target, s.anchors) for s in sr3d] == [("the chair , close to the bed", 0, (3,))]
    assert sr3d[0].kinds == {"multiple", "easy", "view-independent"}
    nr3d = ScanNet.open(root, sentences="nr3d")[0].sentences
    assert [s.kinds for s in nr3d] == [{"multiple", "easy", "view-dependent"}]


@pytest.mark.parametrize(
    ("value", "found"),
    [("[1, 'x']", "anchor_ids"), ("__import__('os').getcwd()", "anchor_ids"), ("[" * 3000, "anchor_ids"), ("[1", "[1")],
)
def test_lists_in_a_table_are_literals_only(tmp_path: Path, value: str, found: str) -> None:
    path = tmp_path / "sr3d.csv"
    path.write_text(f'scan_id,target_id,utterance,instance_type,anchor_ids\n{NAME},0,the bed,bed,"{value}"\n')
    with pytest.raises(BadInputError, match=found.replace("[", r"\[")):
        read_referit3d(path)


def test_words_of_scannet_and_their_classes(root: Path) -> None:
    assert class_of("Office_Chair") == "chair"
    assert class_of("trash can") == "garbage bin"
    assert class_of("lamp") is None
    (root / LABELS_FILE).write_text("id\traw_category\tnyu40id\n1\tsettee\t6\n2\ttrash can\t39\n3\tlamp\t35\n")
    data = ScanNet.open(root)
    assert [data.class_of(word) for word in ("settee", "trash can", "lamp")] == ["sofa", "garbage bin", None]


# ---- what does not fit -------------------------------------------------------------------------------------------


def damaged(root: Path, what: str) -> Path:
    folder = root / "scans" / NAME
    if what == "target that does not exist":
        path = root / "ScanRefer" / "ScanRefer_filtered_train.json"
        rows = json.loads(path.read_text())
        rows[0]["object_id"] = "77"
        path.write_text(json.dumps(rows))
    elif what == "segments":
        (folder / f"{NAME}_vh_clean_2.0.010000.segs.json").write_text('{"segIndices": [1, 2]}')
    elif what in ("segment of words", "segment without bound"):
        path = folder / f"{NAME}_vh_clean_2.0.010000.segs.json"
        table = json.loads(path.read_text())
        table["segIndices"][5] = "7" if what == "segment of words" else 10**30
        path.write_text(json.dumps(table))
    elif what == "alignment":
        (folder / f"{NAME}.txt").write_text("axisAlignment = 1 2 3\n")
    elif what == "skewed":
        (folder / f"{NAME}.txt").write_text("axisAlignment = " + "1 " * 16 + "\n")
    elif what == "sentence":
        path = root / "ScanRefer" / "ScanRefer_filtered_train.json"
        rows = json.loads(path.read_text())
        rows[1]["token"] = [" "]
        rows[1]["description"] = " "
        path.write_text(json.dumps(rows))
    elif what == "intrinsics":
        (folder / "color").mkdir()
        cv2.imwrite(str(folder / "color" / "0.jpg"), np.zeros((8, 8, 3), np.uint8))
    elif what == "cut":
        path = folder / f"{NAME}_vh_clean_2.ply"
        path.write_bytes(path.read_bytes()[:-100])
    return root


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("target that does not exist", "77"),
        ("segments", "one for each vertex"),
        ("segment of words", "whole numbers only"),
        ("segment without bound", "whole numbers only"),
        ("alignment", "16 numbers"),
        ("skewed", "no rigid motion"),
        ("sentence", "empty sentence"),
        ("intrinsics", "without intrinsics"),
        ("cut", "cut short"),
    ],
)
def test_what_does_not_fit_is_one_sentence(root: Path, what: str, said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        ScanNet.open(damaged(root, what), "train", "scanrefer")[0]


def test_folders_without_scenes_or_lists(root: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no scene of ScanNet"):
        ScanNet.open(tmp_path / "data" / "ScanRefer")
    with pytest.raises(BadInputError, match="scannetv2_val"):
        ScanNet.open(root, "val")
    with pytest.raises(BadInputError, match="unknown"):
        ScanNet.open(root, "most")


# ---- generated rooms, and a real frame ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "rooms"
    make_rooms(out, 1, 1, views=6, size=(64, 48), cell_m=0.05, seed=3)
    return out


def test_generated_rooms_are_read_as_scannet_is(made: Path) -> None:
    train, val = ScanNet.open(made, "train", "scanrefer"), ScanNet.open(made, "val", "scanrefer")
    assert (train.names, val.names) == (("scene0000_00",), ("scene0001_00",))
    scan = train[0]
    assert len(scan.frames) == 6
    assert scan.sentences
    assert {kind for s in scan.sentences for kind in s.kinds} >= {"view-dependent", "unique"}
    inside = scan.object_of_point >= 0
    own = scan.objects[scan.object_of_point[inside]]
    assert bool(((scan.points[inside] - own.centers).abs() <= own.sizes / 2 + 1e-4).all())


def test_poses_and_depth_of_generated_views_show_the_scan(made: Path) -> None:
    scan = ScanNet.open(made, "train")[0]
    for view in (0, 3):
        camera, frame = scan.cameras[view], scan.frames[view]
        depth = torch.from_numpy(frame.load_depth())
        v, u = torch.nonzero(depth > 0, as_tuple=True)
        rays = torch.stack([u + 0.5, v + 0.5, torch.ones(len(u))], dim=1) @ torch.linalg.inv(camera.K).T
        points = transform_points(camera.world_from_cam, rays * depth[v, u][:, None])
        away = torch.cdist(points[::7], scan.points).amin(1)
        # Most of what a view shows is in the scan; grazing and holed surfaces are not.
        assert float((away < 0.08).float().mean()) > 0.7


def test_the_same_seed_makes_the_same_rooms(made: Path, tmp_path: Path) -> None:
    make_rooms(tmp_path / "again", 1, 0, views=6, size=(64, 48), cell_m=0.05, seed=3)
    for name in ("scene0000_00_vh_clean_2.ply", "scene0000_00.txt", "color/2.jpg", "pose/3.txt"):
        mine, first = (folder / "scans" / "scene0000_00" / name for folder in (tmp_path / "again", made))
        assert mine.read_bytes() == first.read_bytes(), name


def test_a_real_frame_of_sun_rgbd() -> None:
    path = shared_data("detection_frames") / "sunrgbd" / "sunrgbd_000017_infos.json"
    scan = read_sunrgbd(path)
    assert len(scan) == 50_000
    assert scan.colors is not None
    assert 0 <= float(scan.colors.min()) <= float(scan.colors.max()) <= 1
    assert isinstance(scan.cameras, Cameras)
    projection = scan.cameras.K[0] @ scan.cameras.cam_from_world[0, :3, :3]
    table = json.loads(path.read_text())["data_list"][0]["images"]["CAM0"]["depth2img"]
    expected = torch.tensor(table)
    torch.testing.assert_close(projection / projection.norm(), expected / expected.norm(), atol=1e-5, rtol=1e-4)
    # The photograph's colours at the pixels of the points are those of the points.
    pixels = (scan.points @ projection.T)[:, :2] / (scan.points @ projection.T)[:, 2:]
    image = torch.from_numpy(scan.frames[0].load().copy()).float() / 255
    inside = (pixels > 0).all(1) & (pixels < torch.tensor([730, 530])).all(1)
    at = pixels[inside].long()
    assert float((image[at[:, 1], at[:, 0]] - scan.colors[inside]).abs().median()) < 0.1
    assert [scan.objects.name(i) for i in range(len(scan.objects))] == ["dresser", "bed"][::-1] or len(
        scan.objects
    ) == 2
    assert read_indoor_scan(path).name == scan.name


def test_points_of_a_person_need_an_axis_and_a_run_its_scale(tmp_path: Path) -> None:
    from support.grounding import write_vertices

    scan = room_scan(0, 3000)
    write_vertices(tmp_path / "room.ply", scan.points.numpy()[:, [0, 2, 1]] * (1, 1, -1), None)
    read = read_indoor_scan(tmp_path / "room.ply", "y", 2.0)
    assert read.colors is None
    assert "no colours" in read.notes[-1]
    height = read.points[:, 2]
    assert float(height.max() - height.min()) == pytest.approx(2 * 3.0, abs=0.1)
    with pytest.raises(BadInputError, match="no axis"):
        read_indoor_scan(tmp_path / "room.ply", "up")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    with pytest.raises(BadInputError, match="--scale"):
        read_indoor_scan(tmp_path / "run")
    with pytest.raises(BadInputError, match="no scan"):
        read_indoor_scan(tmp_path / "run" / "nothing.ply")


def test_the_surface_of_a_run_is_made_of_gaussians_that_are_hardly_opaque(tmp_path: Path) -> None:
    opacities = torch.cat([torch.full((90,), 0.15), torch.full((10,), 0.6), torch.full((40,), 0.02)])
    faint = replace(small_gaussians(140), opacity_logits=torch.logit(opacities))
    run = Run.create(tmp_path / "run", {})
    save_splat(run.splat_path, StaticSplat(faint))
    scan = read_indoor_scan(run.path, scale=2.0)
    assert len(scan) == 100
    assert "reconstruction" in scan.notes[0]
    save_splat(run.splat_path, StaticSplat(faint[100:]))
    with pytest.raises(BadInputError, match="no surface"):
        read_indoor_scan(run.path, scale=2.0)
