"""A photograph over a part of the 3D view: where its pixels come to lie, and what is seen of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fewview.scene.cameras import Cameras
from fewview.scene.geometry import se3_from, so3_exp
from fewview.viewer.canvas_wipe import laid_over

BEHIND = np.array([10, 20, 30], np.uint8)


def camera(turn: tuple[float, float, float], focal_px: float, width: int, height: int) -> Cameras:
    """A camera in one place, turned by a rotation vector."""
    rotation = so3_exp(torch.tensor(turn, dtype=torch.float64))
    center = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64)
    return Cameras.pinhole(se3_from(rotation, -rotation @ center), focal_px, width, height)


def ramps(width: int, height: int) -> np.ndarray:
    """A photograph whose red tells the column and whose green tells the row, in steps of 2."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return np.stack([2 * x, 2 * y, np.full_like(x, 77)], axis=-1).astype(np.uint8)


def test_from_the_same_camera_it_is_itself_up_to_the_line() -> None:
    photo, same = ramps(80, 60), camera((0, 0, 0), 70.0, 80, 60)
    picture, seen = laid_over(photo, same, same, 0.25, BEHIND)
    np.testing.assert_array_equal(picture[:, :18], photo[:, :18])
    assert (picture[:, 18:20] == 255).all()  # the line
    assert (picture[:, 20:] == BEHIND).all()
    assert seen[:, :20].all()
    assert not seen[:, 20:].any()
    whole, seen = laid_over(photo, same, same, 1.0, BEHIND)
    np.testing.assert_array_equal(whole, photo)
    assert seen.all()
    _, seen = laid_over(photo, same, same, 0.0, BEHIND)
    assert not seen.any()


@pytest.mark.parametrize("turn", [(0.1, 0.0, 0.0), (0.0, -0.2, 0.1), (0.05, 0.15, -1.2)])
def test_each_pixel_shows_what_lies_in_its_direction(turn: tuple[float, float, float]) -> None:
    photo, taken = ramps(80, 60), camera((0.2, 0.1, 0.3), 70.0, 80, 60)
    rotation = so3_exp(torch.tensor(turn, dtype=torch.float64)) @ taken.cam_from_world[:3, :3]
    view = Cameras.pinhole(se3_from(rotation, -rotation @ taken.centers), 90.0, 100, 50)
    picture, seen = laid_over(photo, taken, view, 1.0, BEHIND)
    assert seen.sum() > 300
    for row, column in np.argwhere(seen)[::37]:
        ray = torch.linalg.inv(view.K) @ torch.tensor([column + 0.5, row + 0.5, 1.0], dtype=torch.float64)
        at = taken.K @ taken.cam_from_world[:3, :3] @ rotation.T @ ray
        x, y = (at[:2] / at[2] - 0.5).tolist()
        # Two steps a pixel, interpolated by OpenCV at 1/32 of a pixel; the outermost half pixel is repeated.
        expected = [2 * min(max(x, 0), 79), 2 * min(max(y, 0), 59)]
        assert np.abs(picture[row, column, :2] - expected).max() <= 1.1


def test_what_lies_behind_the_camera_is_not_seen() -> None:
    photo, taken = ramps(80, 60), camera((0, 0, 0), 70.0, 80, 60)
    _, seen = laid_over(photo, taken, camera((0.0, np.pi, 0.0), 70.0, 80, 60), 1.0, BEHIND)
    assert not seen.any()
