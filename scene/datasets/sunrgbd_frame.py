"""Frames of SUN RGB-D in MMDetection3D's info files, as JSON: points with colours, a photograph, annotated boxes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..boxes import Boxes
from ..cameras import Cameras
from ..capture import Frame
from ..errors import BadInputError
from ..files import read_json
from ..images import MAX_MEGAPIXELS, read_header
from ..json_field import JsonField
from ..readers.image_frames import FileFrame
from ..readers.safe_paths import inside
from ..scan import Scan

# In the order of the labels of MMDetection3D's SUN RGB-D.
CLASSES = ("bed", "table", "sofa", "chair", "toilet", "desk", "dresser", "night stand", "bookshelf", "bathtub")
MAX_POINTS = 20_000_000
MAX_RECORDS = 100_000
_KIND = "an info file of SUN RGB-D"


def is_sunrgbd_info(table: Any) -> bool:
    """True where a JSON value has the outer form of one."""
    return (
        isinstance(table, dict)
        and isinstance(table.get("metainfo"), dict)
        and (table["metainfo"].get("DATASET") == "SUNRGBD" and "data_list" in table)
    )


def read_sunrgbd(path: Path | str, record: int = 0) -> Scan:
    """The scan of one record; files are looked for beside the info file.

    Points and boxes are in the frame of the sensor: x right, y forward, z up, the camera at the origin. Boxes keep
    their yaw. Raises BadInputError that names file and field.
    """
    path = Path(path)
    table = JsonField(read_json(path), str(path), _KIND)
    records = table["data_list"].items(MAX_RECORDS)
    if not 0 <= record < len(records):
        raise BadInputError(f"{path} has {len(records)} records; there is no record {record}.")
    entry = records[record]
    lidar = entry["lidar_points"]
    points_path = inside(path.parent, lidar["lidar_path"].text(), str(path))
    rows = _points(points_path, lidar["num_pts_feats"].whole())
    image = entry["images"]["CAM0"]
    image_path = inside(path.parent, image["img_path"].text(), str(path))
    header = read_header(image_path)
    file = FileFrame(image_path, header.width, header.height, MAX_MEGAPIXELS)
    frame = Frame(image_path.name, header.width, header.height, file.pixels)
    pixels_from_points = torch.stack([row.numbers(3) for row in image["depth2img"].items(3)])
    boxes = _boxes(entry["instances"].items(MAX_RECORDS)) if entry.has("instances") else None
    return Scan(
        points_path.stem,
        rows[:, :3],
        rows[:, 3:6] if rows.shape[1] >= 6 else None,
        boxes,
        frames=(frame,),
        cameras=_camera(pixels_from_points, header.width, header.height, str(path)),
        aligned=False,
    )


def _points(path: Path, columns: int) -> Tensor:
    """float32 [N, 3 or 6] finite rows; colours in [0, 1]."""
    try:
        size = path.stat().st_size
        if columns not in (3, 6) or size == 0 or size % (4 * columns) or size > MAX_POINTS * 4 * columns:
            raise BadInputError(
                f"{path} has {size} bytes for points of {columns} numbers; float32 of 3 or 6 numbers a point (x, y, z, "
                f"maybe r, g, b) and at most {MAX_POINTS:,} points are expected."
            )
        rows = torch.from_numpy(np.fromfile(path, "<f4").reshape(-1, columns))
    except OSError as error:
        raise BadInputError(f"{path} could not be read: {error.strerror or error}.") from error
    rows = rows[torch.isfinite(rows).all(1)]
    if len(rows) == 0:
        raise BadInputError(f"{path} has no finite point.")
    if columns == 6 and float(rows[:, 3:].max()) > 1.0:
        rows[:, 3:] /= 255
    return rows


def _camera(pixels_from_points: Tensor, width: int, height: int, where: str) -> Cameras:
    """The camera [1] whose K @ rotation the matrix is (the RQ decomposition)."""
    matrix = pixels_from_points.numpy()
    if abs(np.linalg.det(matrix)) < 1e-9:
        raise BadInputError(f"{where}: depth2img is a singular matrix, so it is no camera.")
    flipped_q, flipped_r = np.linalg.qr(matrix[::-1].T)
    K, turn = flipped_r.T[::-1, ::-1], flipped_q.T[::-1]
    signs = np.sign(np.diag(K))
    K, turn = K * signs, turn * signs[:, None]
    if np.linalg.det(turn) < 0:
        raise BadInputError(f"{where}: depth2img mirrors the scene, so it is no camera of these axes.")
    pose = torch.eye(4)
    pose[:3, :3] = torch.from_numpy(turn.copy()).float()
    return Cameras(
        pose[None], torch.from_numpy(K / K[2, 2]).float()[None], torch.tensor([width]), torch.tensor([height])
    )


def _boxes(instances: list[JsonField]) -> Boxes:
    rows = torch.stack([i["bbox_3d"].numbers(7) for i in instances]).float() if instances else torch.zeros(0, 7)
    labels = torch.tensor([i["bbox_label_3d"].whole() for i in instances], dtype=torch.int64)
    labels = torch.where((labels >= 0) & (labels < len(CLASSES)), labels, -1)
    return Boxes.upright(rows[:, :3], rows[:, 3:6], rows[:, 6], labels, CLASSES)
