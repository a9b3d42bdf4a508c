"""nuScenes-format folders: cameras, LiDAR and annotated boxes of each key frame in one frame of reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..boxes import Boxes
from ..cameras import Cameras
from ..capture import Capture, Frame
from ..driving import DrivingFrame, DrivingLog, LidarPoints
from ..errors import BadInputError
from ..geometry import rotation_from_quat, se3_from, transform_points
from ..images import MAX_MEGAPIXELS, read_header
from ..progress import Progress, silent
from ..readers.image_frames import file_frame
from ..readers.safe_paths import listed
from .box_conventions import from_nuscenes
from .lidar_files import COLUMNS, lidar_columns, read_lidar
from .nuscenes_cache import load_tables
from .nuscenes_tables import LIDAR, TABLES, Tables
from .sensor_files import sensor_file

# Clockwise from the left, as people and most detectors list them; other channels follow by name.
CAMERA_ORDER = (
    "CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_RIGHT", "CAM_BACK", "CAM_BACK_LEFT",
)  # fmt: skip


def camera_place(channel: str) -> tuple[int, str]:
    """A key that sorts channels as CAMERA_ORDER does."""
    return CAMERA_ORDER.index(channel) if channel in CAMERA_ORDER else len(CAMERA_ORDER), channel


def version_folders(path: Path) -> list[Path]:
    """The folders with a nuScenes-format data set's tables in `path`, or `path` itself when it is one."""
    if _is_version(path):
        return [path]
    return sorted(folder for folder in path.glob("v1.0-*") if _is_version(folder)) if path.is_dir() else []


def _is_version(folder: Path) -> bool:
    return all((folder / f"{name}.json").is_file() for name in ("sample", "sample_data"))


