"""Input and output of a detector on a data set, against formulas written down again."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fewview.detect.metrics.nuscenes_metric import NuScenesMetric
from fewview.detect.metrics.nuscenes_submission import MAX_BOXES, read_submission, submission_boxes, write_submission
from fewview.detect.tasks.driving_sample import DrivingSample
from fewview.detect.tasks.driving_samples import NuScenesSamples
from fewview.detect.tasks.driving_task import CLASS_NAMES
from fewview.detect.tasks.nuscenes_splits import scene_names, split_samples
from fewview.detect.tasks.sample_of_frame import sample_of
from fewview.scene.boxes import Boxes
from fewview.scene.datasets.mmdet3d_info import read_info
from fewview.scene.datasets.nuscenes_classes import DETECTION_NAMES
from fewview.scene.datasets.nuscenes_log import CAMERA_ORDER, NuScenes
from support.data import shared_data
from support.generated import generate
from support.nuscenes_folder import HEIGHT, OBJECTS, POINTS_PER_BOX, WIDTH, Drive, write_nuscenes
from torch.utils.data import DataLoader

# Positions of some 60 m in float32, whose step there is 4e-6 m, through two changes of frame.
METRES = 1e-4


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Drive:
    return write_nuscenes(tmp_path_factory.mktemp("nuscenes"))


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> NuScenesSamples:
    return NuScenesSamples(generate(tmp_path_factory.mktemp("generated") / "data"))


class TestSample:
    def test_points_have_five_columns_and_the_key_sweep_comes_first(self, drive: Drive) -> None:
        data = NuScenesSamples(drive.root)
        sample, frame = data[1], NuScenes(drive.root).frame(1, sweeps=11)
        assert sample.points.dtype == torch.float32
        assert sample.points.shape == (len(frame.points), 5)
        key = len(NuScenes(drive.root).frame(1).points)
        assert (sample.points[:key, 4] == 0).all()
        assert (sample.points[key:, 4] > 0).all()
        torch.testing.assert_close(sample.points[:, :3], frame.points.xyz)
        assert sample.points[:key, 3].tolist() == [float(i % 256) for i in range(key)]
        assert len(NuScenesSamples(drive.root, sweeps=1)[1].points) == 2 * key
        assert len(NuScenesSamples(drive.root, sweeps=0)[1].points) == key

    def test_boxes_are_those_to_learn_from(self, drive: Drive) -> None:
        boxes = NuScenesSamples(drive.root)[0].boxes
        assert boxes is not None
        assert boxes.names == CLASS_NAMES
        # The rack is of no class, and no point has hit the cone.
        assert [boxes.name(i) for i in range(len(boxes))] == ["car", "pedestrian", "barrier", "bicycle", "bus"]
        assert NuScenesSamples(drive.root)[0].num_lidar_pts.tolist() == [POINTS_PER_BOX] * 5
        assert not boxes.velocities.isnan().any()

    def test_unknown_velocities_are_zero(self, tmp_path: Path) -> None:
        drive = write_nuscenes(tmp_path / "data")
        for row in drive.tables["sample_annotation"]:
            row["prev"] = row["next"] = ""
        drive.rewrite("sample_annotation")
        boxes = NuScenesSamples(drive.root)[0].boxes
        assert boxes is not None
        assert (boxes.velocities == 0).all()

    def test_images_and_cameras_come_in_the_fixed_order(self, drive: Drive) -> None:
        sample, frame = NuScenesSamples(drive.root)[2], NuScenes(drive.root).frame(2)
        images = sample.load_images()
        assert images.shape == (6, HEIGHT, WIDTH, 3)
        assert images.dtype == np.uint8
        assert frame.capture.names == list(CAMERA_ORDER)
        for view in range(6):
            np.testing.assert_array_equal(images[view], frame.capture.image(view).numpy())
        assert frame.capture.cameras is not None
        torch.testing.assert_close(sample.cameras.cam_from_world, frame.capture.cameras.cam_from_world)

    def test_workers_of_a_loader_share_it(self, drive: Drive) -> None:
        data = NuScenesSamples(drive.root)
        loader = DataLoader(data, batch_size=None, num_workers=2, collate_fn=_as_it_is)  # type: ignore[arg-type]
        samples = list(loader)
        assert [s.token for s in samples] == list(data.tokens)
        for i, sample in enumerate(samples):
            torch.testing.assert_close(sample.points, data[i].points)
            np.testing.assert_array_equal(sample.load_images(), data[i].load_images())


def _as_it_is(sample: DrivingSample) -> DrivingSample:
    return sample


class TestCameraObjects:
    @pytest.mark.parametrize("index", range(4))
    def test_centres_are_seen_where_they_project(self, drive: Drive, index: int) -> None:
        sample = NuScenesSamples(drive.root)[index]
        boxes, seen = sample.boxes, sample.camera_objects
        assert boxes is not None
        assert seen is not None
        expected = set()
        for view in range(6):
            cam_from_lidar, K = (t[view].double().numpy() for t in (sample.cameras.cam_from_world, sample.cameras.K))
            for row, center in enumerate(boxes.centers.double().numpy()):
                x, y, z = cam_from_lidar[:3, :3] @ center + cam_from_lidar[:3, 3]
                u, v = K[0, 0] * x / z + K[0, 2], K[1, 1] * y / z + K[1, 2]
                if z > 0 and 0 < u < WIDTH and 0 < v < HEIGHT:
                    expected.add((view, row))
        assert set(zip(seen.views.tolist(), seen.boxes.tolist(), strict=True)) == expected
        assert len(expected) > 2
        assert seen.visible(len(boxes)).tolist() == [any(row == r for _, r in expected) for row in range(len(boxes))]
        assert seen.labels.tolist() == boxes.labels[seen.boxes].tolist()

    def test_a_centre_lifted_with_its_depth_is_the_box_s(self, street: NuScenesSamples) -> None:
        for index in (0, 4):
            sample = street[index]
            seen = sample.camera_objects
            assert seen is not None
            assert sample.boxes is not None
            assert len(seen) > 5
            K, lidar_from_cam = (
                sample.cameras.K[seen.views].double(),
                sample.cameras.world_from_cam[seen.views].double(),
            )
            pixels = torch.cat([seen.centers_px.double(), torch.ones(len(seen), 1)], dim=1)
            rays = torch.linalg.solve(K, pixels[..., None])[..., 0]
            points = (lidar_from_cam[:, :3, :3] @ (rays * seen.depths_m[:, None])[..., None])[..., 0]
            lifted = points + lidar_from_cam[:, :3, 3]
            # A pixel's step in float32 is 3e-5 px; at 60 m and a focal length of 80 px that is 2e-5 m.
            torch.testing.assert_close(lifted, sample.boxes.centers[seen.boxes].double(), atol=1e-3, rtol=0)

    def test_camera_boxes_turned_back_are_those_of_the_lidar(self, street: NuScenesSamples) -> None:
        """As SparseFusion's view transform does it: headings and velocities through the rotation alone."""
        sample = street[1]
        seen, boxes = sample.camera_objects, sample.boxes
        assert seen is not None
        assert boxes is not None
        own = boxes[seen.boxes]
        rows = seen.boxes_cam
        lidar_from_cam = sample.cameras.world_from_cam[seen.views][:, :3, :3]
        zero = torch.zeros(len(seen))
        yaw = rows[:, 6]
        heading = (lidar_from_cam @ torch.stack([yaw.cos(), zero, -yaw.sin()], dim=1)[..., None])[..., 0]
        # The camera's plane and the LiDAR's are not quite parallel, as the car sways by half a degree.
        difference = torch.atan2(heading[:, 1], heading[:, 0]) - own.yaws
        assert torch.remainder(difference + math.pi, 2 * math.pi).sub(math.pi).abs().max() < 1e-3
        torch.testing.assert_close(rows[:, [3, 5, 4]], own.sizes)
        velocity = (lidar_from_cam @ torch.stack([rows[:, 7], zero, rows[:, 8]], dim=1)[..., None])[..., 0]
        assert own.velocities is not None
        torch.testing.assert_close(velocity[:, :2], own.velocities[:, :2], atol=0.02, rtol=0)  # up to 12 m/s
        torch.testing.assert_close(rows[:, 2], seen.depths_m)

    def test_rectangles_hold_the_corners_in_the_image(self, street: NuScenesSamples) -> None:
        sample = street[3]
        seen, boxes = sample.camera_objects, sample.boxes
        assert seen is not None
        assert boxes is not None
        whole = 0
        for row in range(len(seen)):
            view = int(seen.views[row])
            cam, K = sample.cameras.cam_from_world[view].double(), sample.cameras.K[view].double()
            corners = boxes.corners[int(seen.boxes[row])].double() @ cam[:3, :3].T + cam[:3, 3]
            u, v, w, h = seen.rects_px[row].tolist()
            assert 0 <= u - w / 2 <= u + w / 2 <= float(sample.cameras.width[view]) + 1e-3  # pixels in float32
            assert 0 <= v - h / 2 <= v + h / 2 <= float(sample.cameras.height[view]) + 1e-3
            if corners[:, 2].min() < 0.1:
                continue
            pixels = (corners @ K.T)[:, :2] / corners[:, 2:]
            size = torch.tensor([float(sample.cameras.width[view]), float(sample.cameras.height[view])])
            low = torch.minimum(pixels.amin(dim=0).clamp(min=0), size)
            high = torch.minimum(pixels.amax(dim=0).clamp(min=0), size)
            expected = torch.cat([(low + high) / 2, high - low])
            # Corners near the camera's plane are far outside of the image, but are cut there.
            torch.testing.assert_close(seen.rects_px[row], expected.float(), atol=2e-2, rtol=0)
            whole += 1
        assert whole > 5


