"""A reconstruction as a capture: undistorted frames, cameras and observed points in an upright world."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pycolmap
import torch

from ...scene.cameras import Cameras
from ...scene.capture import Capture, Frame
from ...scene.point_cloud import PointCloud
from ...scene.readers.lens import Lens
from .focal_prior import Lenses
from .held_out import camera_of
from .mapping import Model
from .world_frame import upright_from_world


def placed_capture(
    capture: Capture,
    model: Model,
    lens_groups: Lenses,
    registered: dict[int, np.ndarray],  # cam_from_world [3, 4] of held-out views
    colors: list[np.ndarray],  # [N, 3] uint8 for each view of the capture, at its keypoints
    unplaced: dict[int, str],
) -> Capture:
    """The placed frames with cameras at the frames' own size; see `Poses` for the world frame.

    The held-out ones among them have no part in the choice of the world frame either.
    """
    views = sorted([*model.views, *registered])
    subset = replace(capture.subset(views), cameras=None, points=None)
    lenses = [
        _lens(camera_of(lens_groups, model, view), frame) for view, frame in zip(views, subset.frames, strict=True)
    ]
    frames = tuple(_undistorted(frame, lens) for frame, lens in zip(subset.frames, lenses, strict=True))
    mapped = {view: model.reconstruction.image(view + 1).cam_from_world().matrix() for view in model.views}
    poses = [(mapped | registered)[view] for view in views]
    cam_from_world = torch.eye(4, dtype=torch.float64).repeat(len(views), 1, 1)
    cam_from_world[:, :3] = torch.from_numpy(np.stack(poses))
    cameras = Cameras(
        cam_from_world,
        torch.from_numpy(np.stack([lens.K for lens in lenses])),
        torch.tensor([frame.width for frame in frames]),
        torch.tensor([frame.height for frame in frames]),
    )
    xyz, rgb, seen_point, seen_view = observed_points(model.reconstruction, views, colors)
    to_mapped = torch.cumsum(torch.tensor([view in mapped for view in views]), 0) - 1
    mapped_cameras = cam_from_world[[i for i, view in enumerate(views) if view in mapped]]
    upright = upright_from_world(mapped_cameras, xyz, seen_point, to_mapped[seen_view])
    cameras = cameras.transformed(upright)
    cameras = replace(cameras, cam_from_world=cameras.cam_from_world.float(), K=cameras.K.float())
    points = PointCloud(upright(xyz).float(), rgb, seen_point, seen_view)
    notes = (*capture.notes, *(f"Not placed: {reason}" for reason in unplaced.values()))
    return replace(subset, frames=frames, cameras=cameras, points=points, notes=notes)


def _lens(camera: pycolmap.Camera, frame: Frame) -> Lens:
    """A camera of a view's working size as the lens of its frame's own size."""
    working = Lens(camera.model_name, tuple(float(p) for p in camera.params), camera.width, camera.height)
    return working.resized(frame.width, frame.height)


def _undistorted(frame: Frame, lens: Lens) -> Frame:
    if lens.is_pinhole:
        return frame
    load, load_mask, load_depth, load_still = frame.load, frame.load_mask, frame.load_depth, frame.load_still
    new_mask: Callable[[], np.ndarray] | None = None
    if load_mask is not None or not lens.covers_all:
        new_mask = lambda: _undistorted_mask(load_mask, lens)  # noqa: E731
    return replace(
        frame,
        load=lambda: lens.undistort(load()),
        load_mask=new_mask,
        load_depth=None if load_depth is None else lambda: lens.undistort(load_depth(), nearest=True),
        load_still=None
        if load_still is None
        else lambda: lens.undistort(load_still().astype(np.uint8), nearest=True).astype(bool),
        focal_px=float(lens.K[0, 0]),
    )


def _undistorted_mask(load_mask: Callable[[], np.ndarray] | None, lens: Lens) -> np.ndarray:
    covered = lens.covered()
    mask = np.ones((lens.height, lens.width), bool) if covered is None else covered
    if load_mask is not None:
        mask = mask & (lens.undistort(load_mask().astype(np.uint8), nearest=True) > 0)
    return mask


def observed_points(
    reconstruction: pycolmap.Reconstruction,
    views: list[int],
    colors: list[np.ndarray],  # [N, 3] uint8 for each view of the capture, at its keypoints
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """xyz [P, 3] float64, rgb [P, 3] uint8 (mean over the views), and observations (point, place in `views`) [T]."""
    place = {view: position for position, view in enumerate(views)}
    xyz: list[np.ndarray] = []
    rgb: list[np.ndarray] = []
    seen: list[tuple[int, int]] = []
    for _, point in sorted(reconstruction.points3D.items()):
        elements = [(e.image_id - 1, e.point2D_idx) for e in point.track.elements if e.image_id - 1 in place]
        seen_by = sorted({view for view, _ in elements})
        if len(seen_by) < 2 or not np.isfinite(point.xyz).all():
            continue
        seen.extend((len(xyz), place[view]) for view in seen_by)
        xyz.append(point.xyz)
        rgb.append(np.mean([colors[view][index] for view, index in elements], axis=0))
    observations = torch.tensor(seen, dtype=torch.int64).reshape(-1, 2)
    points = torch.from_numpy(np.array(xyz, np.float64).reshape(-1, 3))
    shades = torch.from_numpy(np.round(np.array(rgb, np.float64).reshape(-1, 3)).astype(np.uint8))
    return points, shades, observations[:, 0], observations[:, 1]
