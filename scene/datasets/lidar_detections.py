"""Detections in the LiDAR's frame, frame by frame: a file that grows as they are found, CSV, and KITTI's text."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..boxes import Boxes
from ..errors import BadInputError, FewviewError
from ..files import write_bytes
from .table_columns import checked, integer, numbers, sizes, text

FORMAT = "fewview detections 1"
CSV_COLUMNS = (
    "token", "timestamp_us", "class", "score", "x", "y", "z", "length", "width", "height", "yaw", "vx", "vy",
)  # fmt: skip
_ROW = ("score", "center", "size", "yaw", "velocity")
_BOX = {"center": numbers(3), "size": sizes, "velocity": numbers(2)}


@dataclass(frozen=True)
class FrameDetections:
    """The boxes of one key frame, in metres in the LiDAR's frame."""

    token: str
    timestamp_us: int
    ego_from_lidar: Tensor  # [4, 4] float64
    global_from_ego: Tensor  # [4, 4] float64
    boxes: Boxes  # upright, with scores

    @property
    def global_from_lidar(self) -> Tensor:
        """[4, 4] float64"""
        return self.global_from_ego @ self.ego_from_lidar

    def row(self) -> dict[str, Any]:
        """The frame as JSON has it: centre, size (length, width, height), yaw from +x to +y, velocity along x and y."""
        boxes = self.boxes
        assert boxes.scores is not None
        velocities = torch.zeros_like(boxes.centers) if boxes.velocities is None else boxes.velocities.nan_to_num()
        columns = (boxes.scores, boxes.centers, boxes.sizes, boxes.yaws, velocities[:, :2])
        rows = zip(*(column.double().tolist() for column in columns), strict=True)
        return {
            "token": self.token,
            "timestamp_us": self.timestamp_us,
            "ego_from_lidar": self.ego_from_lidar.tolist(),
            "global_from_ego": self.global_from_ego.tolist(),
            "boxes": [
                {
                    "class": boxes.name(i),
                    "score": score,
                    "center": center,
                    "size": size,
                    "yaw": yaw,
                    "velocity": velocity,
                }
                for i, (score, center, size, yaw, velocity) in enumerate(rows)
            ],
        }


class DetectionsFile:
    """JSON lines: what they are of, then one line a frame. A file that was cut short loses its last line only."""

    def __init__(self, path: Path, about: Mapping[str, Any], resume: bool) -> None:
        """Begin a new file, or with `resume` go on in one that is there.

        Raises BadInputError where that one is about something else, such as other weights.
        """
        self.path = path
        header = {"format": FORMAT, **about}
        self.done: set[str] = set()
        if resume and path.is_file():
            found, kept_bytes = _header(path), 0
            if found != header:
                names = sorted(name for name in {**found, **header} if found.get(name) != header.get(name))
                raise BadInputError(
                    f"{path} has detections of another run ({', '.join(names)} differ); leave out --resume to begin "
                    "anew, or choose another folder with -o."
                )
            for line, end in _whole_lines(path):
                kept_bytes = end
                if "boxes" in line:
                    self.done.add(str(line["token"]))
            os.truncate(path, kept_bytes)
        else:
            write_bytes(path, _line(header))

    def add(self, frame: FrameDetections) -> None:
        """Append a frame; it is on the disk when this returns."""
        try:
            with self.path.open("ab") as file:
                file.write(_line(frame.row()))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise FewviewError(f"{self.path} could not be written: {error.strerror or error}.") from error
        self.done.add(frame.token)


def read_detections(path: Path, names: tuple[str, ...]) -> Iterator[FrameDetections]:
    """The frames of a file, one at a time; labels are into `names`. Raises BadInputError that names line and field."""
    _header(path)
    for i, (line, _) in enumerate(_whole_lines(path)):
        if i and "boxes" in line:
            yield _frame(line, names, f"{path}: line {i + 1}")


def write_csv(path: Path, frames: Iterable[FrameDetections]) -> None:
    """One row a box, in the columns CSV_COLUMNS: metres, radians and m/s in the LiDAR's frame."""
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(CSV_COLUMNS)
    for frame in frames:
        row = frame.row()
        for box in row["boxes"]:
            values = (box["score"], *box["center"], *box["size"], box["yaw"], *box["velocity"])
            writer.writerow((row["token"], row["timestamp_us"], box["class"], *(f"{value:.6g}" for value in values)))
    write_bytes(path, table.getvalue().encode())