class TestSampling:
    def test_every_class_comes_equally_often(self, street: NuScenesSamples) -> None:
        indices = street.class_balanced(0)
        assert indices == street.class_balanced(0) != street.class_balanced(1)
        holding = [Counter(street[i].boxes.labels.unique().tolist()) for i in range(len(street))]  # type: ignore[union-attr]
        share = sum(len(h) for h in holding) // len(CLASS_NAMES)
        present = sorted(set().union(*holding))
        assert len(indices) == share * len(present)
        for k, label in enumerate(present):
            assert all(label in holding[i] for i in indices[k * share : (k + 1) * share])

    def test_splits(self, street: NuScenesSamples, tmp_path: Path) -> None:
        data = street.source
        assert scene_names(data) == ["scene-0001", "scene-0002"]
        assert scene_names(data, "generated_train") == ["scene-0001"]
        assert split_samples(data, "generated_val") == [3, 4, 5]
        names = tmp_path / "names.txt"
        names.write_text("scene-0002\n\n")
        assert split_samples(data, names) == [3, 4, 5]
        listed = tmp_path / "names.json"
        listed.write_text(json.dumps(["scene-0001"]))
        assert split_samples(data, str(listed)) == [0, 1, 2]
        assert split_samples(data, ["scene-0002", "scene-0001"]) == list(range(6))
        assert NuScenesSamples(data.folder, "generated_val").tokens == data.tokens[3:]

    def test_official_splits_follow_the_version(self, tmp_path: Path) -> None:
        drive = write_nuscenes(tmp_path / "data", "v1.0-mini")
        for row, name in zip(drive.tables["scene"], ("scene-0103", "scene-0061"), strict=True):
            row["name"] = name
        drive.rewrite("scene")
        data = NuScenes(drive.root)
        assert scene_names(data, "mini_train") == ["scene-0061"]
        with pytest.raises(Exception, match=r"'mini_val' has scenes that .* lacks: scene-0916"):
            scene_names(data, "mini_val")


