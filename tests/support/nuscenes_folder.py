"""A nuScenes-format folder that tests write themselves: 2 scenes of 2 samples, 6 tiny cameras, one LiDAR.

Everything follows from a few closed formulas in float64 with SciPy's rotations, so that expectations do not come from
the code under test: the car drives on a curve over a slightly tilted road, two objects move, the others stand still.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation
from support.datasets import write_photo

WIDTH, HEIGHT, FOCAL_PX = 64, 36, 40.0
START_US = 1_500_000_000_000_000
STEP_US = 500_000  # between key frames
POINTS_PER_BOX, GROUND_POINTS = 5, 40
CHANNELS = ("CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_FRONT_LEFT")
CAMERA_YAWS_DEG = (0.0, -55.0, -110.0, 180.0, 110.0, 55.0)
CAMERA_LAGS_US = (-35_000, -27_000, -20_000, -10_000, 0, -43_000)  # of their shutters to the LiDAR's key time
CATEGORIES = (
    "vehicle.car", "human.pedestrian.adult", "movable_object.barrier", "vehicle.bicycle",
    "static_object.bicycle_rack", "movable_object.trafficcone", "vehicle.bus.rigid",
)  # fmt: skip
ATTRIBUTES = ("vehicle.moving", "vehicle.parked", "pedestrian.moving", "cycle.without_rider")


@dataclass(frozen=True)
class Object:
    """One annotated thing: where it is at its scene's first sample, relative to where the car starts there."""

    category: str
    offset: tuple[float, float, float]  # metres
    size_wlh: tuple[float, float, float]
    yaw: float  # radians
    velocity: tuple[float, float] = (0.0, 0.0)  # m/s
    attribute: str = ""
    points: int = POINTS_PER_BOX


OBJECTS = (
    Object("vehicle.car", (12.0, 3.0, 0.8), (1.9, 4.6, 1.6), 0.3, (4.0, 1.0), "vehicle.moving"),
    Object("human.pedestrian.adult", (7.0, -5.0, 0.9), (0.7, 0.6, 1.8), -2.0, (0.5, -1.0), "pedestrian.moving"),
    Object("movable_object.barrier", (-9.0, 4.0, 0.5), (2.0, 0.6, 1.0), 1.4),
    Object("vehicle.bicycle", (-3.0, -8.0, 0.7), (0.6, 1.8, 1.3), 3.0, attribute="cycle.without_rider"),
    Object("static_object.bicycle_rack", (-3.0, -8.0, 0.7), (2.0, 6.0, 1.4), 3.0),
    Object("movable_object.trafficcone", (3.0, 9.0, 0.4), (0.4, 0.4, 0.8), 0.0, points=0),
    Object("vehicle.bus.rigid", (-20.0, 2.0, 1.7), (2.9, 11.0, 3.4), 2.2, attribute="vehicle.parked"),
)


@dataclass
class Drive:
    """The written folder: `tables` may be changed and written again with `rewrite`."""

    root: Path
    folder: Path  # of the tables
    tables: dict[str, list[dict[str, Any]]]

    @property
    def tokens(self) -> list[str]:
        return [row["token"] for row in self.tables["sample"]]

    def rewrite(self, *names: str) -> None:
        for name in names:
            (self.folder / f"{name}.json").write_text(json.dumps(self.tables[name]))

    def row(self, table: str, **where: Any) -> dict[str, Any]:
        return next(r for r in self.tables[table] if all(r[key] == value for key, value in where.items()))


def token(*words: Any) -> str:
    """32 hexadecimal digits, the same for the same words."""
    return hashlib.md5("/".join(map(str, words)).encode()).hexdigest()


def pose_matrix(translation: Any, wxyz: Any) -> np.ndarray:
    """[4, 4] a_from_b of a table's translation and rotation."""
    out = np.eye(4)
    out[:3, :3] = Rotation.from_quat(np.asarray(wxyz)[[1, 2, 3, 0]]).as_matrix()
    out[:3, 3] = translation
    return out


def ego_pose(scene: int, time_us: int) -> tuple[list[float], list[float]]:
    """(translation, rotation wxyz) in the global frame: 8 m/s along a curve, on a road that is tilted a little."""
    t = (time_us - START_US) / 1e6 - 100 * scene
    yaw = 0.4 + 2.0 * scene + 0.15 * t
    at = [600.0 + 900 * scene + 8 * t * math.cos(0.4 + 2.0 * scene), 1600.0 + 8 * t * math.sin(0.4 + 2.0 * scene), 0.0]
    return at, _wxyz(Rotation.from_euler("ZYX", [yaw, 0.02, -0.01]))


