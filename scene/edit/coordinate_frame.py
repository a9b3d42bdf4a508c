"""New frames for a scene, as similarities `new_from_old`, and what has to follow them besides the splat."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..cameras import Cameras
from ..errors import BadInputError
from ..geometry import Similarity, so3_exp
from ..point_cloud import PointCloud
from ..splat import Axis

AXES: dict[str, Axis] = {
    "+x": (1.0, 0.0, 0.0), "-x": (-1.0, 0.0, 0.0), "+y": (0.0, 1.0, 0.0),
    "-y": (0.0, -1.0, 0.0), "+z": (0.0, 0.0, 1.0), "-z": (0.0, 0.0, -1.0),
}  # fmt: skip
MAX_SCALE = 1e9  # either way, from nanometres to metres: float32 has room for a scene on both sides of it


def centered_at(point: Tensor) -> Similarity:
    """`point` [3] becomes the origin; nothing turns."""
    return replace(Similarity.identity(), translation=-point.double())


def median_point(means: Tensor) -> Tensor:
    """[3] float64 median of the finite points [N, 3], coordinate by coordinate.

    Raises BadInputError where there is none.
    """
    means = means[torch.isfinite(means).all(-1)]
    if len(means) == 0:
        raise BadInputError("There are no Gaussians to find the middle of; undo a deletion first.")
    return means.median(0).values.double()


def turned_up(direction: Tensor, axis: Axis = AXES["+z"]) -> Similarity:
    """The shortest turn about the origin that makes `direction` [3] the axis. Raises BadInputError for a zero one."""
    length = float(direction.double().norm())
    if not 0 < length < float("inf"):
        raise BadInputError("The up direction has no length; three points that are not on one line give one.")
    old, new = direction.double() / length, normalize(torch.tensor(axis, dtype=torch.float64), dim=-1)
    turn = torch.linalg.cross(old, new)
    angle = torch.atan2(turn.norm(), old @ new)
    if turn.norm() < 1e-12:  # already there, or exactly opposite: any perpendicular axis will do for a half turn
        turn = torch.linalg.cross(old, torch.eye(3, dtype=torch.float64)[int(old.abs().argmin())])
    return replace(Similarity.identity(), rotation=so3_exp(angle * normalize(turn, dim=-1)))


def ground_normal(
    ground: Tensor,  # [3, 3] three points
    above: Tensor,  # [3] a point on the upper side, such as where a camera stood
) -> Tensor:
    """Unit normal [3] float64 of the plane through three points, towards `above`.

    Raises BadInputError where they lie on one line.
    """
    a, b, c = ground.double()
    normal = torch.linalg.cross(b - a, c - a)
    if not normal.norm() > 1e-6 * (b - a).norm() * (c - a).norm():
        raise BadInputError("The three ground points lie on one line; choose three that span the ground.")
    normal = normalize(normal, dim=-1)
    return -normal if (above.double() - a) @ normal < 0 else normal


def scaled_to_length(a: Tensor, b: Tensor, metres: float) -> Similarity:
    """The scale about the origin that makes the distance of two points [3] `metres`, so that a unit is a metre.

    Raises BadInputError where they coincide, the length is not a positive number, or no unit is so much of another.
    """
    found = float((b.double() - a.double()).norm())
    if not 0 < metres < float("inf"):
        raise BadInputError(f"A length of {metres} metres cannot be used; a positive number is expected.")
    if not 0 < found < float("inf"):
        raise BadInputError("The two points of a length lie in one place; choose two that are apart.")
    scale = metres / found
    if not 1 / MAX_SCALE <= scale <= MAX_SCALE:
        raise BadInputError(
            f"{metres:g} metres for points that are {found:g} apart would scale the scene {scale:g} times; "
            f"{1 / MAX_SCALE:g} to {MAX_SCALE:g} times are possible."
        )
    return replace(Similarity.identity(), scale=torch.tensor(scale, dtype=torch.float64))


def moved_cameras(cameras: Cameras, new_from_old: Similarity) -> Cameras:
    """Cameras that see the moved splat as they saw the old one; the arithmetic is in double precision."""
    old = replace(cameras, cam_from_world=cameras.cam_from_world.double())
    moved = old.transformed(new_from_old.double())
    return replace(cameras, cam_from_world=moved.cam_from_world.to(cameras.cam_from_world))


def moved_points(cloud: PointCloud, new_from_old: Similarity, metric: bool | None = None) -> PointCloud:
    """The points in the new frame; `metric` says whether its unit is a metre, None keeps what was known.

    A change of size ends what was known.
    """
    if metric is None:
        metric = cloud.metric and float(new_from_old.scale) == 1
    return replace(cloud, xyz=new_from_old.double()(cloud.xyz.double()).to(cloud.xyz), metric=metric)


def turned_direction(direction: Axis | None, new_from_old: Similarity) -> Axis | None:
    """A unit direction, such as a file's up, in the new frame; None stays None."""
    if direction is None:
        return None
    x, y, z = (new_from_old.rotation.double() @ torch.tensor(direction, dtype=torch.float64)).tolist()
    return x, y, z