class TestSubmission:
    def test_annotations_come_back(self, drive: Drive, tmp_path: Path) -> None:
        """Global, to the LiDAR's frame in float32, and back through a file."""
        data = NuScenesSamples(drive.root)
        results = {}
        for i in range(4):
            sample = data[i]
            assert sample.boxes is not None
            results[sample.token] = submission_boxes(sample, replace(sample.boxes, scores=torch.rand(5)))
        path = tmp_path / "submission.json"
        write_submission(path, results, data.tokens, ("use_lidar", "use_camera"))
        found = read_submission(path, data.tokens)
        meta = json.loads(path.read_text())["meta"]
        assert [key for key, used in meta.items() if used] == ["use_camera", "use_lidar"]
        for token in data.tokens:
            truth = data.source.boxes(token)
            for i in range(len(found[token])):
                box = found[token][i : i + 1]
                k = int((truth.centers - box.centers).norm(dim=1).argmin())
                torch.testing.assert_close(box.centers[0], truth.centers[k], atol=METRES, rtol=0)
                torch.testing.assert_close(box.sizes[0], truth.sizes[k], rtol=1e-6, atol=0)  # through float32
                assert abs(float(box.yaws[0] - truth.yaws[k])) < 1e-4  # rad
        scores = NuScenesMetric.of(data).evaluate(found)
        for name in ("car", "bus", "pedestrian", "barrier"):  # the bicycle stands in a rack
            assert scores.mean_dist_aps[name] == pytest.approx(1)
        assert scores.label_tp_errors["car"]["vel_err"] < 1e-3

    def test_attributes_follow_speed_and_far_boxes_are_dropped(self, drive: Drive) -> None:
        sample = NuScenesSamples(drive.root)[0]
        n = len(CLASS_NAMES)
        for speed, car, bicycle, bus in (
            (0.1, "vehicle.parked", "cycle.without_rider", "vehicle.stopped"),
            (0.3, "vehicle.moving", "cycle.with_rider", "vehicle.moving"),
        ):
            boxes = Boxes.upright(
                torch.zeros(n, 3), torch.ones(n, 3), torch.zeros(n), torch.arange(n), CLASS_NAMES,
                scores=torch.ones(n), velocities=torch.tensor([[0.0, speed, 5.0]]).expand(n, 3),
            )  # fmt: skip
            found = submission_boxes(sample, boxes)
            assert found.attributes is not None
            said = {found.name(i): found.attributes[i] for i in range(n)}
            assert (said["car"], said["bicycle"], said["bus"]) == (car, bicycle, bus)
            assert said["barrier"] == said["traffic_cone"] == ""
            far = replace(boxes, centers=torch.tensor([[0.0, 35.0, 0.0]]).expand(n, 3))
            kept = submission_boxes(sample, far)
            assert {kept.name(i) for i in range(len(kept))} == set(DETECTION_NAMES) - {"traffic_cone", "barrier"}

    def test_the_best_five_hundred_stay(self, drive: Drive) -> None:
        sample, n = NuScenesSamples(drive.root)[0], MAX_BOXES + 40
        scores = torch.rand(n, generator=torch.Generator().manual_seed(0))
        none = torch.zeros(n, dtype=torch.int64)
        boxes = Boxes.upright(torch.zeros(n, 3), torch.ones(n, 3), torch.zeros(n), none, CLASS_NAMES, scores=scores)
        found = submission_boxes(sample, boxes)
        assert found.scores is not None
        assert found.scores.float().tolist() == sorted(scores.tolist(), reverse=True)[:MAX_BOXES]


def test_the_objects_that_these_tests_count_on() -> None:
    assert [thing.points for thing in OBJECTS] == [5, 5, 5, 5, 5, 0, 5]


def test_a_real_key_frame() -> None:
    """Its info file has the boxes; the cameras that see them are six, and their points lie where they are counted."""
    frame = read_info(shared_data("nuscenes_frame") / "n015-2018-07-24-11-22-45+0800.json")[0]
    sample = sample_of(frame)
    assert sample.load_images().shape == (6, 900, 1600, 3)
    assert sample.points.shape == (34688, 5)
    assert sample.boxes is not None
    assert sample.camera_objects is not None
    assert (sample.num_lidar_pts > 0).all()
    seen = sample.camera_objects.visible(len(sample.boxes))
    assert seen.float().mean() > 0.9  # the six views leave hardly a gap; only centres outside of all are unseen
    found = sample.boxes.contains(sample.points[:, :3]).sum(dim=1)
    # Counted by another code, whose points on a box's faces fall to either side.
    assert (found - sample.num_lidar_pts).abs().max() <= 0.05 * sample.num_lidar_pts.max() + 2
