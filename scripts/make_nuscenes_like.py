"""Make a small data set in the nuScenes format: invented streets, a ray-cast LiDAR, six rendered cameras, all tables.

    python scripts/make_nuscenes_like.py OUT [--scenes 10] [--samples 20] [--seed 0]

A test bed for readers, detectors and metrics, which says nothing about results on nuScenes. The official devkit loads
it as version v1.0-generated; `splits.json` beside the tables names the splits generated_train and generated_val.
The same arguments and library versions give the same bytes. What it makes is in the public domain (CC0).
"""

from __future__ import annotations

import argparse
import hashlib
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from driving_sensors import Blocks, Sweep, picture, sweep
from driving_world import KINDS, World, make_world
from fewview.scene.datasets.nuscenes_classes import ATTRIBUTES, CLASS_OF_CATEGORY
from fewview.scene.files import atomic_writer, write_bytes, write_json
from scipy.spatial.transform import Rotation

VERSION = "v1.0-generated"
START_US, SCENE_US, SAMPLE_US = 1_600_000_000_000_000, 100_000_000, 500_000
# Ego axes: x forward, y left, z up. Channel -> (position in m, yaw in degrees, focal length at a width of 1600 px),
# close to those of the real car.
CAMERAS = {
    "CAM_FRONT": ((1.70, 0.02, 1.51), 0.0, 1266.0),
    "CAM_FRONT_RIGHT": ((1.55, -0.49, 1.50), -55.0, 1260.0),
    "CAM_BACK_RIGHT": ((1.01, -0.48, 1.56), -110.0, 1259.0),
    "CAM_BACK": ((0.03, 0.0, 1.58), 180.0, 809.0),
    "CAM_BACK_LEFT": ((1.03, 0.48, 1.57), 110.0, 1257.0),
    "CAM_FRONT_LEFT": ((1.52, 0.49, 1.51), 55.0, 1272.0),
}
CAMERA_LAGS_US = (-36_000, -28_000, -20_000, -11_000, -2_000, -44_000)  # of their shutters to the key sweep
LIDAR, LIDAR_AT, LIDAR_YAW_DEG = "LIDAR_TOP", (0.94, 0.0, 1.84), -90.0  # its x is to the right, its y forward
ANNOTATED_M = 60.0  # things farther away are not annotated
VISIBILITY = (0.4, 0.6, 0.8)  # limits between the four levels
EXTRA_CATEGORIES = ("static_object.bicycle_rack", "movable_object.debris")
JPEG_QUALITY = 90
Tables = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class Settings:
    """Settings of the data set that is made."""

    scenes: int = 10
    samples: int = 20  # of each scene, half a second apart
    seed: int = 0
    sweep_hz: int = 20
    columns: int = 540  # LiDAR rays of each beam in one turn
    width: int = 400  # pixels of a photograph, 16:9

    @property
    def height(self) -> int:
        return self.width * 9 // 16


def token(*words: Any) -> str:
    """32 hexadecimal digits, the same for the same words."""
    return hashlib.md5("/".join(map(str, words)).encode()).hexdigest()


