"""Coordinates far from zero, such as a map's, brought near it before they become single precision."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from ..cameras import Cameras
from ..capture import Capture

# Single precision keeps 6e-8 of a coordinate: of the scene's size that is then at most 6e-6, a hundredth of a pixel.
FAR = 100.0  # sizes of the scene between its middle and zero


def single_precision(cameras: Cameras) -> Cameras:
    """The cameras of a reader in float32; what their poses were rounded from stays with them."""
    exact = cameras.cam_from_world.double()
    return replace(cameras, cam_from_world=exact.float(), K=cameras.K.float(), exact=exact)


def in_single_precision(capture: Capture) -> Capture:
    """The capture with cameras and points in float32, moved to a near origin first where they lie too far from zero.

    The origin is a round number, so that people can add it again: it is in `Capture.origin` and in a note. Unit and
    axes are never changed.
    """
    cameras, points = capture.cameras, capture.points
    if cameras is None:
        return capture
    cam_from_world = cameras.cam_from_world.double()
    rotation = cam_from_world[:, :3, :3]
    centers = -(rotation.transpose(1, 2) @ cam_from_world[:, :3, 3:]).squeeze(-1)
    middle = centers.median(dim=0).values
    size = float((centers - middle).norm(dim=1).max())
    if points is not None and len(points) > 0:
        size = max(size, float((points.xyz.double() - middle).norm(dim=1).median()))
    origin = torch.zeros(3, dtype=torch.float64)
    if 0 < FAR * size < float(middle.norm()):
        step = 10.0 ** math.ceil(math.log10(size))
        origin = (middle / step).round() * step + 0.0  # no -0
        cam_from_world = cam_from_world.clone()
        cam_from_world[:, :3, 3:] += rotation @ origin[:, None]
    moved = single_precision(replace(cameras, cam_from_world=cam_from_world))
    if points is not None:
        exact = points.unrounded_xyz - origin
        points = replace(points, xyz=exact.float(), exact=exact)
    if not bool(origin.any()):
        return replace(capture, cameras=moved, points=points)
    x, y, z = origin.tolist()
    old_x, old_y, old_z = capture.origin
    from_source = (old_x + capture.unit * x, old_y + capture.unit * y, old_z + capture.unit * z)
    note = (
        f"The cameras lie {float(middle.norm()):.4g} units from zero, too far for single precision: all coordinates "
        f"are those of {capture.source} minus ({x:.10g}, {y:.10g}, {z:.10g})."
    )
    return replace(capture, cameras=moved, points=points, origin=from_source, notes=(*capture.notes, note))
