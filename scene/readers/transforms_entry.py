"""One frame of a transforms.json: its pose and its lens, checked."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadInputError
from ..images import ImageHeader
from .lens import Lens, make_lens

_DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")
ROTATION_TOLERANCE = 1e-2  # exporters print 6 digits at worst; a scaled or sheared matrix is far beyond
_SAME_MODELS = {"PERSPECTIVE": "OPENCV"}  # as instant-ngp and Metashape's exporters call it
_GL_FROM_CV = np.diag([1.0, -1.0, -1.0, 1.0])


class TransformsEntry:
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
            raise BadInputError(f"{self.where}: '{key}' should be a file name, found {shown(value)}.")
        return value

    def number(self, key: str) -> float | None:
        """A finite number of the frame or of the file; None where neither has it."""
        value = self.entry.get(key, self.table.get(key))
        if value is None:
            return None
        if not _is_finite_number(value):
            raise BadInputError(f"{self.where}: '{key}' should be a finite number, found {shown(value)}.")
        return float(value)

    def cam_from_world(self) -> tuple[np.ndarray, float]:
        """float64 [4, 4], OpenCV axes; and the scale that the matrix has besides, which is no part of a pose."""
        value = self.entry.get("transform_matrix")
        try:
            matrix = np.array(value, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            matrix = np.zeros(0)
        if matrix.shape not in ((4, 4), (3, 4)) or not np.isfinite(matrix).all():
            raise BadInputError(
                f"{self.where}: 'transform_matrix' should be 4 x 4 finite numbers, found {shown(value)}."
            )
        u, stretch, vt = np.linalg.svd(matrix[:3, :3])
        scale = float(stretch.mean())
        uniform = scale > 0 and np.abs(stretch - scale).max() <= ROTATION_TOLERANCE * scale
        if not uniform or np.linalg.det(u @ vt) < 0:
            raise BadInputError(
                f"{self.where}: 'transform_matrix' is no rigid motion: its rotation part stretches by "
                f"{', '.join(f'{s:.4g}' for s in stretch)} with determinant {np.linalg.det(matrix[:3, :3]):.4g}; "
                "three equal numbers and a positive one are expected."
            )
        world_from_gl = np.eye(4)
        world_from_gl[:3, :3], world_from_gl[:3, 3] = u @ vt, matrix[:3, 3]
        return np.linalg.inv(world_from_gl @ _GL_FROM_CV), scale

    def size(self, header: ImageHeader) -> tuple[float, float]:
        """Width and height in pixels that the intrinsics are for: the file's, else the photograph's own."""
        return self._side("w", header.width), self._side("h", header.height)

    def lens(self, header: ImageHeader) -> Lens:
        """The lens for the photograph's own size, which may differ from `w` and `h` (images_2 and the like)."""
        width, height = self.size(header)
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
            angle, degrees = self.number(angle_key), self.number(f"{angle_key[-1]}_fov")  # instant-ngp's is in degrees
            if angle is None and degrees is not None:
                angle, angle_key = math.radians(degrees), f"{angle_key[-1]}_fov"
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
        if isinstance(named, str):
            named = _SAME_MODELS.get(named.upper(), named.upper())
        k1, k2, k3, k4, p1, p2 = self._distortion()
        if named == "OPENCV_FISHEYE" or self.entry.get("is_fisheye", self.table.get("is_fisheye")) is True:
            return "OPENCV_FISHEYE", (k1, k2, k3, k4)
        if named not in ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "FULL_OPENCV"):
            raise BadInputError(
                f"{self.where}: the camera_model {shown(named)} is not supported; PINHOLE, OPENCV or OPENCV_FISHEYE "
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
                f"{', '.join(_DISTORTION)}, found {shown(named)}."
            )
        return tuple(map(float, named))


def _is_finite_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def shown(value: Any) -> str:
    text = repr(value)
    return "nothing" if value is None else text if len(text) <= 60 else text[:57] + "..."
