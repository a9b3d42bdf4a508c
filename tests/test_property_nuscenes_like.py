"""The generator of nuScenes-format data: its tables fit together, and its sensors show what its boxes say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fewview.detect.tasks.driving_samples import NuScenesSamples
from fewview.scene.datasets.nuscenes_log import NuScenes
from fewview.scene.geometry import transform_points
from support.generated import generate, generator

make, sensors, world_of = generator()
SETTINGS = make.Settings(scenes=2, samples=3, width=160, columns=360)
SECONDS = (SETTINGS.samples - 1) * 0.5
NOISE_M = 5 * sensors.RANGE_NOISE_M  # one point in two million is farther off


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(tmp_path_factory.mktemp("generated") / "data")


@pytest.fixture(scope="module")
def tables(root: Path) -> dict[str, list[dict[str, Any]]]:
    return {path.stem: json.loads(path.read_text()) for path in (root / make.VERSION).glob("*.json")}


@pytest.fixture(scope="module")
def data(root: Path) -> NuScenesSamples:
    return NuScenesSamples(root)


class TestTables:
    def test_all_thirteen(self, tables: dict[str, list[dict[str, Any]]]) -> None:
        assert set(tables) == {
            "attribute", "calibrated_sensor", "category", "ego_pose", "instance", "log", "map", "sample",
            "sample_annotation", "sample_data", "scene", "sensor", "visibility", "splits",
        }  # fmt: skip
        assert {k: len(tables[k]) for k in ("scene", "sample", "sensor")} == {"scene": 2, "sample": 6, "sensor": 7}
        for name, rows in tables.items():
            if name != "splits":
                assert len({row["token"] for row in rows}) == len(rows) > 0

    def test_every_token_is_there(self, tables: dict[str, list[dict[str, Any]]]) -> None:
        known = {name: {row["token"] for row in rows} for name, rows in tables.items() if name != "splits"}
        for name, rows in tables.items():
            if name == "splits":
                continue
            for row in rows:
                for key, value in row.items():
                    if key in ("prev", "next", "first_sample_token", "last_sample_token"):
                        target = "sample" if "sample" in key else name
                        assert value == "" or value in known[target], (name, key)
                    elif key in ("first_annotation_token", "last_annotation_token"):
                        assert value in known["sample_annotation"]
                    elif key.endswith("_tokens"):
                        assert set(value) <= known[key.removesuffix("_tokens")]
                    elif key.endswith("_token"):
                        assert value in known[key.removesuffix("_token")], (name, key)

    @pytest.mark.parametrize("name", ["sample", "sample_data", "sample_annotation"])
    def test_chains_lead_there_and_back(self, tables: dict[str, list[dict[str, Any]]], name: str) -> None:
        rows = {row["token"]: row for row in tables[name]}
        for row in rows.values():
            assert row["next"] == "" or rows[row["next"]]["prev"] == row["token"]
            assert row["prev"] == "" or rows[row["prev"]]["next"] == row["token"]
        if name == "sample_annotation":
            for instance in tables["instance"]:
                own = [r for r in rows.values() if r["instance_token"] == instance["token"]]
                assert len(own) == instance["nbr_annotations"]
                assert [r["token"] for r in own if not r["prev"]] == [instance["first_annotation_token"]]
                assert [r["token"] for r in own if not r["next"]] == [instance["last_annotation_token"]]

    def test_files_are_where_the_tables_say(self, root: Path, tables: dict[str, list[dict[str, Any]]]) -> None:
        for row in tables["sample_data"]:
            assert (root / row["filename"]).stat().st_size > 0
        assert len([r for r in tables["sample_data"] if r["is_key_frame"]]) == 6 * 7
        assert len([r for r in tables["sample_data"] if not r["is_key_frame"]]) == 2 * 18  # sweeps at 20 Hz
        assert (root / tables["map"][0]["filename"]).is_file()

    def test_the_same_seed_makes_the_same_files(self, tmp_path: Path) -> None:
        small = {"scenes": 1, "samples": 2, "width": 48, "columns": 60, "sweep_hz": 4}
        first, again, other = (
            generate(tmp_path / name, seed=seed, **small) for name, seed in (("a", 3), ("b", 3), ("c", 4))
        )
        names = sorted(p.relative_to(first) for p in first.rglob("*") if p.is_file())
        assert names == sorted(p.relative_to(again) for p in again.rglob("*") if p.is_file())
        assert all((first / n).read_bytes() == (again / n).read_bytes() for n in names)
        table = f"{make.VERSION}/sample_annotation.json"
        assert (first / table).read_bytes() != (other / table).read_bytes()


class TestWorld:
    @pytest.mark.parametrize("curvature", [0.0, 0.006, -0.006])
    def test_places_on_the_road_are_found_again(self, curvature: float) -> None:
        road = world_of.Road((700.0, 900.0), 2.5, curvature)
        s, d = np.meshgrid(np.linspace(-80, 160, 25), np.linspace(-20, 20, 9))
        x, y, _ = road.place(s, d)
        np.testing.assert_allclose(road.locate(x, y), (s, d), atol=1e-9)  # metres near a thousand, in float64

    @pytest.mark.parametrize("number", range(3))
    def test_nothing_drives_through_anything(self, number: int) -> None:
        """Circles in the footprints of vehicles in lanes and of the car itself."""
        world = world_of.make_world(5, number, 9.5)
        fast = [i for i, t in enumerate(world.things) if abs(t.d) < 6.5 and t.kind not in ("barrier", "traffic_cone")]
        for time_s in (0.0, 4.0, 9.5):
            s = np.array([world.things[i].s + world.things[i].speed * time_s for i in fast])
            d = np.array([world.things[i].d for i in fast])
            length = np.array([world.things[i].size_wlh[1] for i in fast])
            s, d, length = np.append(s, world.speed * time_s), np.append(d, -1.75), np.append(length, 4.5)
            along = np.abs(s[:, None] - s) - (length[:, None] + length) / 2
            beside = np.abs(d[:, None] - d) > 2.4
            assert ((along > 0) | beside | np.eye(len(s), dtype=bool)).all()

    def test_there_is_something_of_every_class(self) -> None:
        kinds = {t.kind for t in world_of.make_world(0, 0, 9.5).things}
        assert kinds == set(world_of.KINDS) - {"debris"} or kinds == set(world_of.KINDS)


class TestLidar:
    def test_points_in_boxes_are_those_counted(self, root: Path) -> None:
        data = NuScenes(root)
        for i in (1, 5):
            frame, boxes = data.frame(i), data.boxes(i)
            points = transform_points(frame.global_from_lidar, frame.points.xyz.double())
            assert boxes.point_counts is not None
            assert boxes.contains(points).sum(dim=1).tolist() == boxes.point_counts[:, 0].tolist()
            assert (boxes.point_counts[:, 0] > 0).sum() > 10

    def test_points_lie_on_what_they_hit(self) -> None:
        scene = make._Scene(Path(), SETTINGS, 0, {})
        world, global_from_lidar = scene.world, scene._global_from("LIDAR_TOP", make.START_US + 400_000)
        blocks = sensors.Blocks.of(world, 0.4)
        found = sensors.sweep(blocks, global_from_lidar, 720, len(world.things), np.random.default_rng(0))
        points = found.xyz.astype(float) @ global_from_lidar[:3, :3].T + global_from_lidar[:3, 3]
        assert (found.thing >= 0).sum() > 500
        outside = np.full(len(points), np.inf)  # to the nearest block of the right thing
        for i in range(len(blocks.center)):
            local = np.abs(sensors._turned(points - blocks.center[i], np.float64(-blocks.yaw[i]))) - blocks.half[i]
            depth = np.where((local <= 0).all(axis=1), -local.max(axis=1), np.linalg.norm(local.clip(0), axis=1))
            right = found.thing == blocks.thing[i]
            outside[right] = np.minimum(outside, depth)[right]
        on_ground = (found.thing < 0) & (np.abs(points[:, 2]) < NOISE_M)
        assert outside[~on_ground].max() < NOISE_M
        assert on_ground.sum() > 3000

    def test_what_stands_behind_is_hidden(self) -> None:
        world = world_of.World(world_of.Road((0.0, 0.0), 0.0, 0.0), 0.0, 1.0)
        paint = (0.5, 0.5, 0.5)
        world.things = [
            world_of.Thing("trailer", 12.0, 0.0, 0.0, 0.0, (3.0, 10.0, 3.5), paint, ""),
            world_of.Thing("pedestrian", 25.0, 0.0, 0.0, 0.0, (0.7, 0.7, 1.7), paint, ""),
            world_of.Thing("pedestrian", 0.0, 9.0, 0.0, 0.0, (0.7, 0.7, 1.7), paint, ""),
        ]
        blocks = sensors.Blocks.of(world, 0.0)
        pose = np.eye(4)
        pose[2, 3] = 1.84
        found = sensors.sweep(blocks, pose, 720, 3, np.random.default_rng(0))
        assert found.visible.tolist() == [1.0, 0.0, 1.0]
        assert [(found.thing == i).sum() > 5 for i in range(3)] == [True, False, True]
        direction = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # camera axes to the world's, facing +x
        K = np.array([[120.0, 0, 80], [0, 120, 45], [0, 0, 1]])
        pose[:3, :3] = direction
        seen = sensors.picture(world, blocks, pose, K, 160, 90, [0])
        assert set(np.unique(seen.thing)) == {-1, 0}

    def test_sweeps_of_half_a_second_coincide(self, data: NuScenesSamples) -> None:
        """Points on buildings, moved by how far the car went, are on the buildings still."""
        index = 2
        sample = data[index]
        assert sorted({round(lag, 3) for lag in sample.points[:, 4].tolist()}) == [k / 20 for k in range(11)]
        world = world_of.make_world(0, 0, SECONDS)
        walls = sensors.Blocks.of(world_of.World(world.road, 0.0, 1.0, [], world.walls), 0.0)
        points = transform_points(sample.global_from_lidar, sample.points[:, :3].double()).numpy()
        _, d = world.road.locate(points[:, 0], points[:, 1])
        far = (np.abs(d) > world_of.WALL_D - 1) & (points[:, 2] > 0.3)
        off = np.full(far.sum(), np.inf)
        for i in range(len(walls.center)):
            local = sensors._turned(points[far] - walls.center[i], np.float64(-walls.yaw[i]))
            local = np.abs(local) - walls.half[i]
            surface = np.where((local <= 0).all(axis=1), -local.max(axis=1), np.linalg.norm(local.clip(0), axis=1))
            off = np.minimum(off, surface)
        lags = sample.points[:, 4].numpy()[far]
        assert off.max() < NOISE_M + 1e-4  # float32 coordinates
        assert all((lags == lag).sum() > 50 for lag in np.unique(sample.points[:, 4].numpy()))


class TestPictures:
    def test_things_are_drawn_where_their_boxes_project(self, data: NuScenesSamples) -> None:
        """Each pixel of a thing is inside of its box's projection, and boxes in plain view are filled."""
        world, checked = world_of.make_world(0, 0, SECONDS), 0
        sample = data[1]
        assert sample.boxes is not None
        assert sample.camera_objects is not None
        poses = world.poses(0.5)  # at the key time, where the annotations are
        lidar_from_global = sample.lidar_from_global
        centers = transform_points(lidar_from_global, torch.tensor(poses[:, :3]))
        thing_of = (sample.boxes.centers[:, None].double() - centers).norm(dim=2).argmin(dim=1)
        images = sample.load_images()
        for view, channel in enumerate(data[0].cameras.width.tolist()):
            assert channel == SETTINGS.width
            name = sorted(make.CAMERAS, key=_place)[view]
            lag_us = make.CAMERA_LAGS_US[list(make.CAMERAS).index(name)]
            cam_from_lidar = sample.cameras.cam_from_world[view].double()
            global_from_cam = (sample.global_from_lidar @ torch.linalg.inv(cam_from_lidar)).numpy()
            blocks = sensors.Blocks.of(world, 0.5 + lag_us / 1e6)
            K = sample.cameras.K[view].double().numpy()
            seed = [0, 0, 1, list(make.CAMERAS).index(name)]
            shown = sensors.picture(world, blocks, global_from_cam, K, SETTINGS.width, SETTINGS.height, seed)
            # The file is this picture, but for JPEG's losses.
            assert np.abs(shown.rgb.astype(int) - images[view]).mean() < 5
            seen = sample.camera_objects
            for row in torch.nonzero(seen.views == view).flatten().tolist():
                index = int(thing_of[seen.boxes[row]])
                ys, xs = np.nonzero(shown.thing == index)
                thing = world.things[index]
                if not len(xs) or thing.speed:  # moving ones were photographed some milliseconds later
                    continue
                u, v, width, height = seen.rects_px[row].tolist()
                assert xs.min() >= u - width / 2 - 1
                assert xs.max() <= u + width / 2
                assert ys.min() >= v - height / 2 - 1
                assert ys.max() <= v + height / 2
                checked += 1
        assert checked > 10


def _place(channel: str) -> int:
    from fewview.scene.datasets.nuscenes_log import CAMERA_ORDER

    return CAMERA_ORDER.index(channel)