def sensor_pose(channel: str) -> tuple[list[float], list[float]]:
    """(translation, rotation wxyz) in the car's frame."""
    if channel == "LIDAR_TOP":  # x right, y forward
        return [0.94, 0.0, 1.84], _wxyz(Rotation.from_euler("ZYX", [-math.pi / 2, 0.005, 0.01]))
    yaw = math.radians(CAMERA_YAWS_DEG[CHANNELS.index(channel)])
    forward = Rotation.from_matrix([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # car from camera axes
    return [1.0 + 0.6 * math.cos(yaw), 0.5 * math.sin(yaw), 1.55], _wxyz(Rotation.from_euler("z", yaw) * forward)


def box_at(scene: int, thing: Object, time_us: int) -> tuple[list[float], list[float]]:
    """(translation, rotation wxyz) of an object in the global frame."""
    start = START_US + 100_000_000 * scene
    t = (time_us - start) / 1e6
    origin, _ = ego_pose(scene, start)
    vx, vy = thing.velocity
    moved = np.asarray(thing.offset) + np.array([vx * t, vy * t, 0.0])
    return (np.asarray(origin) + moved).tolist(), _wxyz(Rotation.from_euler("z", thing.yaw))


def write_nuscenes(root: Path, version: str = "v1.0-mini") -> Drive:
    """The whole folder: tables in `root/version`, key frames in `samples`, LiDAR sweeps between them in `sweeps`."""
    tables = _static_tables()
    for scene in range(2):
        _write_scene(root, scene, tables)
    folder = root / version
    folder.mkdir(parents=True)
    drive = Drive(root, folder, tables)
    drive.rewrite(*tables)
    return drive


def _static_tables() -> dict[str, list[dict[str, Any]]]:
    channels = (*CHANNELS, "LIDAR_TOP")
    calibrated = []
    for channel in channels:
        translation, rotation = sensor_pose(channel)
        K = [[FOCAL_PX, 0.0, WIDTH / 2 + 1.25], [0.0, FOCAL_PX, HEIGHT / 2 - 0.5], [0.0, 0.0, 1.0]]
        calibrated.append(
            {
                "token": token("calibration", channel),
                "sensor_token": token("sensor", channel),
                "translation": translation,
                "rotation": rotation,
                "camera_intrinsic": K if channel != "LIDAR_TOP" else [],
            }
        )
    return {
        "category": [{"token": token("category", c), "name": c, "description": ""} for c in CATEGORIES],
        "attribute": [{"token": token("attribute", a), "name": a, "description": ""} for a in ATTRIBUTES],
        "visibility": [{"token": str(i), "level": f"v{i}", "description": ""} for i in range(1, 5)],
        "sensor": [
            {"token": token("sensor", c), "channel": c, "modality": "lidar" if c == "LIDAR_TOP" else "camera"}
            for c in channels
        ],
        "calibrated_sensor": calibrated,
        "log": [{"token": token("log"), "logfile": "", "vehicle": "v", "date_captured": "2020-01-01", "location": "l"}],
        "map": [{"token": token("map"), "log_tokens": [token("log")], "category": "", "filename": "maps/m.png"}],
        **{name: [] for name in ("scene", "sample", "sample_data", "ego_pose", "sample_annotation", "instance")},
    }


def _write_scene(root: Path, scene: int, tables: dict[str, list[dict[str, Any]]]) -> None:
    start = START_US + 100_000_000 * scene
    samples = [token("sample", scene, i) for i in range(2)]
    tables["scene"].append(
        {
            "token": token("scene", scene),
            "name": f"scene-{scene:04d}",
            "description": "",
            "log_token": token("log"),
            "nbr_samples": 2,
            "first_sample_token": samples[0],
            "last_sample_token": samples[1],
        }
    )
    for i in range(2):
        time_us = start + i * STEP_US
        neighbours = {"prev": samples[0] if i else "", "next": "" if i else samples[1]}
        tables["sample"].append(
            {"token": samples[i], "timestamp": time_us, "scene_token": token("scene", scene), **neighbours}
        )
        for channel, lag_us in zip(CHANNELS, CAMERA_LAGS_US, strict=True):
            name = f"samples/{channel}/{scene}_{time_us + lag_us}.jpg"
            write_photo(root / name, WIDTH, HEIGHT, seed=scene * 100 + i * 10 + CHANNELS.index(channel))
            _add_data(tables, scene, samples[i], channel, time_us + lag_us, name, True)
    # Four sweeps: a key sweep, two between the key frames, the other key sweep.
    times = [start, start + 200_000, start + 350_000, start + STEP_US]
    for k, time_us in enumerate(times):
        is_key = k in (0, 3)
        name = f"{'samples' if is_key else 'sweeps'}/LIDAR_TOP/{scene}_{time_us}.pcd.bin"
        _write_sweep(root / name, scene, time_us)
        row = _add_data(tables, scene, samples[0 if k == 0 else 1], "LIDAR_TOP", time_us, name, is_key)
        row["prev"] = token("data", "LIDAR_TOP", scene, times[k - 1]) if k else ""
        row["next"] = token("data", "LIDAR_TOP", scene, times[k + 1]) if k < 3 else ""
    for number, thing in enumerate(OBJECTS):
        _annotate(tables, scene, number, thing, samples, start)


def _add_data(
    tables: dict[str, list[dict[str, Any]]], scene: int, sample: str, channel: str, time_us: int, name: str, key: bool
) -> dict[str, Any]:
    own = token("data", channel, scene, time_us)
    translation, rotation = ego_pose(scene, time_us)
    tables["ego_pose"].append({"token": own, "timestamp": time_us, "translation": translation, "rotation": rotation})
    camera = channel != "LIDAR_TOP"
    row = {
        "token": own,
        "sample_token": sample,
        "ego_pose_token": own,
        "calibrated_sensor_token": token("calibration", channel),
        "filename": name,
        "fileformat": "jpg" if camera else "pcd",
        "width": WIDTH if camera else 0,
        "height": HEIGHT if camera else 0,
        "timestamp": time_us,
        "is_key_frame": key,
        "prev": "",
        "next": "",
    }
    tables["sample_data"].append(row)
    return row


def sweep_points(scene: int, time_us: int) -> np.ndarray:
    """[P, 3] global: points inside of every object as it stands then, in the order of OBJECTS, then the road."""
    rng = np.random.default_rng(scene)
    parts = []
    for thing in OBJECTS:
        w, length, h = thing.size_wlh
        local = rng.uniform(-0.45, 0.45, (thing.points, 3)) * [length, w, h]
        moved = pose_matrix(*box_at(scene, thing, time_us))
        parts.append(local @ moved[:3, :3].T + moved[:3, 3])
    origin, _ = ego_pose(scene, START_US + 100_000_000 * scene)
    ground = np.asarray(origin) + np.c_[rng.uniform(25, 40, (GROUND_POINTS, 2)), np.zeros(GROUND_POINTS)]
    return np.concatenate([*parts, ground])


def _write_sweep(path: Path, scene: int, time_us: int) -> None:
    world = sweep_points(scene, time_us)
    lidar_from_global = np.linalg.inv(pose_matrix(*ego_pose(scene, time_us)) @ pose_matrix(*sensor_pose("LIDAR_TOP")))
    xyz = world @ lidar_from_global[:3, :3].T + lidar_from_global[:3, 3]
    intensity = np.arange(len(xyz)) % 256
    path.parent.mkdir(parents=True, exist_ok=True)
    np.c_[xyz, intensity, np.zeros(len(xyz))].astype("<f4").tofile(path)


def _annotate(
    tables: dict[str, list[dict[str, Any]]], scene: int, number: int, thing: Object, samples: list[str], start: int
) -> None:
    instance = token("instance", scene, number)
    tokens = [token("annotation", scene, number, i) for i in range(2)]
    tables["instance"].append(
        {
            "token": instance,
            "category_token": token("category", thing.category),
            "nbr_annotations": 2,
            "first_annotation_token": tokens[0],
            "last_annotation_token": tokens[1],
        }
    )
    for i in range(2):
        translation, rotation = box_at(scene, thing, start + i * STEP_US)
        tables["sample_annotation"].append(
            {
                "token": tokens[i],
                "sample_token": samples[i],
                "instance_token": instance,
                "attribute_tokens": [token("attribute", thing.attribute)] if thing.attribute else [],
                "visibility_token": "4",
                "translation": translation,
                "size": list(thing.size_wlh),
                "rotation": rotation,
                "num_lidar_pts": thing.points,
                "num_radar_pts": 0,
                "prev": tokens[0] if i else "",
                "next": "" if i else tokens[1],
            }
        )


def _wxyz(rotation: Rotation) -> list[float]:
    x, y, z, w = rotation.as_quat()
    return [float(w), float(x), float(y), float(z)]
