"""MMDetection3D 1.1 info files of nuScenes, as JSON: one record a key frame, boxes in the LiDAR's frame."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..boxes import Boxes
from ..cameras import Cameras
from ..capture import Capture, Frame
from ..driving import DrivingFrame, DrivingLog, LidarPoints
from ..errors import BadInputError
from ..files import read_json
from ..geometry import transform_points
from ..images import MAX_MEGAPIXELS, read_header
from ..readers.image_frames import file_frame
from ..readers.safe_paths import is_file
from .box_conventions import from_mmdet3d
from .lidar_files import lidar_columns, read_lidar
from .nuscenes_log import camera_place
from .sensor_files import sensor_file
from .table_columns import checked, integer, numbers, text

_RIGID_TOLERANCE = 1e-3  # the matrices were float32 once


def is_info(table: Any) -> bool:
    """True where a JSON value has the outer form of an info file."""
    return isinstance(table, dict) and isinstance(table.get("metainfo"), dict) and "data_list" in table


def read_info(path: Path | str, sweeps: int = 1, photographs: bool = True) -> DrivingLog:
    """The records of an info file as JSON (never the pickle). Files are looked for beside it.

    Each frame has up to `sweeps` LiDAR sweeps: its own, and those that its 'lidar_sweeps' lists. Without `photographs`
    no camera is looked at.
    Raises BadInputError that names record and field; each record is checked when it is loaded.
    """
    path = Path(path)
    if path.suffix.lower() in (".pkl", ".pickle"):
        raise BadInputError(
            f"{path} is a Python pickle, which could run code, so it was not read; write what is in it as JSON, in an "
            "environment that trusts it, and give that file."
        )
    table = read_json(path, allow_nan=True)  # unknown velocities are written as NaN
    if not is_info(table) or not isinstance(table["data_list"], list) or not table["data_list"]:
        raise BadInputError(
            f"{path} should hold an object with 'metainfo' and a list 'data_list' of at least one record."
        )
    names = _names(path, table["metainfo"])
    records = [_Record(path, i, record, names) for i, record in enumerate(table["data_list"])]
    tokens = tuple(record.token() for record in records)
    short = sum(len(record.earlier(sweeps)) == 0 for record in records) if sweeps > 1 else 0
    notes: tuple[str, ...] = ()
    if short:
        notes = (
            f"{short} of {len(records)} records of {path.name} have no earlier LiDAR sweeps ('lidar_sweeps' with files "
            f"that are there), where up to {sweeps - 1} were asked for; the key sweep alone makes boxes worse.",
        )
    return DrivingLog(tokens, str(path), lambda index: records[index].frame(sweeps, photographs), notes)


def _names(path: Path, metainfo: dict[str, Any]) -> tuple[str, ...]:
    """Class names in the order of their labels. The info files of other data sets number none, and stop here."""
    categories = metainfo.get("categories")
    numbered = isinstance(categories, dict) and all(type(number) is int for number in categories.values())
    if not isinstance(categories, dict) or not numbered or sorted(categories.values()) != list(range(len(categories))):
        raise BadInputError(
            f"{path}: 'categories' of 'metainfo' should number the classes from 0, as the info files of nuScenes do; "
            f"found {str(categories)[:60]}."
        )
    return tuple(sorted(categories, key=lambda name: categories[name]))


class _Record:
    """One entry of 'data_list', with errors that say where."""

    def __init__(self, path: Path, index: int, record: Any, names: tuple[str, ...]) -> None:
        self.path, self.names = path, names
        self.where = f"{path}: record {index}"
        self.values = self._object(record, self.where)

    def token(self) -> str:
        return checked(self._get(self.values, "token", self.where), text, f"{self.where}, 'token',").decode()

    def frame(self, sweeps: int, photographs: bool) -> DrivingFrame:
        lidar = self._object(self._get(self.values, "lidar_points", self.where), f"{self.where}, 'lidar_points',")
        where = f"{self.where}, 'lidar_points'"
        columns = checked(lidar.get("num_pts_feats", 5), integer, f"{where}, 'num_pts_feats',")
        if not 4 <= columns <= 16:
            raise BadInputError(f"{where}, 'num_pts_feats', should be 4 to 16, found {columns}.")
        sweep = self._find(self._get(lidar, "lidar_path", where), ("samples/LIDAR_TOP", "LIDAR_TOP"), where)
        points = read_lidar(sweep, columns)
        if columns == 5 and lidar_columns(sweep) == 4:
            raise BadInputError(
                f"{where}, 'num_pts_feats', says 5 numbers a point, but {sweep} looks like 4: its size fits both, and "
                "the fifth would be no ring; correct it in the info file."
            )
        seconds = checked(self._get(self.values, "timestamp", self.where), _seconds, f"{self.where}, 'timestamp',")
        return DrivingFrame(
            self.token(),
            round(seconds * 1e6),
            self._capture() if photographs else Capture((), str(self.path)),
            LidarPoints.cat([points, *(self._earlier_points(e, seconds, columns) for e in self.earlier(sweeps))]),
            self._rigid(lidar, "lidar2ego", where),
            self._rigid(self.values, "ego2global", self.where),
            self._boxes(),
            title=self.token(),
        )

    def earlier(self, sweeps: int) -> list[tuple[dict[str, Any], Path, str]]:
        """(entry, file, where) of up to sweeps - 1 of 'lidar_sweeps' whose files are there, the newest first."""
        listed = self.values.get("lidar_sweeps", [])
        if not isinstance(listed, list):
            raise BadInputError(f"{self.where}, 'lidar_sweeps', should be a list.")
        found = []
        for i, value in enumerate(listed[: sweeps - 1]):
            where = f"{self.where}, sweep {i}"
            entry = self._object(value, where)
            lidar = self._object(self._get(entry, "lidar_points", where), f"{where}, 'lidar_points',")
            named = self._get(lidar, "lidar_path", where)
            path = self._there(named, ("sweeps/LIDAR_TOP", "samples/LIDAR_TOP", "LIDAR_TOP"), where)
            if path is not None:
                found.append((entry, path, where))
        return found

    def _earlier_points(self, sweep: tuple[dict[str, Any], Path, str], key_s: float, columns: int) -> LidarPoints:
        """Points of an earlier sweep in the key sweep's frame."""
        entry, path, where = sweep
        seconds = checked(self._get(entry, "timestamp", where), _seconds, f"{where}, 'timestamp',")
        if seconds > key_s:
            raise BadInputError(f"{where} is later than its key frame, by {seconds - key_s:g} s; it should be earlier.")
        then_from_key = self._rigid(entry["lidar_points"], "lidar2sensor", f"{where}, 'lidar_points'")
        points = read_lidar(path, columns)
        xyz = transform_points(torch.linalg.inv(then_from_key), points.xyz.double()).float()
        return LidarPoints(xyz, points.intensity, torch.full_like(points.lag_s, key_s - seconds))

    def _capture(self) -> Capture:
        images = self._object(self._get(self.values, "images", self.where), f"{self.where}, 'images',")
        frames: list[Frame] = []
        cameras: list[Cameras] = []
        for channel in sorted(images, key=camera_place):
            where = f"{self.where}, {channel}"
            entry = self._object(images[channel], where)
            path = self._find(self._get(entry, "img_path", where), (f"samples/{channel}", channel), where)
            header = read_header(path)
            K = checked(self._get(entry, "cam2img", where), _matrix(3), f"{where}, 'cam2img',")
            cam_from_lidar = self._rigid(entry, "lidar2cam", where)
            frames.append(file_frame(channel, path, MAX_MEGAPIXELS, header=header))
            size = torch.tensor(header.width), torch.tensor(header.height)
            cameras.append(Cameras(cam_from_lidar.float(), K.float(), *size))
        return Capture(tuple(frames), str(self.path), Cameras.stack(cameras) if cameras else None)

    def _boxes(self) -> Boxes | None:
        """The annotated boxes; None where the record has none, as in a test split."""
        instances = self.values.get("instances")
        if instances is None:
            return None
        if not isinstance(instances, list):
            raise BadInputError(f"{self.where}, 'instances', should be a list.")
        rows, labels, velocities, counts = [], [], [], []
        for i, value in enumerate(instances):
            where = f"{self.where}, instance {i}"
            entry = self._object(value, where)
            rows.append(checked(self._get(entry, "bbox_3d", where), _seven, f"{where}, 'bbox_3d',"))
            label = checked(self._get(entry, "bbox_label_3d", where), integer, f"{where}, 'bbox_label_3d',")
            if not -1 <= label < len(self.names):
                raise BadInputError(
                    f"{where}, 'bbox_label_3d', should be -1 to {len(self.names) - 1}, one of the {len(self.names)} "
                    f"categories, found {label}."
                )
            labels.append(label)
            velocities.append(checked(entry.get("velocity", [math.nan] * 2), _velocity, f"{where}, 'velocity',"))
            counts.append([checked(entry.get(f"num_{k}_pts", -1), integer, where) for k in ("lidar", "radar")])
        if not rows:
            return Boxes.empty(self.names)
        return from_mmdet3d(
            torch.tensor(rows),
            torch.tensor(labels),
            self.names,
            velocities=torch.tensor(velocities),
            point_counts=torch.tensor(counts),
        )

    def _find(self, named: Any, folders: tuple[str, ...], where: str) -> Path:
        """A file that is named bare: beside the info file, or in the data set's folder for its sensor."""
        found = self._there(named, folders, where)
        if found is None:
            raise BadInputError(
                f"{where}: {named} is not there; it was looked for in {self.path.parent} and its {folders[0]}."
            )
        return found

    def _there(self, named: Any, folders: tuple[str, ...], where: str) -> Path | None:
        name = checked(named, text, where).decode()
        names = (name, *(f"{folder}/{name}" for folder in folders))
        candidates = [sensor_file(self.path.parent, n, where) for n in names]
        return next((candidate for candidate in candidates if is_file(candidate)), None)

    def _rigid(self, entry: dict[str, Any], key: str, where: str) -> Tensor:
        """[4, 4] float64"""
        matrix = checked(self._get(entry, key, where), _matrix(4), f"{where}, '{key}',")
        rotation = matrix[:3, :3]
        off = (rotation @ rotation.T - torch.eye(3).double()).abs().max()
        last_row = torch.tensor([0.0, 0, 0, 1]).double()
        if off > _RIGID_TOLERANCE or torch.det(rotation) < 0 or not torch.equal(matrix[3], last_row):
            raise BadInputError(f"{where}, '{key}', is no rigid motion (a rotation and a translation).")
        return matrix

    def _get(self, entry: dict[str, Any], key: str, where: str) -> Any:
        if key not in entry:
            raise BadInputError(f"{where} has no '{key}'.")
        return entry[key]

    def _object(self, value: Any, where: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise BadInputError(f"{where} should be an object, found {type(value).__name__}.")
        return value


def _seconds(value: Any) -> float:
    found: float = numbers(1)([value])[0]
    if not 0 <= found < 1e11:
        raise ValueError("seconds since 1970")
    return found


def _seven(value: Any) -> list[float]:
    try:
        row: list[float] = numbers(7)(value)
    except ValueError as error:
        raise ValueError("7 finite numbers x, y, z, length, width, height, yaw") from error
    if min(row[3:6]) <= 0:
        raise ValueError("a box with a positive length, width and height")
    return row


def _velocity(value: Any) -> list[float]:
    """x, y, and 0 for z; NaN where unknown."""
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError("2 numbers")
    unknown = any(v != v for v in value)
    return [math.nan, math.nan, 0.0] if unknown else [*numbers(2)(value), 0.0]


def _matrix(size: int) -> Any:
    """A square matrix as float64 [size, size]."""

    def convert(value: Any) -> Tensor:
        if not isinstance(value, list) or len(value) != size:
            raise ValueError(f"{size} x {size} finite numbers")
        try:
            return torch.tensor([numbers(size)(row) for row in value], dtype=torch.float64)
        except ValueError as error:
            raise ValueError(f"{size} x {size} finite numbers") from error

    return convert
