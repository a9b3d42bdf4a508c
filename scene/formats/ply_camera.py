"""The camera that a splat was predicted from, as Apple's SHARP writes it into extra elements of a PLY.

`extrinsic` has 16 numbers, camera from world in OpenCV axes by rows; `intrinsic` the 9 of K by rows; `image_size` width
and height in pixels; `color_space` 0 for sRGB and 1 for linear light. Older files have 4 numbers in `intrinsic` (two
focal lengths, width, height) and 12 in `extrinsic` (3 x 4 by rows, the rotation transposed).
Source: github.com/apple/ml-sharp, src/sharp/utils/gaussians.py and color_space.py.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ..cameras import Cameras
from ..errors import BadInputError
from ..ply_file import PlyHeader, read_element, read_header

_LENGTHS = {"extrinsic": (16, 12), "intrinsic": (9, 4), "image_size": (2,), "color_space": (1,)}
_LINEAR = 1
_MAX_SIDE_PX = 100_000


def ply_camera(path: Path) -> tuple[Cameras | None, tuple[str, ...]]:
    """(the camera [] in the frame of the file, sentences); None without a sentence where the file names none.

    One that cannot be used is None with a sentence: the splat is worth looking at without it.
    """
    header = read_header(path)
    if header.element("intrinsic") is None:
        return None, ()
    try:
        camera = _camera(header)
    except BadInputError as error:
        return None, (f"{error} The splat is shown without its camera.",)
    width, height, focal_px = int(camera.width), int(camera.height), float(camera.K[0, 0])
    return camera, (
        f"{path.name} opens at the camera it was made for: {width} x {height} pixels, focal length {focal_px:.5g}.",
    )


def is_linear_light(header: PlyHeader) -> bool:
    """True where a PLY says that its colours are linear light, not sRGB."""
    try:
        value = _values(header, "color_space")
    except BadInputError:  # colours are sRGB in all other files
        return False
    return value is not None and int(value[0]) == _LINEAR


def _camera(header: PlyHeader) -> Cameras:
    intrinsic, size, extrinsic = (_values(header, name) for name in ("intrinsic", "image_size", "extrinsic"))
    assert intrinsic is not None
    if len(intrinsic) == 4:
        (fx, fy, width, height), cx, cy = intrinsic, intrinsic[2] / 2, intrinsic[3] / 2
    elif size is None:
        raise BadInputError(f"{header.path} has an element 'intrinsic' of 9 numbers, but none 'image_size' beside it.")
    else:
        (width, height), (fx, fy, cx, cy) = size, intrinsic[[0, 4, 2, 5]]
    matrix = np.eye(4)
    if extrinsic is not None:
        matrix[: len(extrinsic) // 4] = extrinsic.reshape(-1, 4)
        if len(extrinsic) == 12:
            matrix[:3, :3] = matrix[:3, :3].T.copy()
    turn = matrix[:3, :3]
    rigid = np.abs(turn @ turn.T - np.eye(3)).max() < 1e-3 and np.linalg.det(turn) > 0
    usable_size = 1 <= width <= _MAX_SIDE_PX and 1 <= height <= _MAX_SIDE_PX
    if not (rigid and usable_size and 0 < fx < 1e7 and 0 < fy < 1e7 and np.array_equal(matrix[3], [0, 0, 0, 1])):
        raise BadInputError(
            f"{header.path} names a camera that cannot be used: a rigid motion, positive focal lengths and an image "
            "size are expected."
        )
    K = torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float32)
    pose = torch.tensor(matrix, dtype=torch.float32)
    return Cameras(pose, K, torch.tensor(int(width)), torch.tensor(int(height)))


def _values(header: PlyHeader, name: str) -> np.ndarray | None:
    """float64 numbers of an element with one property of its own name, None where there is no such element."""
    element = header.element(name)
    if element is None:
        return None
    if element.properties != (name,) or element.count not in _LENGTHS[name]:
        raise BadInputError(
            f"{header.path} has an element '{name}' of {element.count} rows; "
            f"{' or '.join(map(str, _LENGTHS[name]))} numbers '{name}' are expected."
        )
    values = read_element(header, name)[name].astype(np.float64)
    if not np.isfinite(values).all():
        raise BadInputError(f"{header.path} has an element '{name}' with numbers that are not finite.")
    return values
