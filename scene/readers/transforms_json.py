"""`transforms.json` of instant-ngp and nerfstudio: camera-to-world matrices with OpenGL axes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..cameras import Cameras
from ..capture import Capture, Frame
from ..errors import BadInputError
from ..files import read_json
from ..images import ImageHeader, read_header
from ..point_cloud import PointCloud
from ..points_ply import read_points
from .image_frames import file_frame
from .lens import Lens, make_lens
from .nearby_origin import in_single_precision
from .safe_paths import inside, is_file, listed, tidy_name

_SUFFIXES = ("", ".png", ".jpg", ".jpeg", ".JPG", ".JPEG", ".PNG", ".webp")
_DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")
_ROTATION_TOLERANCE = 1e-2  # exporters print 6 digits at worst; a scaled or sheared matrix is far beyond
_GL_FROM_CV = np.diag([1.0, -1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Views:
    """Views that one transforms file lists, in its order."""

    frames: tuple[Frame, ...]
    cameras: tuple[Cameras, ...]  # float64
    named: tuple[str, ...]  # `file_path` of each frame, tidied
    missing: tuple[str, ...]  # photographs that are not there
    missing_extras: tuple[str, ...]  # masks and depth maps that are not there
    table: dict[str, Any]


def read_transforms(path: Path, *, max_megapixels: float = 100.0, allow_outside: bool = False) -> Capture:
    """A transforms.json (or the folder that holds it): photographs, undistorted, with cameras in its own world.

    `applied_transform` says how this world came from an older one and changes nothing here; initial points
    (`ply_file_path`) are in this world. Frames of `val_filenames` are left out where there are `test_filenames`.
    Raises BadInputError that names the key and the frame.
    """
    path = path / "transforms.json" if path.is_dir() else path
    views = read_views(path, path.parent, max_megapixels=max_megapixels, allow_outside=allow_outside)
    notes = [*missing_notes(views, path)]
    keep, test, split_note = _split(views, path)
    points, points_note = _points(views, path, allow_outside)
    notes += [note for note in (split_note, points_note) if note]
    frames = all_or_no_times([views.frames[i] for i in keep], path)
    cameras = Cameras.stack([views.cameras[i] for i in keep])
    return in_single_precision(Capture(tuple(frames), str(path), cameras, points, test=test, notes=tuple(notes)))


def read_views(path: Path, root: Path, *, max_megapixels: float, allow_outside: bool) -> Views:
    """The frames of one transforms file whose photographs exist, undistorted, and their cameras.

    Raises BadInputError when the file is malformed, or none of its photographs exist.
    """
    table = read_json(path)
    if not isinstance(table, dict) or not isinstance(table.get("frames"), list) or not table["frames"]:
        raise BadInputError(f"{path} should hold an object with a list 'frames' of at least one frame.")
    frames, cameras, named = [], [], []
    missing: list[str] = []
    missing_extras: list[str] = []
    numbers: dict[str, int] = {}
    for i, entry in enumerate(table["frames"]):
        view = _Entry(path, i, entry, table)
        name = tidy_name(view.text("file_path", required=True))
        if name in numbers:
            raise BadInputError(f"{view.where} has the same file_path {name!r} as frame {numbers[name]}.")
        numbers[name] = i
        camera_pose = view.cam_from_world()  # checked even where the photograph is missing
        time = view.number("time")
        image = _existing(root, name, view.where, allow_outside)
        if image is None:
            missing.append(name)
            continue
        header = read_header(image, max_megapixels)
        lens = view.lens(header)
        mask, depth = (
            _extra(view, key, root, allow_outside, missing_extras) for key in ("mask_path", "depth_file_path")
        )
        frames.append(replace(file_frame(name, image, max_megapixels, lens, mask, depth, header), time_s=time))
        cameras.append(
            Cameras(camera_pose, torch.from_numpy(lens.K), torch.tensor(lens.width), torch.tensor(lens.height))
        )
        named.append(name)
    if not frames:
        raise BadInputError(
            f"None of the {len(missing)} photographs that {path} lists is there, e.g. {root / missing[0]}."
        )
    return Views(tuple(frames), tuple(cameras), tuple(named), tuple(missing), tuple(missing_extras), table)


def missing_notes(views: Views, path: Path) -> tuple[str, ...]:
    total = len(views.frames) + len(views.missing)
    notes = []
    if views.missing:
        names = listed(list(views.missing))
        notes.append(
            f"{len(views.missing)} of the {total} photographs in {path.name} are not there and were left out: {names}."
        )
    if views.missing_extras:
        names = listed(list(views.missing_extras))
        notes.append(f"{len(views.missing_extras)} masks or depth maps in {path.name} are not there: {names}.")
    return tuple(notes)


def all_or_no_times(frames: list[Frame], path: Path) -> list[Frame]:
    """The frames as they are. Raises BadInputError where some have a 'time' and others none."""
    known = sum(frame.time_s is not None for frame in frames)
    if known not in (0, len(frames)):
        raise BadInputError(f"{path}: {known} of {len(frames)} frames have a 'time'; all of them or none are expected.")
    return frames


class _Entry:
    """One frame of the file, with the file's own values as defaults."""

    def __init__(self, path: Path, index: int, entry: Any, table: dict[str, Any]) -> None:
        self.where = f"{path}, frame {index}"
        if not isinstance(entry, dict):
            raise BadInputError(f"{self.where} should be an object, found {type(entry).__name__}.")
        self.entry, self.table = entry, table

    def text(self, key: str, required: bool = False) -> str:
        value = self.entry.get(key)
        if value is None and not required:
            return ""
        if not isinstance(value, str) or not value:
            raise BadInputError(f"{self.where}: '{key}' should be a file name, found {_shown(value)}.")
        return value

    def number(self, key: str) -> float | None:
        """A finite number of the frame or of the file; None where neither has it."""
        value = self.entry.get(key, self.table.get(key))
        if value is None:
            return None
        if not _is_finite_number(value):
            raise BadInputError(f"{self.where}: '{key}' should be a finite number, found {_shown(value)}.")
        return float(value)

    def cam_from_world(self) -> torch.Tensor:
        """float64 [4, 4], OpenCV axes."""
        value = self.entry.get("transform_matrix")
        try:
            matrix = np.array(value, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            matrix = np.zeros(0)
        if matrix.shape not in ((4, 4), (3, 4)) or not np.isfinite(matrix).all():
            raise BadInputError(
                f"{self.where}: 'transform_matrix' should be 4 x 4 finite numbers, found {_shown(value)}."
            )
        u, stretch, vt = np.linalg.svd(matrix[:3, :3])
        if np.abs(stretch - 1).max() > _ROTATION_TOLERANCE or np.linalg.det(u @ vt) < 0:
            raise BadInputError(
                f"{self.where}: 'transform_matrix' is no rigid motion: its rotation part stretches by "
                f"{', '.join(f'{s:.4g}' for s in stretch)} with determinant {np.linalg.det(matrix[:3, :3]):.4g}; "
                "1, 1, 1 and 1 are expected."
            )
        world_from_gl = np.eye(4)
        world_from_gl[:3, :3], world_from_gl[:3, 3] = u @ vt, matrix[:3, 3]
        return torch.from_numpy(np.linalg.inv(world_from_gl @ _GL_FROM_CV))

    def lens(self, header: ImageHeader) -> Lens:
        """The lens for the photograph's own size, which may differ from `w` and `h` (images_2 and the like)."""
        width, height = self._side("w", header.width), self._side("h", header.height)
        focal_x, focal_y = self._focal(width, height)
        cx, cy = self.number("cx"), self.number("cy")
        center = width / 2 if cx is None else cx, height / 2 if cy is None else cy
        model, distortion = self._model()
        lens = make_lens(model, (focal_x, focal_y, *center, *distortion), round(width), round(height), self.where)
        return lens.resized(header.width, header.height)

    def _side(self, key: str, otherwise: int) -> float:
        side = self.number(key)
        if side is not None and not 1 <= side < 2**31:
            raise BadInputError(f"{self.where}: '{key}' should be an image size in pixels, found {side:g}.")
        return otherwise if side is None else side

    def _focal(self, width: float, height: float) -> tuple[float, float]:
        focal: list[float | None] = []
        for key, angle_key, side in (("fl_x", "camera_angle_x", width), ("fl_y", "camera_angle_y", height)):
            angle = self.number(angle_key)
            if angle is not None and not 0 < angle < math.pi:
                raise BadInputError(
                    f"{self.where}: '{angle_key}' should lie between 0 and pi radians, found {angle:g}."
                )
            given = self.number(key)
            focal.append(given if given is not None or angle is None else 0.5 * side / math.tan(angle / 2))
        if self.number("fl_x") is not None and self.number("fl_y") is None:
            focal[1] = focal[0]  # square pixels rather than an angle that may belong to another crop
        x, y = focal
        if x is None:
            x = y
        if x is None:
            raise BadInputError(f"{self.where}: no focal length; 'fl_x' or 'camera_angle_x' is expected.")
        return x, x if y is None else y

    def _model(self) -> tuple[str, tuple[float, ...]]:
        """A COLMAP camera model with fx, fy, cx, cy first, and the parameters that follow."""
        named = self.entry.get("camera_model", self.table.get("camera_model")) or "OPENCV"
        k1, k2, k3, k4, p1, p2 = self._distortion()
        if named == "OPENCV_FISHEYE" or self.entry.get("is_fisheye", self.table.get("is_fisheye")) is True:
            return "OPENCV_FISHEYE", (k1, k2, k3, k4)
        if named not in ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "FULL_OPENCV"):
            raise BadInputError(
                f"{self.where}: the camera_model {_shown(named)} is not supported; PINHOLE, OPENCV or OPENCV_FISHEYE "
                "(or SIMPLE_PINHOLE, SIMPLE_RADIAL, RADIAL, FULL_OPENCV) is expected."
            )
        if k4:
            raise BadInputError(f"{self.where}: 'k4' = {k4:g} has a meaning for OPENCV_FISHEYE only; 0 is expected.")
        if not any((k1, k2, k3, p1, p2)):
            return "PINHOLE", ()
        return ("FULL_OPENCV", (k1, k2, p1, p2, k3, 0.0, 0.0, 0.0)) if k3 else ("OPENCV", (k1, k2, p1, p2))

    def _distortion(self) -> tuple[float, ...]:
        """k1, k2, k3, k4, p1, p2, each by its key or all in nerfstudio's list `distortion_params`."""
        named = self.entry.get("distortion_params", self.table.get("distortion_params"))
        if named is None:
            return tuple(self.number(key) or 0.0 for key in _DISTORTION)
        if not isinstance(named, list) or len(named) != len(_DISTORTION) or not all(map(_is_finite_number, named)):
            raise BadInputError(
                f"{self.where}: 'distortion_params' should be the {len(_DISTORTION)} numbers "
                f"{', '.join(_DISTORTION)}, found {_shown(named)}."
            )
        return tuple(map(float, named))


