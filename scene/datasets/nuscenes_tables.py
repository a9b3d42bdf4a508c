"""The JSON tables of a nuScenes-format folder as one index of arrays, kept in a cache and memory-mapped from there.

The full data set's tables have gigabytes of text and millions of rows. They are streamed once; of them stay the key
frames of the cameras, every LiDAR sweep, and the annotations.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadInputError
from .table_columns import Converter, flag, integer, numbers, one_token, read_columns, rotation, rows_of, sizes, text

LIDAR = "LIDAR_TOP"
TABLES = ("scene", "sample", "sample_data", "ego_pose", "calibrated_sensor", "sensor")
ANNOTATION_TABLES = ("sample_annotation", "instance", "category", "attribute")
# Annotations of one object that are further apart in time say nothing about its velocity (the devkit's limit).
MAX_VELOCITY_GAP_S = 1.5


@dataclass(frozen=True)
class Tables:
    """S samples by scene and time, C channels, D sensor files, K calibrations, A annotations by sample.

    Poses are x, y, z, qw, qx, qy, qz. All arrays may be views of a file: read only.
    """

    sample_token: np.ndarray  # [S] bytes
    sample_time_us: np.ndarray  # [S] int64
    sample_scene: np.ndarray  # [S] bytes, the scene's name
    channel: np.ndarray  # [C] bytes
    channel_is_camera: np.ndarray  # [C] bool
    key_file: np.ndarray  # [S, C] int64 row of a sensor file, -1 where there is none
    file_name: np.ndarray  # [D] bytes, relative to the data set's root
    file_time_us: np.ndarray  # [D] int64
    file_size_px: np.ndarray  # [D, 2] int64 width, height; 0 for what is no image
    file_calibration: np.ndarray  # [D] int64
    file_pose: np.ndarray  # [D, 7] float64, global_from_ego at the file's own time
    file_before: np.ndarray  # [D] int64 row of the previous LiDAR sweep, -1 at a scene's start and for cameras
    calibration_pose: np.ndarray  # [K, 7] float64, ego_from_sensor
    calibration_K: np.ndarray  # [K, 9] float64, pixels; 0 for what is no camera
    box_start: np.ndarray  # [S + 1] int64: annotations start[i] to start[i + 1] are of sample i
    box_token: np.ndarray  # [A] bytes
    box_pose: np.ndarray  # [A, 7] float64, global_from_box
    box_size_wlh: np.ndarray  # [A, 3] float64, metres
    box_velocity: np.ndarray  # [A, 3] float64, m/s in the global frame, NaN where unknown
    box_category: np.ndarray  # [A] int64
    box_attribute: np.ndarray  # [A] int64, -1 for none
    box_points: np.ndarray  # [A, 2] int64, LiDAR and radar
    category: np.ndarray  # [N] bytes
    attribute: np.ndarray  # [N] bytes
    annotated: np.ndarray  # [1] bool: whether there are annotations; the official test split has empty tables of them

    def __len__(self) -> int:
        return len(self.sample_token)


def build_tables(folder: Path) -> Tables:
    """Read and check the tables of a version folder. Raises BadInputError that names table, row and field."""
    arrays = _samples(folder)
    sample_rows = arrays.pop("_order")  # sample.json's rows in the order of `sample_token`
    arrays |= _files(folder, arrays["sample_token"])
    if (folder / "sample_annotation.json").is_file():
        arrays |= _boxes(folder, arrays["sample_token"], arrays["sample_time_us"])
    if not len(arrays.get("box_token", ())):
        arrays |= _no_boxes(len(sample_rows))
    return Tables(**arrays)


def _columns(folder: Path, table: str, given: dict[str, Converter], **options: Any) -> dict[str, np.ndarray]:
    return read_columns(folder / f"{table}.json", {"token": text, **given}, **options)


def _samples(folder: Path) -> dict[str, np.ndarray]:
    scene = _columns(folder, "scene", {"name": text})
    sample = _columns(folder, "sample", {"scene_token": text, "timestamp": integer})
    if not len(sample["token"]):
        raise BadInputError(f"{folder / 'sample.json'} lists no samples, so there is nothing to read.")
    scene_row = rows_of(sample["scene_token"], scene["token"], "A 'scene_token' of sample", folder / "scene.json")
    order = np.lexsort((sample["timestamp"], scene_row))
    return {
        "sample_token": sample["token"][order],
        "sample_time_us": sample["timestamp"][order],
        "sample_scene": scene["name"][scene_row[order]],
        "_order": order,
    }


def _files(folder: Path, sample_token: np.ndarray) -> dict[str, np.ndarray]:
    sensor = _columns(folder, "sensor", {"channel": text, "modality": text})
    calibration = _columns(
        folder,
        "calibrated_sensor",
        {"sensor_token": text, "translation": numbers(3), "rotation": rotation, "camera_intrinsic": _intrinsics},
    )
    sensor_row = rows_of(
        calibration["sensor_token"], sensor["token"], "A 'sensor_token' of calibrated_sensor", folder / "sensor.json"
    )
    kinds = {
        token.decode(): (sensor["channel"][row].decode(), sensor["modality"][row].decode())
        for token, row in zip(calibration["token"], sensor_row, strict=True)
    }

    def keep(row: dict[str, Any]) -> bool:
        token = row.get("calibrated_sensor_token")
        if not isinstance(token, str) or token not in kinds:
            return True  # refused where the columns are checked
        channel, modality = kinds[token]
        return channel == LIDAR or (modality == "camera" and row.get("is_key_frame") is not False)

    data = _columns(
        folder,
        "sample_data",
        {
            "sample_token": text,
            "ego_pose_token": text,
            "calibrated_sensor_token": text,
            "filename": text,
            "timestamp": integer,
            "width": integer,
            "height": integer,
            "is_key_frame": flag,
            "prev": text,
        },
        defaults={"prev": "", "width": 0, "height": 0},
        keep=keep,
    )
    wanted = {token.decode() for token in data["ego_pose_token"]}
    pose = _columns(
        folder,
        "ego_pose",
        {"translation": numbers(3), "rotation": rotation},
        keep=lambda row: row.get("token") in wanted if isinstance(row.get("token"), str) else True,
    )

    def rows(field: str, tokens: np.ndarray, table: str) -> np.ndarray:
        return rows_of(data[field], tokens, f"A '{field}' of sample_data", folder / f"{table}.json")

    sample_row = rows("sample_token", sample_token, "sample")
    calibration_row = rows("calibrated_sensor_token", calibration["token"], "calibrated_sensor")
    pose_row = rows("ego_pose_token", pose["token"], "ego_pose")
    before = _sweeps_before(
        folder, data, np.flatnonzero(sensor["channel"][sensor_row[calibration_row]] == LIDAR.encode())
    )
    channel, channel_of_sensor = np.unique(sensor["channel"], return_inverse=True)
    is_camera = np.zeros(len(channel), bool)
    is_camera[channel_of_sensor[sensor["modality"] == b"camera"]] = True
    key_file = _key_files(
        folder, sample_row, channel_of_sensor[sensor_row[calibration_row]], data["is_key_frame"], sample_token, channel
    )
    return {
        "channel": channel,
        "channel_is_camera": is_camera,
        "key_file": key_file,
        "file_name": data["filename"],
        "file_time_us": data["timestamp"],
        "file_size_px": np.stack([data["width"], data["height"]], axis=1),
        "file_calibration": calibration_row,
        "file_pose": _poses(pose)[pose_row],
        "file_before": before,
        "calibration_pose": _poses(calibration),
        "calibration_K": calibration["camera_intrinsic"].reshape(-1, 9),
    }


def _sweeps_before(folder: Path, data: dict[str, np.ndarray], lidar: np.ndarray) -> np.ndarray:
    """int64 [D]: the row of the sweep before each of the rows `lidar` [L], -1 for none and for all other rows."""
    what, table = f"A 'prev' of {LIDAR} in sample_data", folder / "sample_data.json"
    place = rows_of(data["prev"][lidar], data["token"][lidar], what, table, required=False)
    out = np.full(len(data["token"]), -1, np.int64)
    out[lidar] = np.where(place < 0, -1, lidar[place])
    return out


def _key_files(
    folder: Path,
    sample_row: np.ndarray,  # [D]
    channel_row: np.ndarray,  # [D]
    is_key: np.ndarray,  # [D]
    sample_token: np.ndarray,  # [S]
    channel: np.ndarray,  # [C]
) -> np.ndarray:
    """int64 [S, C]; two key frames of one sample and channel are refused."""
    out = np.full((len(sample_token), len(channel)), -1, np.int64)
    rows = np.flatnonzero(is_key)
    cells = sample_row[rows] * len(channel) + channel_row[rows]
    unique, count = np.unique(cells, return_counts=True)
    if (count > 1).any():
        sample, which = divmod(int(unique[count > 1][0]), len(channel))
        raise BadInputError(
            f"{folder / 'sample_data.json'} has two key frames of {channel[which].decode()} for the sample "
            f"{sample_token[sample].decode()}; one is expected."
        )
    out.reshape(-1)[cells] = rows
    return out


def _boxes(folder: Path, sample_token: np.ndarray, sample_time_us: np.ndarray) -> dict[str, np.ndarray]:
    category = _columns(folder, "category", {"name": text})
    attribute = _columns(folder, "attribute", {"name": text})
    instance = _columns(folder, "instance", {"category_token": text})
    box = _columns(
        folder,
        "sample_annotation",
        {
            "sample_token": text,
            "instance_token": text,
            "attribute_tokens": one_token,
            "translation": numbers(3),
            "size": sizes,
            "rotation": rotation,
            "num_lidar_pts": integer,
            "num_radar_pts": integer,
            "prev": text,
            "next": text,
        },
        defaults={"prev": "", "next": "", "attribute_tokens": [], "num_lidar_pts": -1, "num_radar_pts": -1},
    )

    def rows(field: str, tokens: np.ndarray, table: str, required: bool = True) -> np.ndarray:
        what = f"A '{field}' of sample_annotation"
        return rows_of(box[field], tokens, what, folder / f"{table}.json", required)

    sample_row = rows("sample_token", sample_token, "sample")
    category_of_instance = rows_of(
        instance["category_token"], category["token"], "A 'category_token' of instance", folder / "category.json"
    )
    category_row = category_of_instance[rows("instance_token", instance["token"], "instance")]
    attribute_row = rows("attribute_tokens", attribute["token"], "attribute", required=False)
    before, after = (rows(field, box["token"], "sample_annotation", required=False) for field in ("prev", "next"))
    centers = box["translation"].reshape(-1, 3)
    velocity = velocities(centers, sample_time_us[sample_row], before, after)
    order = np.argsort(sample_row, kind="stable")
    counts = np.stack([box["num_lidar_pts"], box["num_radar_pts"]], axis=1).astype(np.int64)
    return {
        "box_start": np.searchsorted(sample_row[order], np.arange(len(sample_token) + 1)).astype(np.int64),
        "box_token": box["token"][order],
        "box_pose": _poses(box)[order],
        "box_size_wlh": box["size"].reshape(-1, 3)[order].astype(np.float64),
        "box_velocity": velocity[order],
        "box_category": category_row[order],
        "box_attribute": attribute_row[order],
        "box_points": counts[order],
        "category": category["name"],
        "attribute": attribute["name"],
        "annotated": np.array([True]),
    }


def _no_boxes(n_samples: int) -> dict[str, np.ndarray]:
    none, texts = np.zeros(0, np.int64), np.zeros(0, "S1")
    return {
        "box_start": np.zeros(n_samples + 1, np.int64),
        "box_token": texts,
        "box_pose": np.zeros((0, 7)),
        "box_size_wlh": np.zeros((0, 3)),
        "box_velocity": np.zeros((0, 3)),
        "box_category": none,
        "box_attribute": none,
        "box_points": np.zeros((0, 2), np.int64),
        "category": texts,
        "attribute": texts,
        "annotated": np.array([False]),
    }


def velocities(
    centers: np.ndarray,  # [A, 3] global, metres
    times_us: np.ndarray,  # [A] int64
    before: np.ndarray,  # [A] row of the same object's annotation before, -1 for none
    after: np.ndarray,  # [A]
) -> np.ndarray:
    """float64 [A, 3]: difference between the neighbours in time, one-sided at the ends of a track; NaN where unknown.

    As the nuScenes devkit defines it, so that errors of velocity are comparable.
    """
    here = np.arange(len(centers))
    first, last = np.where(before < 0, here, before), np.where(after < 0, here, after)
    # Seconds since 1970 are rounded to 0.2 us before they are subtracted: the devkit does so, and where a gap is at
    # the limit that decides whether there is a velocity.
    times_s = 1e-6 * times_us
    gap_s = times_s[last] - times_s[first]
    most_s = np.where((before >= 0) & (after >= 0), 2 * MAX_VELOCITY_GAP_S, MAX_VELOCITY_GAP_S)
    known = (gap_s > 0) & (gap_s <= most_s)
    out = np.full((len(centers), 3), np.nan)
    out[known] = (centers[last] - centers[first])[known] / gap_s[known, None]
    return out


def _poses(columns: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([columns["translation"].reshape(-1, 3), columns["rotation"].reshape(-1, 4)], axis=1)


def _intrinsics(value: Any) -> list[float]:
    """A row-major 3 x 3 matrix, zeros for the empty list of what is no camera."""
    if value == []:
        return [0.0] * 9
    if not isinstance(value, list) or len(value) != 3 or not all(isinstance(row, list) for row in value):
        raise ValueError("an empty list or 3 x 3 finite numbers")
    matrix = numbers(9)([number for row in value for number in row])
    fx, fy, last = matrix[0], matrix[4], matrix[6:]
    if fx <= 0 or fy <= 0 or last != [0, 0, 1]:
        raise ValueError("an empty list or a 3 x 3 camera matrix with positive focal lengths and last row 0 0 1")
    return matrix