def write_kitti(folder: Path, frames: Iterable[FrameDetections]) -> None:
    """A text file for each frame, 000000.txt and on, in the columns of KITTI's object results.

    `tokens.txt` lists the frames in the order of the numbers.

    KITTI's boxes stand in a camera's axes: x right, y down, z ahead. Here it is a camera at the LiDAR's place that
    looks where the car does. The location is the middle of the floor, `rotation_y` turns about y, and alpha is
    `rotation_y` seen along the ray. There is no image, so the 2D box, truncation and occlusion are -1; velocities are
    lost.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cam_from_ego_axes = torch.tensor([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]], dtype=torch.float64)
    tokens = []
    for number, frame in enumerate(frames):
        tokens.append(frame.token)
        cam_from_lidar = cam_from_ego_axes @ frame.ego_from_lidar[:3, :3].double()
        boxes = frame.boxes
        assert boxes.scores is not None
        floors = boxes.centers.double() - boxes.rotations[:, :, 2].double() * boxes.sizes[:, 2:].double() / 2
        locations = floors @ cam_from_lidar.T
        headings = boxes.rotations[:, :, 0].double() @ cam_from_lidar.T
        lines = []
        for i, (x, y, z) in enumerate(locations.tolist()):
            length, width, height = boxes.sizes[i].tolist()
            turn = math.atan2(-float(headings[i, 2]), float(headings[i, 0]))
            alpha = math.remainder(turn - math.atan2(x, z), 2 * math.pi)
            values = (alpha, -1, -1, -1, -1, height, width, length, x, y, z, turn, float(boxes.scores[i]))
            lines.append(f"{boxes.name(i)} -1 -1 " + " ".join(f"{value:.4f}" for value in values) + "\n")
        write_bytes(folder / f"{number:06d}.txt", "".join(lines).encode())
    write_bytes(folder / "tokens.txt", "".join(f"{json.dumps(token)}\n" for token in tokens).encode())


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, allow_nan=False).encode() + b"\n"


def _whole_lines(path: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """(object, byte after it) of each line that has its end."""
    end = 0
    with path.open("rb") as file:
        for i, line in enumerate(file):
            if not line.endswith(b"\n"):
                return  # cut short while it was written
            end += len(line)
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise BadInputError(f"{path}: line {i + 1} is no JSON ({error}); begin the detection anew.") from error
            if not isinstance(value, dict) or (i and not isinstance(value.get("token"), str)):
                raise BadInputError(f"{path}: line {i + 1} is no frame of detections; begin the detection anew.")
            yield value, end


def _header(path: Path) -> dict[str, Any]:
    first = next(iter(_whole_lines(path)), None)
    if first is None or first[0].get("format") != FORMAT:
        raise BadInputError(f"{path} does not begin as a file of detections; {FORMAT!r} is expected.")
    return first[0]


def _frame(line: dict[str, Any], names: tuple[str, ...], where: str) -> FrameDetections:
    def get(entry: dict[str, Any], key: str, convert: Any, place: str) -> Any:
        if not isinstance(entry, dict) or key not in entry:
            raise BadInputError(f"{place} has no {key!r}.")
        return checked(entry[key], convert, f"{place}, {key!r},")

    if not isinstance(line["boxes"], list):
        raise BadInputError(f"{where}, 'boxes', should be a list.")
    columns: list[list[float]] = []
    labels = []
    for i, box in enumerate(line["boxes"]):
        place = f"{where}, box {i}"
        name = get(box, "class", text, place).decode()
        if name not in names:
            raise BadInputError(f"{place}, 'class', should be one of {', '.join(names)}, found {name[:60]!r}.")
        labels.append(names.index(name))
        scalars = [get(box, key, lambda value: numbers(1)([value]), place)[0] for key in ("yaw", "score")]
        columns.append([*(v for key, convert in _BOX.items() for v in get(box, key, convert, place)), *scalars])
    table = torch.tensor(columns, dtype=torch.float64).reshape(-1, 10)
    boxes = Boxes.upright(
        table[:, :3],
        table[:, 3:6],
        table[:, 8],
        torch.tensor(labels, dtype=torch.int64),
        names,
        scores=table[:, 9],
        velocities=torch.cat([table[:, 6:8], torch.zeros(len(table), 1, dtype=torch.float64)], dim=1),
    )
    poses = [torch.tensor(get(line, key, _pose, where)) for key in ("ego_from_lidar", "global_from_ego")]
    return FrameDetections(
        str(line["token"]), get(line, "timestamp_us", integer, where), poses[0].double(), poses[1].double(), boxes
    )


def _pose(value: Any) -> list[list[float]]:
    if not isinstance(value, list) or len(value) != 4:
        raise ValueError("4 x 4 finite numbers")
    return [numbers(4)(row) for row in value]
