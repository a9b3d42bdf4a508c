"""The reader of nuScenes-format folders against formulas written down again in NumPy, and against real data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fewview.render.point_colors import project_points
from fewview.scene.datasets.mmdet3d_info import read_info
from fewview.scene.datasets.nuscenes_classes import DETECTION_NAMES, as_detection_classes
from fewview.scene.datasets.nuscenes_log import CAMERA_ORDER, NuScenes
from fewview.scene.datasets.nuscenes_tables import velocities
from fewview.scene.driving import DrivingFrame
from support.data import shared_data
from support.nuscenes_folder import (
    CAMERA_LAGS_US,
    CHANNELS,
    FOCAL_PX,
    HEIGHT,
    OBJECTS,
    START_US,
    STEP_US,
    WIDTH,
    Drive,
    box_at,
    ego_pose,
    pose_matrix,
    sensor_pose,
    sweep_points,
    write_nuscenes,
)

# Frames are 30 m wide and in float32, whose step there is 2e-6 m; a few operations are between.
METRES = 2e-5


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Drive:
    return write_nuscenes(tmp_path_factory.mktemp("nuscenes"))


@pytest.fixture(scope="module")
def data(drive: Drive) -> NuScenes:
    return NuScenes(drive.root)


def _time_us(index: int) -> tuple[int, int]:
    """(scene, time) of the sample with a number."""
    scene, i = divmod(index, 2)
    return scene, START_US + 100_000_000 * scene + i * STEP_US


def _global_from_lidar(index: int) -> np.ndarray:
    return pose_matrix(*ego_pose(*_time_us(index))) @ pose_matrix(*sensor_pose("LIDAR_TOP"))


def test_samples_are_listed_by_scene_and_time(drive: Drive, data: NuScenes) -> None:
    assert list(data.tokens) == drive.tokens
    assert [data.index(t) for t in drive.tokens] == [0, 1, 2, 3]
    frames = [data.frame(i) for i in range(4)]
    assert [f.timestamp_us for f in frames] == [_time_us(i)[1] for i in range(4)]
    assert [f.title for f in frames] == [f"scene-{i // 2:04d}, key frame {i % 2 + 1}" for i in range(4)]
    assert frames[3].token == data.frame(drive.tokens[3]).token == drive.tokens[3]


@pytest.mark.parametrize("index", range(4))
def test_cameras_account_for_the_motion_between_their_shutters_and_the_sweep(data: NuScenes, index: int) -> None:
    frame = data.frame(index)
    assert frame.capture.names == list(CAMERA_ORDER)
    cameras = frame.capture.cameras
    assert cameras is not None
    scene, time_us = _time_us(index)
    for i, channel in enumerate(frame.capture.names):
        lag_us = CAMERA_LAGS_US[CHANNELS.index(channel)]
        global_from_cam = pose_matrix(*ego_pose(scene, time_us + lag_us)) @ pose_matrix(*sensor_pose(channel))
        expected = np.linalg.inv(global_from_cam) @ _global_from_lidar(index)
        np.testing.assert_allclose(cameras.cam_from_world[i].numpy(), expected, atol=METRES)
        assert cameras.K[i, 0].tolist() == [FOCAL_PX, 0, WIDTH / 2 + 1.25]
        assert frame.capture.image(i).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("index", range(4))
def test_boxes_stand_in_the_frame_of_the_sweep(data: NuScenes, index: int) -> None:
    frame = data.frame(index)
    truth = frame.truth
    assert truth is not None
    scene, time_us = _time_us(index)
    lidar_from_global = np.linalg.inv(_global_from_lidar(index))
    np.testing.assert_allclose(torch.linalg.inv(frame.global_from_lidar).numpy(), lidar_from_global, atol=1e-9)
    for i, thing in enumerate(OBJECTS):
        lidar_from_box = lidar_from_global @ pose_matrix(*box_at(scene, thing, time_us))
        w, length, h = thing.size_wlh
        np.testing.assert_allclose(truth.centers[i].numpy(), lidar_from_box[:3, 3], atol=METRES)
        np.testing.assert_allclose(truth.rotations[i].numpy(), lidar_from_box[:3, :3], atol=1e-6)  # float32
        np.testing.assert_allclose(truth.sizes[i].numpy(), [length, w, h], rtol=1e-6)  # float32
        assert truth.velocities is not None
        turned = lidar_from_global[:3, :3] @ [*thing.velocity, 0.0]
        np.testing.assert_allclose(truth.velocities[i].numpy(), turned, atol=1e-5)  # metres over half a second
        assert truth.name(i) == thing.category
        assert truth.attributes is not None
        assert truth.attributes[i] == thing.attribute
    assert truth.point_counts is not None
    assert truth.point_counts.tolist() == [[thing.points, 0] for thing in OBJECTS]


def test_points_lie_in_the_boxes_that_count_them(data: NuScenes) -> None:
    frame = data.frame(2)
    assert frame.truth is not None
    found = frame.truth.contains(frame.points.xyz)
    start = 0
    for i, thing in enumerate(OBJECTS):
        assert found[i, start : start + thing.points].all(), thing.category
        start += thing.points
    assert not found[:, start:].any()  # the road


def test_sweeps_are_moved_by_how_far_the_car_went(data: NuScenes) -> None:
    frame = data.frame(1, sweeps=10)  # there are only four
    scene, time_us = _time_us(1)
    lags_us = [0, 150_000, 300_000, 500_000]
    count = len(frame.points) // 4
    lidar_from_global = np.linalg.inv(_global_from_lidar(1))
    for k, lag_us in enumerate(lags_us):
        part = frame.points[slice(k * count, (k + 1) * count)]
        assert part.lag_s.unique().tolist() == pytest.approx([lag_us / 1e6])
        world = sweep_points(scene, time_us - lag_us)
        expected = world @ lidar_from_global[:3, :3].T + lidar_from_global[:3, 3]
        np.testing.assert_allclose(part.xyz.numpy(), expected, atol=METRES)
    assert len(data.frame(1, sweeps=2).points) == 2 * count
    assert len(data.frame(0, sweeps=5).points) == count  # a chain ends at its scene's start


def test_velocities_follow_the_devkit() -> None:
    """Centred where there are two neighbours, one-sided at the ends, unknown beyond 1.5 s and for a lone annotation."""
    times = np.array([0, 1_000_000, 2_000_000, 3_800_000, 0], np.int64)
    centers = np.array([[0.0, 0, 0], [1, 0, 0], [4, 2, 0], [5, 2, 0], [9, 9, 9]])
    before, after = np.array([-1, 0, 1, 2, -1]), np.array([1, 2, 3, -1, -1])
    velocity = velocities(centers, times, before, after)
    np.testing.assert_allclose(velocity[0], [1, 0, 0])
    np.testing.assert_allclose(velocity[1], [2, 1, 0])
    np.testing.assert_allclose(velocity[2], np.array([4, 2, 0]) / 2.8)
    assert np.isnan(velocity[3]).all()  # 1.8 s to its only neighbour
    assert np.isnan(velocity[4]).all()


def test_detection_classes_merge_categories(data: NuScenes) -> None:
    boxes = as_detection_classes(data.boxes(0))
    assert boxes.names == DETECTION_NAMES
    merged = ["car", "pedestrian", "barrier", "bicycle", "other", "traffic_cone", "bus"]
    assert [boxes.name(i) for i in range(len(boxes))] == merged
    assert as_detection_classes(boxes).labels.tolist() == boxes.labels.tolist()


def test_a_folder_without_annotations_is_a_test_split(tmp_path: Path) -> None:
    drive = write_nuscenes(tmp_path, "v1.0-test")
    for name in ("sample_annotation", "instance"):
        drive.tables[name] = []
    drive.rewrite("sample_annotation", "instance")
    frame = NuScenes(tmp_path).frame(0)
    assert frame.truth is None  # the official test split has empty tables
    assert "no annotations" in NuScenes(tmp_path).log().notes[0]
    (drive.folder / "sample_annotation.json").unlink()
    log = NuScenes(drive.folder).log()
    assert log[0].truth is None
    assert "no annotations" in log.notes[0]


def _real() -> tuple[DrivingFrame, DrivingFrame]:
    folder = shared_data("nuscenes_frame")
    info = next(folder.glob("n015-*.json"))
    return NuScenes(folder / "v1.0-tables").frame(0), read_info(info)[0]


def test_real_tables_agree_with_the_info_file_of_another_code() -> None:
    """MMDetection3D composed the same poses from the same tables, and stored them as float32."""
    ours, theirs = _real()
    assert ours.token == theirs.token
    assert ours.timestamp_us == theirs.timestamp_us
    assert ours.capture.names == theirs.capture.names
    a, b = ours.capture.cameras, theirs.capture.cameras
    assert a is not None
    assert b is not None
    torch.testing.assert_close(a.cam_from_world, b.cam_from_world, rtol=0, atol=1e-5)
    torch.testing.assert_close(a.K, b.K)
    # 1200 m from the origin float32 has steps of 1.2e-4 m.
    torch.testing.assert_close(ours.global_from_lidar, theirs.global_from_lidar, rtol=0, atol=2e-4)


def test_real_boxes_hold_the_points_that_the_data_set_counted() -> None:
    """Exactly, but where a face cuts through points: the info file keeps the yaw only, the car leans by 2 degrees."""
    _, frame = _real()
    assert frame.truth is not None
    assert frame.truth.point_counts is not None
    counted = frame.truth.point_counts[:, 0]
    found = frame.truth.contains(frame.points.xyz).sum(dim=1)
    assert len(counted) == 69
    off = (found - counted).abs()
    assert bool((off <= (0.1 * counted).clamp_min(2)).all())
    assert int((off > 0).sum()) <= 8  # of 69


def test_real_points_fall_on_what_reflects_them() -> None:
    """The points in the parked truck's box are where the photograph shows the truck."""
    frame, boxes = _real()
    assert boxes.truth is not None
    assert frame.capture.cameras is not None
    truck = next(i for i in range(len(boxes.truth)) if boxes.truth.name(i) == "truck" and boxes.truth.sizes[i, 0] > 10)
    inside = boxes.truth[truck].contains(frame.points.xyz)[0]
    pixels, depth = project_points(
        frame.points.xyz[inside], frame.capture.cameras[frame.capture.names.index("CAM_FRONT")]
    )
    assert (depth > 5).all()
    # Where the white truck stands in the photograph, read off it by eye.
    assert (pixels.min(axis=0) > [100, 200]).all()
    assert (pixels.max(axis=0) < [600, 660]).all()
