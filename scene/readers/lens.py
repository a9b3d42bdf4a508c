"""Lenses: from any perspective or fisheye camera that COLMAP knows to a pinhole image.

The pinhole camera keeps the lens's own focal lengths, principal point and image size. Nothing is cropped or
zoomed: pixels that the photograph does not cover are marked in a mask instead, and what a wide fisheye sees beyond
the pinhole's field of view is not used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from ..errors import BadInputError
from ..quiet_pycolmap import pycolmap

_SUPPORTED = {
    0: "SIMPLE_PINHOLE", 1: "PINHOLE", 2: "SIMPLE_RADIAL", 3: "RADIAL", 4: "OPENCV", 5: "OPENCV_FISHEYE",
    6: "FULL_OPENCV", 7: "FOV", 8: "SIMPLE_RADIAL_FISHEYE", 9: "RADIAL_FISHEYE", 10: "THIN_PRISM_FISHEYE",
    11: "RAD_TAN_THIN_PRISM_FISHEYE", 12: "SIMPLE_DIVISION", 13: "DIVISION", 14: "SIMPLE_FISHEYE", 15: "FISHEYE",
    16: "EUCM",
}  # fmt: skip
_UNSUPPORTED = {17: "EQUIRECTANGULAR"}
MAX_PERSPECTIVE_DEG, MAX_FISHEYE_DEG = 150.0, 400.0  # over the whole width; the widest fisheyes see 280
_PINHOLES_WITHOUT_DISTORTION = ("SIMPLE_RADIAL", "RADIAL", "OPENCV", "FULL_OPENCV", "SIMPLE_DIVISION", "DIVISION")


@dataclass(frozen=True)
class Lens:
    """A camera model of COLMAP's, with its parameters for one image size."""

    model: str
    params: tuple[float, ...]
    width: int  # pixels
    height: int  # pixels

    @property
    def K(self) -> np.ndarray:
        """float64 [3, 3] of the pinhole camera that the undistorted image has."""
        return self._camera().calibration_matrix()

    @property
    def is_pinhole(self) -> bool:
        if self.model in ("SIMPLE_PINHOLE", "PINHOLE"):
            return True
        extra = [self.params[i] for i in self._camera().extra_params_idxs()]
        return self.model in _PINHOLES_WITHOUT_DISTORTION and not any(extra)

    @property
    def centre_is_inside(self) -> bool:
        """True where the optical axis meets the photograph."""
        K = self.K
        return bool(0 <= K[0, 2] <= self.width and 0 <= K[1, 2] <= self.height)

    @property
    def covers_all(self) -> bool:
        """True where the photograph covers the whole undistorted image."""
        return self.is_pinhole or _is_covered_everywhere(self)

    def resized(self, width: int, height: int) -> Lens:
        """The same lens for photographs that were resized to width x height."""
        if (width, height) == (self.width, self.height):
            return self
        camera = self._camera()
        camera.rescale(width, height)
        return Lens(self.model, tuple(float(p) for p in camera.params), width, height)

    def undistort(self, pixels: np.ndarray, nearest: bool = False) -> np.ndarray:
        """An image [H, W, ...] as the pinhole camera sees it; beyond the photograph's edge its border is repeated.

        `nearest` is for masks and depth maps, which must not be averaged.
        """
        if self.is_pinhole:
            return pixels
        map_x, map_y, _ = _undistortion(self)
        interpolation = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
        return cv2.remap(pixels, map_x, map_y, interpolation, borderMode=cv2.BORDER_REPLICATE)

    def covered(self) -> np.ndarray | None:
        """bool [H, W], True where the photograph covers the undistorted image; None where it covers all of it."""
        return None if self.covers_all else _undistortion(self)[2]

    def _camera(self) -> pycolmap.Camera:
        return pycolmap.Camera(model=self.model, width=self.width, height=self.height, params=list(self.params))


def model_name(model_id: int, where: str) -> str:
    """COLMAP's name of a camera model number. Raises BadInputError for one that is not supported."""
    if model_id not in _SUPPORTED:
        name = _UNSUPPORTED.get(model_id, "unknown")
        raise BadInputError(
            f"{where} has the camera model {name} (number {model_id}), which is not supported; undistort the "
            f"photographs first, or use one of {', '.join(_SUPPORTED.values())}."
        )
    return _SUPPORTED[model_id]


def n_params(model: str) -> int:
    return len(pycolmap.Camera.create_from_model_name(1, model, 1.0, 2, 2).params)


