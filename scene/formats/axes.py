"""Up axes as people and files write them, and the turn into frames whose up is +y."""

from __future__ import annotations

import math
import re

import torch

from ..errors import BadInputError
from ..geometry import Similarity
from ..splat import Axis

Y_UP: Axis = (0.0, 1.0, 0.0)
Y_DOWN: Axis = (0.0, -1.0, 0.0)
SNAP_RAD = math.radians(0.5)  # an estimated vertical this near to an axis is that axis
_LETTERS: dict[str, Axis] = {"x": (1.0, 0.0, 0.0), "y": Y_UP, "z": (0.0, 0.0, 1.0)}


def parse_axis(text: str) -> Axis:
    """The unit vector that `x`, `-y` or `0 0.1 -1` names (commas may stand between the numbers).

    Raises BadInputError for anything else.
    """
    words = re.split(r"[\s,]+", text.strip().lower())
    if len(words) == 1 and words[0].lstrip("+-") in _LETTERS and len(words[0]) <= 2:
        sign = -1.0 if words[0][0] == "-" else 1.0
        x, y, z = _LETTERS[words[0][-1]]
        return sign * x + 0.0, sign * y + 0.0, sign * z + 0.0  # + 0.0 takes the sign off a zero
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    length = math.hypot(*numbers) if len(numbers) == 3 else math.nan
    if not 1e-6 < length < 1e30:
        raise BadInputError(f"{text[:60]!r} is no axis: x, y, z, -x, -y, -z or three numbers are expected.")
    x, y, z = (number / length + 0.0 for number in numbers)
    return x, y, z


def snapped(up: Axis) -> Axis:
    """`up`, or the signed axis that is within half a degree of it."""
    largest = max(range(3), key=lambda i: abs(up[i]))
    if abs(up[largest]) < math.cos(SNAP_RAD) * math.hypot(*up):
        return up
    x, y, z = (math.copysign(1.0, up[i]) if i == largest else 0.0 for i in range(3))
    return x, y, z


def file_from_world(up: Axis | None, file_up: Axis = Y_UP) -> Similarity:
    """The rotation (float64) into a frame with x right, y up, z back, in which `up` becomes +y.

    With `file_up` Y_DOWN it is the frame with x right, y down, z forward, in which `up` becomes -y.
    x stays as near to the world's x as it can. Up unknown is taken as -y, the frame of COLMAP and most 3DGS files (x
    right, y down, z forward), which makes diag(1, -1, -1): what the reference library of SPZ does with a PLY.
    """
    y = torch.tensor(Y_DOWN if up is None else up, dtype=torch.float64)
    y = y / y.norm()
    # Where up is along x, the shortest turn brings it to y, and that takes -+y to x.
    near_x = torch.tensor([1.0, 0, 0] if abs(y[0]) < 0.9 else [0, -math.copysign(1, y[0]), 0], dtype=torch.float64)
    x = near_x - (near_x @ y) * y
    x = x / x.norm()
    rotation = torch.stack([x, y, torch.linalg.cross(x, y)])
    if file_up == Y_DOWN:
        rotation = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64)) @ rotation
    return Similarity(torch.ones((), dtype=torch.float64), rotation + 0.0, torch.zeros(3, dtype=torch.float64))
