"""The files of a COLMAP model as records. Every count is checked against the bytes that are left.

Format: https://colmap.github.io/format.html. Binary is preferred when both forms exist.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import BadInputError
from .lens import Lens, make_lens, model_name, n_params

_MAX_NAME_BYTES = 4096
_NO_POINT = 2**64 - 1
_POINT2D = np.dtype([("x", "<f8"), ("y", "<f8"), ("point", "<u8")])


@dataclass(frozen=True)
class ColmapImage:
    name: str
    camera_id: int
    quat: tuple[float, float, float, float]  # wxyz, of cam_from_world
    translation: tuple[float, float, float]  # of cam_from_world
    point_ids: np.ndarray  # uint64 [T], the points that it sees


@dataclass(frozen=True)
class ColmapPoints:
    ids: np.ndarray  # uint64 [N]
    xyz: np.ndarray  # float64 [N, 3]
    rgb: np.ndarray  # uint8 [N, 3]


def count_images(model: Path) -> int:
    """Number of images that a model says it has, without reading it all; 0 when it cannot be told."""
    binary = model / "images.bin"
    if binary.is_file():
        with binary.open("rb") as file:
            head = file.read(8)
        return struct.unpack("<Q", head)[0] if len(head) == 8 else 0
    try:
        lines = sum(1 for _ in _text_lines(model / "images.txt", keep_empty=True))
    except BadInputError:
        return 0
    return (lines + 1) // 2


def read_cameras(model: Path) -> dict[int, Lens]:
    """Lenses by camera id."""
    path = model / "cameras.bin"
    pairs = _cameras_bin(path) if path.is_file() else _cameras_txt(model / "cameras.txt")
    lenses: dict[int, Lens] = {}
    for camera_id, lens in pairs:
        if camera_id in lenses:
            raise BadInputError(f"{model} has two cameras with the number {camera_id}.")
        lenses[camera_id] = lens
    return lenses


def read_images(model: Path, lenses: dict[int, Lens]) -> list[ColmapImage]:
    """Registered images, in the file's order."""
    path = model / "images.bin"
    images = list(_images_bin(path) if path.is_file() else _images_txt(model / "images.txt"))
    for image in images:
        where = f"{model}, image {image.name!r}"
        if image.camera_id not in lenses:
            raise BadInputError(f"{where} was taken by camera {image.camera_id}, which the model does not have.")
        if not all(map(math.isfinite, (*image.quat, *image.translation))) or not any(image.quat):
            raise BadInputError(f"{where} has no valid pose: quaternion {image.quat}, translation {image.translation}.")
    return images


def read_points3d(model: Path) -> ColmapPoints | None:
    """Sparse points; None for a model that has no file of them."""
    if (model / "points3D.bin").is_file():
        return _points_bin(model / "points3D.bin")
    return _points_txt(model / "points3D.txt") if (model / "points3D.txt").is_file() else None