def make(root: Path, settings: Settings) -> Path:
    """Write the data set into `root` and return its version folder."""
    tables = _fixed_tables(settings)
    for scene in range(settings.scenes):
        start = time.perf_counter()
        _Scene(root, settings, scene, tables).write()
        print(f"scene {scene + 1} of {settings.scenes}: {time.perf_counter() - start:.1f} s", file=sys.stderr)
    folder = root / VERSION
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        write_json(folder / f"{name}.json", rows)
    names = [row["name"] for row in tables["scene"]]
    held_out = max(1, settings.scenes // 5) if settings.scenes > 1 else 0
    cut = len(names) - held_out
    write_json(folder / "splits.json", {"generated_train": names[:cut], "generated_val": names[cut:] or names})
    _write_png(root / "maps" / "generated.png", np.full((16, 16), 255, np.uint8))
    write_bytes(root / "README.txt", __doc__.encode())
    return folder


def _fixed_tables(settings: Settings) -> Tables:
    channels = (*CAMERAS, LIDAR)
    calibrations = []
    for channel in channels:
        translation, rotation = sensor_pose(channel)
        calibrations.append(
            {
                "token": token("calibrated_sensor", channel, settings.seed),
                "sensor_token": token("sensor", channel),
                "translation": translation.tolist(),
                "rotation": _wxyz(rotation),
                "camera_intrinsic": [] if channel == LIDAR else intrinsics(channel, settings).tolist(),
            }
        )
    log = token("log", settings.seed)
    levels = ("v0-40", "v40-60", "v60-80", "v80-100")
    categories = (*CLASS_OF_CATEGORY, *EXTRA_CATEGORIES)
    return {
        "category": [{"token": token("category", c), "name": c, "description": ""} for c in categories],
        "attribute": [{"token": token("attribute", a), "name": a, "description": ""} for a in ATTRIBUTES],
        "visibility": [{"token": str(i + 1), "level": v, "description": ""} for i, v in enumerate(levels)],
        "sensor": [
            {"token": token("sensor", c), "channel": c, "modality": "lidar" if c == LIDAR else "camera"}
            for c in channels
        ],
        "calibrated_sensor": calibrations,
        "log": [
            {"token": log, "logfile": "generated", "vehicle": "none", "date_captured": "2020-09-13", "location": "none"}
        ],
        "map": [
            {
                "token": token("map"),
                "log_tokens": [log],
                "category": "semantic_prior",
                "filename": "maps/generated.png",
            }
        ],
        **{name: [] for name in ("scene", "sample", "sample_data", "ego_pose", "sample_annotation", "instance")},
    }


def sensor_pose(channel: str) -> tuple[np.ndarray, Rotation]:
    """(translation [3], rotation) from a sensor's axes to the car's."""
    if channel == LIDAR:
        return np.array(LIDAR_AT), Rotation.from_euler("z", LIDAR_YAW_DEG, degrees=True)
    at, yaw_deg, _ = CAMERAS[channel]
    forward = Rotation.from_matrix([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # camera axes to the car's
    return np.array(at), Rotation.from_euler("z", yaw_deg, degrees=True) * forward


def intrinsics(channel: str, settings: Settings) -> np.ndarray:
    """[3, 3] pixels"""
    focal = CAMERAS[channel][2] * settings.width / 1600
    return np.array([[focal, 0.0, settings.width / 2], [0.0, focal, settings.height / 2], [0.0, 0.0, 1.0]])


@dataclass
class _Scene:
    """Writes one scene's files and adds its rows to the tables."""

    root: Path
    settings: Settings
    number: int
    tables: Tables
    annotations: dict[int, list[dict[str, Any]]] = field(default_factory=dict)  # of each thing, by time

    def __post_init__(self) -> None:
        self.start_us = START_US + SCENE_US * self.number
        seconds = (self.settings.samples - 1) * SAMPLE_US / 1e6
        self.world: World = make_world(self.settings.seed, self.number, seconds)
        self.samples = [self._token("sample", i) for i in range(self.settings.samples)]

    def write(self) -> None:
        name = f"scene-{self.number + 1:04d}"
        self.tables["scene"].append(
            {
                "token": self._token("scene"),
                "name": name,
                "description": f"Generated street, {self.world.speed:.1f} m/s",
                "log_token": self.tables["log"][0]["token"],
                "nbr_samples": len(self.samples),
                "first_sample_token": self.samples[0],
                "last_sample_token": self.samples[-1],
            }
        )
        for i, own in enumerate(self.samples):
            time_us = self.start_us + i * SAMPLE_US
            row = {"token": own, "timestamp": time_us, "scene_token": self._token("scene"), **_chain(self.samples, i)}
            self.tables["sample"].append(row)
            for channel, lag_us in zip(CAMERAS, CAMERA_LAGS_US, strict=True):
                self._photograph(i, channel, time_us + lag_us)
        self._lidar()
        self._finish_instances()

    def _token(self, *words: Any) -> str:
        return token(self.settings.seed, self.number, *words)

    def _seconds(self, time_us: int) -> float:
        return (time_us - self.start_us) / 1e6

    def _ego(self, time_us: int) -> tuple[np.ndarray, Rotation]:
        at, yaw, pitch, roll = self.world.car(self._seconds(time_us))
        return at, Rotation.from_euler("ZYX", [yaw, pitch, roll])

    def _global_from(self, channel: str, time_us: int) -> np.ndarray:
        """[4, 4]"""
        return _matrix(*self._ego(time_us)) @ _matrix(*sensor_pose(channel))

    def _photograph(self, sample: int, channel: str, time_us: int) -> None:
        s = self.settings
        view = picture(
            self.world,
            Blocks.of(self.world, self._seconds(time_us)),
            self._global_from(channel, time_us),
            intrinsics(channel, s),
            s.width,
            s.height,
            [s.seed, self.number, sample, list(CAMERAS).index(channel)],
        )
        name = f"samples/{channel}/scene{self.number + 1:04d}__{channel}__{time_us}.jpg"
        quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
        done, data = cv2.imencode(".jpg", cv2.cvtColor(view.rgb, cv2.COLOR_RGB2BGR), quality)
        assert done
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        write_bytes(self.root / name, data.tobytes())
        times = [self.start_us + i * SAMPLE_US + time_us - self._key_us(sample) for i in range(s.samples)]
        self._data(sample, channel, time_us, name, True, times, sample)

    def _key_us(self, sample: int) -> int:
        return self.start_us + sample * SAMPLE_US

    def _lidar(self) -> None:
        """Key sweeps and those between them; a sweep belongs to the next key frame."""
        s = self.settings
        between = max(1, round(s.sweep_hz * SAMPLE_US / 1e6))
        times = [self.start_us + SAMPLE_US * k // between for k in range((s.samples - 1) * between + 1)]
        for k, time_us in enumerate(times):
            is_key, sample = k % between == 0, -(-k // between)
            rng = np.random.default_rng([s.seed, self.number, 1000 + k])
            blocks = Blocks.of(self.world, self._seconds(time_us))
            found = sweep(blocks, self._global_from(LIDAR, time_us), s.columns, len(self.world.things), rng)
            folder = "samples" if is_key else "sweeps"
            name = f"{folder}/{LIDAR}/scene{self.number + 1:04d}__{LIDAR}__{time_us}.pcd.bin"
            _write_sweep(self.root / name, found)
            self._data(sample, LIDAR, time_us, name, is_key, times, k)
            if is_key:
                self._annotate(sample, time_us, found)

    def _data(
        self, sample: int, channel: str, time_us: int, name: str, is_key: bool, times: list[int], place: int
    ) -> None:
        """Rows of sample_data and ego_pose; `times` are those of the channel's whole chain."""
        tokens = {
            i: self._token("data", channel, times[i]) for i in (place - 1, place, place + 1) if 0 <= i < len(times)
        }
        at, rotation = self._ego(time_us)
        pose = {"token": tokens[place], "timestamp": time_us, "translation": at.tolist(), "rotation": _wxyz(rotation)}
        self.tables["ego_pose"].append(pose)
        camera = channel != LIDAR
        self.tables["sample_data"].append(
            {
                "token": tokens[place],
                "sample_token": self.samples[sample],
                "ego_pose_token": tokens[place],
                "calibrated_sensor_token": token("calibrated_sensor", channel, self.settings.seed),
                "filename": name,
                "fileformat": "jpg" if camera else "pcd",
                "width": self.settings.width if camera else 0,
                "height": self.settings.height if camera else 0,
                "timestamp": time_us,
                "is_key_frame": is_key,
                "prev": tokens.get(place - 1, ""),
                "next": tokens.get(place + 1, ""),
            }
        )

    def _annotate(self, sample: int, time_us: int, found: Sweep) -> None:
        poses = self.world.poses(self._seconds(time_us))
        ego, _ = self._ego(time_us)
        near = np.hypot(*(poses[:, :2] - ego[:2]).T) < ANNOTATED_M
        global_from_lidar = self._global_from(LIDAR, time_us)
        points = found.xyz.astype(np.float64) @ global_from_lidar[:3, :3].T + global_from_lidar[:3, 3]
        for index in np.flatnonzero(near):
            thing, own = self.world.things[index], self._token("annotation", index, sample)
            level = 1 + sum(found.visible[index] >= limit for limit in VISIBILITY)
            row = {
                "token": own,
                "sample_token": self.samples[sample],
                "instance_token": self._token("instance", index),
                "attribute_tokens": [token("attribute", thing.attribute)] if thing.attribute else [],
                "visibility_token": str(level),
                "translation": poses[index, :3].tolist(),
                "size": list(thing.size_wlh),
                "rotation": [math.cos(poses[index, 3] / 2), 0.0, 0.0, math.sin(poses[index, 3] / 2)],
                "num_lidar_pts": _points_inside(points, poses[index], thing.size_wlh),
                "num_radar_pts": 0,
            }
            self.annotations.setdefault(int(index), []).append(row)

    def _finish_instances(self) -> None:
        """Chains of annotations, and their instances, once all are known."""
        for index, rows in self.annotations.items():
            tokens = [row["token"] for row in rows]
            for i, row in enumerate(rows):
                self.tables["sample_annotation"].append({**row, **_chain(tokens, i)})
            self.tables["instance"].append(
                {
                    "token": self._token("instance", index),
                    "category_token": token("category", KINDS[self.world.things[index].kind].category),
                    "nbr_annotations": len(rows),
                    "first_annotation_token": tokens[0],
                    "last_annotation_token": tokens[-1],
                }
            )


def _chain(tokens: Sequence[str], i: int) -> dict[str, str]:
    return {"prev": tokens[i - 1] if i else "", "next": tokens[i + 1] if i + 1 < len(tokens) else ""}


def _points_inside(points: np.ndarray, pose: np.ndarray, size_wlh: tuple[float, float, float]) -> int:
    """The number of points [P, 3] that lie in or on an upright box at x, y, z, heading."""
    w, length, h = size_wlh
    near = points[(np.abs(points[:, :2] - pose[:2]) <= length / 2 + w / 2).all(axis=1)] - pose[:3]
    c, s = math.cos(pose[3]), math.sin(pose[3])
    forward, left = c * near[:, 0] + s * near[:, 1], c * near[:, 1] - s * near[:, 0]
    inside = (np.abs(forward) <= length / 2) & (np.abs(left) <= w / 2) & (np.abs(near[:, 2]) <= h / 2)
    return int(inside.sum())


def _matrix(translation: np.ndarray, rotation: Rotation) -> np.ndarray:
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = rotation.as_matrix(), translation
    return out


def _wxyz(rotation: Rotation) -> list[float]:
    x, y, z, w = rotation.as_quat()
    return [float(w), float(x), float(y), float(z)]


def _write_sweep(path: Path, found: Sweep) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = np.column_stack([found.xyz, found.intensity, found.ring]).astype("<f4")
    with atomic_writer(path) as file:
        file.write(rows.tobytes())


def _write_png(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    done, data = cv2.imencode(".png", pixels)
    assert done
    write_bytes(path, data.tobytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    defaults = Settings()
    for name, what in (
        ("scenes", "number of scenes"),
        ("samples", "key frames of each scene, half a second apart"),
        ("seed", "another seed gives other streets"),
        ("sweep_hz", "LiDAR turns in a second"),
        ("columns", "LiDAR rays of each of the 32 beams in one turn"),
        ("width", "width of the photographs in pixels"),
    ):
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, type=int, default=getattr(defaults, name), help=f"{what} (%(default)s)")
    args = vars(parser.parse_args())
    print(make(args.pop("output"), Settings(**args)))


if __name__ == "__main__":
    main()