def _is_finite_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _existing(root: Path, name: str, where: str, allow_outside: bool) -> Path | None:
    """The photograph, whose name may lack its extension."""
    for suffix in _SUFFIXES:
        path = inside(root, name + suffix, where, allow_outside)
        if is_file(path):
            return path
    return None


def _extra(view: _Entry, key: str, root: Path, allow_outside: bool, missing: list[str]) -> Path | None:
    name = view.text(key)
    if not name:
        return None
    path = inside(root, name, f"{view.where}, '{key}'", allow_outside)
    if is_file(path):
        return path
    missing.append(name)
    return None


def _split(views: Views, path: Path) -> tuple[list[int], tuple[int, ...] | None, str | None]:
    """Frames to keep, positions of the test frames among them, and a note on what was left out."""
    lists = {key: _names(views.table, f"{key}_filenames", path) for key in ("train", "val", "test")}
    if all(names is None for names in lists.values()):
        return list(range(len(views.frames))), None, None
    held_out = lists["test"] or lists["val"] or set()
    train = lists["train"]
    left_out = (lists["val"] or set()) - held_out
    keep = [
        i
        for i, name in enumerate(views.named)
        if name in held_out or (name not in left_out if train is None else name in train)
    ]
    if not keep:
        raise BadInputError(f"{path}: none of the photographs is in train_filenames or test_filenames.")
    test = tuple(position for position, i in enumerate(keep) if views.named[i] in held_out)
    dropped = len(views.frames) - len(keep)
    note = f"{dropped} photographs that {path.name} keeps for validation, or for nothing, were left out."
    return keep, test, note if dropped else None


def _names(table: dict[str, Any], key: str, path: Path) -> set[str] | None:
    value = table.get(key)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise BadInputError(f"{path}: '{key}' should be a list of file names, found {_shown(value)}.")
    return {tidy_name(name) for name in value}


def _points(views: Views, path: Path, allow_outside: bool) -> tuple[PointCloud | None, str | None]:
    name = views.table.get("ply_file_path")
    if name is None:
        return None, None
    if not isinstance(name, str):
        raise BadInputError(f"{path}: 'ply_file_path' should be a file name, found {_shown(name)}.")
    file = inside(path.parent, name, f"{path}, 'ply_file_path'", allow_outside)
    if not is_file(file):
        return None, f"The initial points {name} that {path.name} names are not there."
    cloud = read_points(file, double=True)
    return PointCloud(cloud.xyz, cloud.rgb, metric=cloud.metric), None


def _shown(value: Any) -> str:
    text = repr(value)
    return "nothing" if value is None else text if len(text) <= 60 else text[:57] + "..."