class _Bytes:
    """A file's bytes and a position, with errors that name the byte where the file ends too early."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.data = path.read_bytes()
        except OSError as error:
            raise BadInputError(f"{path} could not be read: {error.strerror or error}.") from error
        self.offset = 0

    def need(self, size: int, what: str) -> int:
        """Step over `size` bytes and give where they began."""
        start = self.offset
        if size > len(self.data) - start:
            raise BadInputError(
                f"{self.path} is damaged or cut short: {what} at byte {start} needs {size} bytes, "
                f"{len(self.data) - start} are left."
            )
        self.offset += size
        return start

    def unpack(self, layout: struct.Struct, what: str) -> tuple:
        return layout.unpack_from(self.data, self.need(layout.size, what))

    def count(self, smallest: int, what: str) -> int:
        """A number of records of at least `smallest` bytes each, which must fit into the rest of the file."""
        start = self.offset
        (count,) = self.unpack(struct.Struct("<Q"), f"the number of {what}")
        if count * smallest > len(self.data) - self.offset:
            raise BadInputError(
                f"{self.path} is damaged or cut short: {count} {what} are promised at byte {start}, but only "
                f"{len(self.data) - self.offset} bytes are left."
            )
        return count

    def name(self) -> str:
        end = self.data.find(b"\0", self.offset, self.offset + _MAX_NAME_BYTES)
        if end < 0:
            raise BadInputError(
                f"{self.path} is damaged or cut short: the image name at byte {self.offset} has no end."
            )
        start, self.offset = self.offset, end + 1
        return self.data[start:end].decode("utf-8", "surrogateescape")  # as Python gives the names of files

    def finish(self) -> None:
        if self.offset != len(self.data):
            raise BadInputError(
                f"{self.path} is damaged: its records end at byte {self.offset}, but it has {len(self.data)} bytes."
            )


_CAMERA = struct.Struct("<IiQQ")
_IMAGE = struct.Struct("<I7dI")
_POINT = struct.Struct("<Q3d3BdQ")


def _cameras_bin(path: Path) -> Iterator[tuple[int, Lens]]:
    data = _Bytes(path)
    for _ in range(data.count(_CAMERA.size, "cameras")):
        where = f"{path}, camera at byte {data.offset}"
        camera_id, model_id, width, height = data.unpack(_CAMERA, "a camera")
        model = model_name(model_id, where)
        params = data.unpack(struct.Struct(f"<{n_params(model)}d"), f"the parameters of a {model} camera")
        yield camera_id, make_lens(model, params, width, height, where)
    data.finish()


def _images_bin(path: Path) -> Iterator[ColmapImage]:
    data = _Bytes(path)
    for _ in range(data.count(_IMAGE.size + 1 + 8, "images")):
        _, *pose, camera_id = data.unpack(_IMAGE, "an image")
        name = data.name()
        n_points = data.count(_POINT2D.itemsize, "2D points")
        start = data.need(n_points * _POINT2D.itemsize, "the 2D points")
        points = np.frombuffer(data.data, _POINT2D, n_points, start)["point"]
        yield _image(name, camera_id, pose, points[points != _NO_POINT])
    data.finish()


def _points_bin(path: Path) -> ColmapPoints:
    data = _Bytes(path)
    count = data.count(_POINT.size, "points")
    ids, xyz, rgb = np.empty(count, np.uint64), np.empty((count, 3)), np.empty((count, 3), np.uint8)
    for i in range(count):
        ids[i], *position, r, g, b, _, track_length = data.unpack(_POINT, "a point")
        xyz[i], rgb[i] = position, (r, g, b)
        data.need(8 * track_length, "a point's track")
    data.finish()
    return ColmapPoints(ids, xyz, rgb)


def _image(name: str, camera_id: int, pose: list[float], point_ids: np.ndarray) -> ColmapImage:
    w, x, y, z, tx, ty, tz = pose
    return ColmapImage(name, camera_id, (w, x, y, z), (tx, ty, tz), point_ids.astype(np.uint64))


def _text_lines(path: Path, keep_empty: bool = False) -> Iterator[tuple[str, str]]:
    """(where, text) of the lines that are no comments."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if not line.startswith("#") and (keep_empty or line.strip()):
                    yield f"{path}, line {number}", line.strip()
    except OSError as error:
        raise BadInputError(f"{path} could not be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path} is not UTF-8 text.") from error


def _cameras_txt(path: Path) -> Iterator[tuple[int, Lens]]:
    for where, line in _text_lines(path):
        words = line.split()
        try:
            camera_id, model, width, height = int(words[0]), words[1], _whole(words[2]), _whole(words[3])
            params = [float(word) for word in words[4:]]
        except (ValueError, IndexError) as error:
            raise BadInputError(f"{where}: camera id, model, width, height and parameters are expected.") from error
        yield camera_id, make_lens(model, params, width, height, where)


def _whole(word: str) -> int:
    """A whole number, also where a program wrote it as `640.0`. Raises ValueError for others."""
    number = float(word)
    if not number.is_integer():
        raise ValueError(word)
    return int(number)


def _images_txt(path: Path) -> Iterator[ColmapImage]:
    """Two lines for each image, of which the second (its 2D points) may be empty."""
    lines = _text_lines(path, keep_empty=True)
    for where, line in lines:
        if not line:
            continue
        words = line.split(maxsplit=9)
        try:
            pose, camera_id, name = [float(word) for word in words[1:8]], int(words[8]), words[9]
        except (ValueError, IndexError) as error:
            raise BadInputError(
                f"{where}: image id, quaternion, translation, camera id and name are expected."
            ) from error
        where, second = next(lines, (where, ""))
        numbers = second.split()
        try:
            if len(numbers) % 3:
                raise ValueError
            point_ids = np.array([int(word) for word in numbers[2::3]], dtype=np.int64)
        except (ValueError, OverflowError) as error:
            raise BadInputError(f"{where}: 2D points as x, y and point id are expected.") from error
        yield _image(name, camera_id, pose, point_ids[point_ids >= 0])


def _points_txt(path: Path) -> ColmapPoints:
    ids, xyz, rgb = [], [], []
    for where, line in _text_lines(path):
        words = line.split(maxsplit=7)
        try:
            ids.append(int(words[0]))
            xyz.append([float(word) for word in words[1:4]])
            rgb.append([int(word) for word in words[4:7]])
            if len(rgb[-1]) != 3 or not all(0 <= c <= 255 for c in rgb[-1]) or not 0 <= ids[-1] < _NO_POINT:
                raise ValueError
        except (ValueError, IndexError) as error:
            raise BadInputError(
                f"{where}: point id, x, y, z, and red, green, blue of 0 to 255 are expected."
            ) from error
    return ColmapPoints(
        np.array(ids, np.uint64), np.array(xyz, np.float64).reshape(-1, 3), np.array(rgb, np.uint8).reshape(-1, 3)
    )