def make_lens(model: str, params: Sequence[float], width: int, height: int, where: str) -> Lens:
    """A lens whose numbers make sense. Raises BadInputError that says which do not, and `where`."""
    if model not in _SUPPORTED.values():
        number = next((n for n, name in _UNSUPPORTED.items() if name == model), None)
        raise BadInputError(
            f"{where} has the camera model {model}{'' if number is None else f' (number {number})'}, which is not "
            f"supported; use one of {', '.join(_SUPPORTED.values())}."
        )
    if len(params) != n_params(model):
        raise BadInputError(f"{where}: {model} has {n_params(model)} parameters, found {len(params)}.")
    if not (0 < width < 2**31 and 0 < height < 2**31):
        raise BadInputError(f"{where} has an image size of {width} x {height} pixels.")
    if not all(math.isfinite(p) for p in params):
        raise BadInputError(f"{where} has a parameter that is not a finite number: {list(params)}.")
    lens = Lens(model, tuple(float(p) for p in params), int(width), int(height))
    if not (lens.K[0, 0] > 0 and lens.K[1, 1] > 0):
        raise BadInputError(
            f"{where} has a focal length of {lens.K[0, 0]:g}, {lens.K[1, 1]:g}; more than 0 is expected."
        )
    _require_plausible(lens, where)
    return lens


def _require_plausible(lens: Lens, where: str) -> None:
    """Raises BadInputError for focal lengths in another unit than pixels, such as shares of the width."""
    limit = MAX_FISHEYE_DEG if "FISHEYE" in lens.model or lens.model in ("FOV", "EUCM") else MAX_PERSPECTIVE_DEG
    for focal_px, side, name in ((lens.K[0, 0], lens.width, "width"), (lens.K[1, 1], lens.height, "height")):
        if limit == MAX_PERSPECTIVE_DEG:
            seen_deg = 2 * math.degrees(math.atan(side / 2 / focal_px))
        else:
            seen_deg = math.degrees(side / focal_px)  # the equidistant fisheye, which the others resemble
        if seen_deg > limit:
            raise BadInputError(
                f"{where} has a focal length of {focal_px:g} pixels for a {name} of {side}: it would see "
                f"{seen_deg:.0f} degrees, which no {lens.model} lens does. If its intrinsics are shares of the image "
                "size or millimetres, write them in pixels."
            )


@lru_cache(maxsize=8)
def _undistortion(lens: Lens) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Source positions of the undistorted pixels, x and y float32 [H, W] for cv2.remap, and which are covered."""
    source, covered = _sources(lens, np.arange(lens.width), np.arange(lens.height))
    # OpenCV counts from the centre of the first pixel, COLMAP from its corner.
    x, y = np.moveaxis(np.clip(source - 0.5, -1, 32766).astype(np.float32), -1, 0)
    return np.ascontiguousarray(x), np.ascontiguousarray(y), covered


@lru_cache(maxsize=1024)
def _is_covered_everywhere(lens: Lens) -> bool:
    """Judged on the whole border and a coarse grid inside, so that many different lenses cost little."""
    columns, rows = np.arange(lens.width), np.arange(lens.height)
    few_columns = np.unique(np.linspace(0, lens.width - 1, 65).astype(int))
    few_rows = np.unique(np.linspace(0, lens.height - 1, 65).astype(int))
    edges = (columns, rows[[0, -1]]), (columns[[0, -1]], rows), (few_columns, few_rows)
    return all(bool(_sources(lens, x, y)[1].all()) for x, y in edges)


def _sources(lens: Lens, columns: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Photograph positions [len(rows), len(columns), 2] in pixels of a grid of undistorted pixels; and validity."""
    K = lens.K
    rays = np.ones((len(rows), len(columns), 3))
    rays[..., 0] = (columns + 0.5 - K[0, 2]) / K[0, 0]
    rays[..., 1] = ((rows + 0.5 - K[1, 2]) / K[1, 1])[:, None]
    source = np.asarray(lens._camera().img_from_cam(rays.reshape(-1, 3))).reshape(*rays.shape[:2], 2)
    covered = np.isfinite(source).all(-1)
    source[~covered] = -1
    covered &= (source >= 0).all(-1) & (source[..., 0] <= lens.width) & (source[..., 1] <= lens.height)
    return source, covered & _unfolded(source)


def _unfolded(source: np.ndarray) -> np.ndarray:
    """False where a strong polynomial distortion has turned back on itself (orientation of the map flips)."""
    if min(source.shape[:2]) < 2:
        return np.ones(source.shape[:2], bool)
    dy, dx = np.gradient(source, axis=(0, 1))
    return dx[..., 0] * dy[..., 1] - dx[..., 1] * dy[..., 0] > 0
