"""Qualisys calibrations (`.qca.txt`, an XML file): cameras of a motion capture room, in metres with z up."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from ..errors import BadInputError
from .lens import Lens, make_lens

SUFFIX = ".qca.txt"
_MAX_BYTES = 4 * 2**20  # a camera takes about 1.5 kB
_PER_PIXEL = 64.0  # focal lengths, principal points and sensor sizes are in 1/64 pixel
_PER_METRE = 1000.0  # positions are in millimetres
_CV_FROM_QUALISYS = np.diag([1.0, -1.0, -1.0])  # its camera axes are x right, y up, z backwards
_RIGID = 1e-2
_MAX_SKEW_PX = 1.0  # at the edge of the picture; no camera of this century has any


@dataclass(frozen=True)
class CalibratedCamera:
    """One camera of a calibration."""

    name: str  # its serial number, or what stands for it
    lens: Lens  # at the size of the camera's own video
    cam_from_world: np.ndarray  # float64 [4, 4], OpenCV axes, metres


def read_qualisys(path: Path) -> list[CalibratedCamera]:
    """The cameras of a calibration, in its order.

    With M the rows r11 .. r33 and C the position, cam_from_world is R = diag(1, -1, -1) M and t = -R C. Distortion
    coefficients are OpenCV's as they stand. Pixels are counted from the centre of the first one, here from its corner.
    Raises BadInputError that names the camera and the value.
    """
    cameras = [_camera(path, i, element) for i, element in enumerate(_root(path).iter("camera"))]
    if not cameras:
        raise BadInputError(f"{path} holds no camera; a Qualisys calibration is expected.")
    names = [camera.name for camera in cameras]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise BadInputError(f"{path} has two cameras with the serial number {twice!r}; numbers must differ.")
    return cameras


def _root(path: Path) -> ElementTree.Element:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise BadInputError(f"{path} could not be read: {error.strerror or error}.") from error
    if len(data) > _MAX_BYTES:
        raise BadInputError(f"{path} has over {_MAX_BYTES} bytes; a calibration of a few kilobytes is expected.")
    if re.search(rb"<!\s*(DOCTYPE|ENTITY)", data, re.IGNORECASE):  # entities can grow without end
        raise BadInputError(f"{path} defines entities of its own, which no calibration needs; they are not read.")
    try:
        return ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise BadInputError(f"{path} is no Qualisys calibration: {error}.") from error


def _camera(path: Path, index: int, element: ElementTree.Element) -> CalibratedCamera:
    name = element.get("serial") or f"camera {index + 1}"
    where = f"{path}, camera {name}"
    parts = {tag: element.find(tag) for tag in ("transform", "intrinsic")}
    view = element.find("fov_video")
    view = element.find("fov_marker") if view is None else view
    missing = [tag for tag, part in (*parts.items(), ("fov_video", view)) if part is None]
    if missing:
        raise BadInputError(f"{where} has no <{missing[0]}>.")
    pose, intrinsic = parts["transform"], parts["intrinsic"]
    assert pose is not None
    assert intrinsic is not None
    assert view is not None
    left, right, top, bottom = (_number(view, key, where) for key in ("left", "right", "top", "bottom"))
    width, height = round(right - left + 1), round(bottom - top + 1)
    focal = [_number(intrinsic, f"focalLength{axis}", where) / _PER_PIXEL for axis in "UV"]
    center = [
        _number(intrinsic, f"centerPoint{axis}", where) / _PER_PIXEL - start + 0.5
        for axis, start in (("U", left), ("V", top))
    ]
    k1, k2, k3 = (_number(intrinsic, f"radialDistortion{i}", where, 0.0) for i in (1, 2, 3))
    # The program spells it so.
    p1, p2 = (_number(intrinsic, f"tangentalDistortion{i}", where, 0.0) for i in (1, 2))
    skew_px = abs(_number(intrinsic, "skew", where, 0.0)) / _PER_PIXEL * height / 2 / max(focal[1], 1e-9)
    if skew_px > _MAX_SKEW_PX:
        raise BadInputError(f"{where} has a skew of {skew_px:.3g} pixels at its edge, which is not supported.")
    lens = make_lens("FULL_OPENCV", (*focal, *center, k1, k2, p1, p2, k3, 0, 0, 0), width, height, where)
    return CalibratedCamera(name, lens, _cam_from_world(pose, where))


def _cam_from_world(pose: ElementTree.Element, where: str) -> np.ndarray:
    """float64 [4, 4]"""
    M = np.array([[_number(pose, f"r{i}{j}", where) for j in (1, 2, 3)] for i in (1, 2, 3)])
    center = np.array([_number(pose, axis, where) for axis in "xyz"]) / _PER_METRE
    if np.abs(M @ M.T - np.eye(3)).max() > _RIGID or np.linalg.det(M) < 0:
        raise BadInputError(f"{where} has no rotation in r11 to r33.")
    u, _, vt = np.linalg.svd(_CV_FROM_QUALISYS @ M)
    cam_from_world = np.eye(4)
    cam_from_world[:3, :3] = u @ vt
    cam_from_world[:3, 3] = -cam_from_world[:3, :3] @ center
    return cam_from_world


def _number(element: ElementTree.Element, key: str, where: str, otherwise: float | None = None) -> float:
    text = element.get(key)
    if text is None and otherwise is not None:
        return otherwise
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        found = "nothing" if text is None else repr(text[:40])
        raise BadInputError(f"{where}: '{key}' of <{element.tag}> should be a finite number, found {found}.")
    return value