class NuScenes:
    """The key frames of one version of a data set. Raises BadInputError for a folder or tables that cannot be used."""

    def __init__(self, path: Path | str, cache: Path | None = None, progress: Progress = silent) -> None:
        path = Path(path)
        folders = version_folders(path)
        if not folders:
            raise BadInputError(
                f"{path} holds no nuScenes-format tables; a folder with v1.0-*/sample.json, sample_data.json and "
                f"{', '.join(f'{name}.json' for name in TABLES if not name.startswith('sample'))} is expected."
            )
        if len(folders) > 1:
            names = listed([folder.name for folder in folders])
            raise BadInputError(f"{path} holds several versions ({names}); name one of them, e.g. {folders[0]}.")
        self.root, self.folder = folders[0].parent, folders[0]
        self.tables: Tables = load_tables(self.folder, cache, progress)
        self.tokens = tuple(token.decode() for token in self.tables.sample_token)
        self._index = {token: i for i, token in enumerate(self.tokens)}
        scene = self.tables.sample_scene
        self._scene_starts = np.concatenate([[0], np.flatnonzero(scene[1:] != scene[:-1]) + 1])
        self._channel = {name.decode(): i for i, name in enumerate(self.tables.channel)}

    def __len__(self) -> int:
        return len(self.tokens)

    def index(self, token: str) -> int:
        if token not in self._index:
            raise BadInputError(f"{self.folder} has no sample with the token {token[:60]!r}.")
        return self._index[token]

    def log(self, sweeps: int = 1) -> DrivingLog:
        """All key frames, with `sweeps` LiDAR sweeps each."""
        notes = () if self.tables.annotated[0] else (f"{self.folder.name} has no annotations, so no true boxes.",)
        return DrivingLog(self.tokens, str(self.folder), lambda index: self.frame(index, sweeps), notes)

    def frame(self, sample: int | str, sweeps: int = 1, photographs: bool = True) -> DrivingFrame:
        """A key frame by its number or token, with up to `sweeps` LiDAR sweeps: the key sweep and those before it.

        Earlier sweeps whose files are absent are left out. Without `photographs` no camera is looked at.
        """
        i = self.index(sample) if isinstance(sample, str) else range(len(self))[sample]
        key = self._lidar_row(i)
        ego_from_lidar, global_from_ego = self._ego_from_sensor(key), self._global_from_ego(key)
        lidar_from_global = torch.linalg.inv(global_from_ego @ ego_from_lidar)
        truth = None
        if self.tables.annotated[0]:
            truth = self.boxes(i).moved(lidar_from_global).to(torch.float32)
        number = i - int(self._scene_starts[np.searchsorted(self._scene_starts, i, "right") - 1]) + 1
        return DrivingFrame(
            self.tokens[i],
            int(self.tables.sample_time_us[i]),
            self._capture(i, lidar_from_global) if photographs else Capture((), str(self.folder)),
            self._points(key, sweeps, lidar_from_global),
            ego_from_lidar,
            global_from_ego,
            truth,
            title=f"{self.tables.sample_scene[i].decode()}, key frame {number}",
        )

    def boxes(self, sample: int | str) -> Boxes:
        """The annotations of a sample in the global frame, float64, labels into the data set's own categories."""
        t, i = self.tables, self.index(sample) if isinstance(sample, str) else range(len(self))[sample]
        rows = slice(int(t.box_start[i]), int(t.box_start[i + 1]))
        pose = torch.tensor(t.box_pose[rows])
        attributes = ["", *(name.decode() for name in t.attribute)]
        return from_nuscenes(
            pose[:, :3],
            torch.tensor(t.box_size_wlh[rows]),
            pose[:, 3:],
            torch.tensor(t.box_category[rows]),
            [name.decode() for name in t.category],
            velocities=torch.tensor(t.box_velocity[rows]),
            point_counts=torch.tensor(t.box_points[rows]),
            attributes=tuple(attributes[a + 1] for a in t.box_attribute[rows]),
            tokens=tuple(token.decode() for token in t.box_token[rows]),
        )

    def _capture(self, sample: int, lidar_from_global: Tensor) -> Capture:
        t = self.tables
        present = [c for c in np.flatnonzero(t.channel_is_camera) if t.key_file[sample, c] >= 0]
        names = [t.channel[c].decode() for c in present]
        order = sorted(range(len(names)), key=lambda k: camera_place(names[k]))
        frames, cameras = [], []
        for k in order:
            frame, camera = self._camera(names[k], int(t.key_file[sample, present[k]]), lidar_from_global)
            frames.append(frame)
            cameras.append(camera)
        return Capture(tuple(frames), str(self.folder), Cameras.stack(cameras) if cameras else None)

    def _camera(self, channel: str, row: int, lidar_from_global: Tensor) -> tuple[Frame, Cameras]:
        t = self.tables
        path = self._file(row)
        if not path.is_file():
            raise BadInputError(f"The photograph {path} is not there, though {self.folder.name} lists it.")
        header = read_header(path)
        width, height = (int(side) for side in t.file_size_px[row])
        if (header.width, header.height) != (width, height):
            raise BadInputError(
                f"{path} has {header.width} x {header.height} pixels, but sample_data says {width} x {height}; the "
                "camera matrix would not fit, so put the original photograph in its place."
            )
        K = torch.tensor(t.calibration_K[t.file_calibration[row]]).reshape(3, 3)
        if not K.any():
            raise BadInputError(
                f"{channel} of {path} has no camera_intrinsic in calibrated_sensor; 3 x 3 are expected."
            )
        lidar_from_cam = lidar_from_global @ self._global_from_ego(row) @ self._ego_from_sensor(row)
        camera = Cameras(torch.linalg.inv(lidar_from_cam).float(), K.float(), torch.tensor(width), torch.tensor(height))
        return replace(file_frame(channel, path, MAX_MEGAPIXELS, header=header), focal_px=None), camera

    def _points(self, key: int, sweeps: int, lidar_from_global: Tensor) -> LidarPoints:
        """The key sweep and up to sweeps - 1 before it, each moved by how far the car went since."""
        t = self.tables
        parts: list[LidarPoints] = []
        for row in self._sweep_rows(key, sweeps):
            if row != key and not self._file(row).is_file():
                continue  # told by `input_notes`
            points = read_lidar(self._file(row))
            if row != key:
                key_from_then = lidar_from_global @ self._global_from_ego(row) @ self._ego_from_sensor(row)
                lag_s = (int(t.file_time_us[key]) - int(t.file_time_us[row])) / 1e6
                xyz = transform_points(key_from_then, points.xyz.double()).float()
                points = replace(points, xyz=xyz, lag_s=torch.full_like(points.lag_s, lag_s))
            parts.append(points)
        return LidarPoints.cat(parts)

    def _sweep_rows(self, key: int, sweeps: int) -> list[int]:
        """Rows of the key sweep and up to sweeps - 1 before it, as the tables list them."""
        rows = [key]
        while len(rows) < sweeps and (before := int(self.tables.file_before[rows[-1]])) >= 0:
            rows.append(before)
        return rows

    def input_notes(self, samples: Sequence[int], sweeps: int) -> tuple[str, ...]:
        """Sentences about what these samples lack or have in another form. Raises BadInputError for a damaged file."""
        keys = [self._lidar_row(i) for i in samples]
        earlier = {row for key in keys for row in self._sweep_rows(key, sweeps)[1:]}
        absent = {row for row in earlier if not self._file(row).is_file()}
        notes = []
        if absent:
            short = sum(not absent.isdisjoint(self._sweep_rows(key, sweeps)) for key in keys)
            notes.append(
                f"{short} of {len(keys)} key frames lack LiDAR sweeps that the tables list before them (e.g. "
                f"{self._file(min(absent))}); they are used with those that are there, which makes boxes worse."
            )
        if keys and self._file(keys[0]).is_file() and lidar_columns(self._file(keys[0])) == COLUMNS[1]:
            notes.append(
                f"The LiDAR files of {self.root} have four numbers a point, not the five of nuScenes; the fourth is "
                "taken for an intensity, which is 0 to 255 in nuScenes."
            )
        return tuple(notes)

    def _lidar_row(self, sample: int) -> int:
        channel = self._channel.get(LIDAR)
        row = -1 if channel is None else int(self.tables.key_file[sample, channel])
        if row < 0:
            raise BadInputError(f"The sample {self.tokens[sample]} of {self.folder} has no key frame of {LIDAR}.")
        return row

    def _file(self, row: int) -> Path:
        return sensor_file(self.root, self.tables.file_name[row].decode("utf-8", "replace"), "sample_data")

    def _ego_from_sensor(self, row: int) -> Tensor:
        return _rigid(self.tables.calibration_pose[self.tables.file_calibration[row]])

    def _global_from_ego(self, row: int) -> Tensor:
        return _rigid(self.tables.file_pose[row])


def _rigid(pose: np.ndarray) -> Tensor:
    """[4, 4] float64 of x, y, z, qw, qx, qy, qz."""
    numbers = torch.tensor(np.array(pose))
    return se3_from(rotation_from_quat(numbers[3:]), numbers[:3])
