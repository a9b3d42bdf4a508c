"""Boxes to codes and back, from cameras to the LiDAR and back, also under every augmentation."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from fewview.detect.sparsefusion.augment import Augmentation
from fewview.detect.sparsefusion.coder import (
    decode_boxes,
    encode_boxes,
    encode_camera_boxes,
    lidar_attributes,
    lift_centers,
)
from fewview.detect.sparsefusion.config import preset
from fewview.detect.sparsefusion.prepare import fit_images, prepare
from fewview.scene.datasets.box_conventions import to_mmdet3d_0
from support.detection import SMALLEST, make_sample, project, random_boxes, six_cameras
from support.threads import one_torch_thread as one_torch_thread

PAPER = preset("paper")


def test_lidar_code_and_back():
    boxes = random_boxes(np.random.default_rng(1), 40)
    codes = encode_boxes(boxes, PAPER)
    again = decode_boxes(codes, boxes.labels, PAPER)
    # float32 of metres up to 54 through cells up to 180
    for name in ("centers", "sizes", "velocities"):
        torch.testing.assert_close(getattr(again, name), getattr(boxes, name), atol=1e-4, rtol=0)
    torch.testing.assert_close(again.rotations, boxes.rotations, atol=1e-4, rtol=0)


def test_lidar_code_is_that_of_the_old_convention():
    """Against the box convention, which was written from its own definition: sin and cos of -heading - pi / 2."""
    boxes = random_boxes(np.random.default_rng(2), 20)
    rows, codes = to_mmdet3d_0(boxes), encode_boxes(boxes, PAPER)
    expected = torch.cat(
        [
            (rows[:, :2] + 54) / 0.6,
            rows[:, 2:3] + rows[:, 5:6] / 2,
            rows[:, 3:6].log(),
            rows[:, 6:7].sin(),
            rows[:, 6:7].cos(),
            rows[:, 7:9],
        ],
        dim=1,
    )
    torch.testing.assert_close(codes, expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("tilt_deg", [0.0, 1.5])
def test_camera_code_gives_back_the_lidar_box(tilt_deg: float):
    boxes = random_boxes(np.random.default_rng(3), 60)
    cameras = six_cameras(tilt_deg)
    view = torch.arange(60) % 6
    pose, K = cameras.cam_from_world[view].double(), cameras.K[view].double()
    boxes = boxes.to(torch.float64)
    codes = encode_camera_boxes(boxes, pose, K, 160, 90)
    lidar = encode_boxes(boxes, PAPER)
    sizes, rotation, velocity = lidar_attributes(codes, pose)
    in_camera, center = lift_centers(codes, pose, K, 160, 90)
    # The box's yaw is all that a camera code has: in a camera that is tilted by 1.5 degrees the floor's rotation is off
    # by up to 1 - cos(1.5 deg) = 3.4e-4 and what a velocity of 10 m/s loses is 10 times that.
    tilt = 1 - np.cos(np.deg2rad(tilt_deg))
    torch.testing.assert_close(sizes, lidar[:, 3:6], atol=1e-6, rtol=0)
    torch.testing.assert_close(rotation, lidar[:, 6:8], atol=1e-6 + 2 * tilt, rtol=0)
    torch.testing.assert_close(velocity, lidar[:, 8:10], atol=1e-5 + 20 * tilt, rtol=0)
    torch.testing.assert_close(center, boxes.centers, atol=1e-4, rtol=0)
    torch.testing.assert_close(in_camera[:, 2], codes[:, 2])


FLIPS = list(itertools.product([False, True], [False, True]))


@pytest.mark.parametrize(("flip_x", "flip_y"), FLIPS)
def test_centers_survive_every_augmentation(flip_x: bool, flip_y: bool):
    """Ground truth centre, projected and lifted with its depth, is the same centre in the moved world: below 1 cm.

    Each box also keeps the points that it held, and each sighting shows the same spot of the picture.
    """
    config = SMALLEST
    sample = make_sample(5)
    change = Augmentation(
        0.6, 1.07, (0.4, -0.7, 0.2), flip_x, flip_y, (1.1, 0.9, 1.0, 1.05, 0.95, 1.02), ((0.3, 0.8),) * 6
    )
    plain = prepare(sample, None, config)
    moved = prepare(sample, None, config, change)
    assert moved.targets is not None
    assert plain.targets is not None
    assert len(moved.targets.sightings.views) >= 3
    boxes = change.boxes(sample.boxes.to(torch.float64))
    seen = moved.targets.sightings
    pose, K = moved.cam_from_lidar.double(), moved.K.double()
    size = config.image_width_px, config.image_height_px
    _, centers = lift_centers(seen.codes.double(), pose[seen.views], K[seen.views], *size)
    gap = (centers[:, None] - boxes.centers[None]).norm(dim=-1).amin(dim=1)
    assert float(gap.max()) < 0.01

    # The moved camera is still a rotation, whatever was flipped.
    torch.testing.assert_close(torch.linalg.det(pose[:, :3, :3]), torch.ones(6).double(), atol=1e-5, rtol=0)
    # What lay in a box lies in it: points are moved as boxes are.
    inside = sample.boxes.contains(sample.points[:, :3])
    moved_points = moved.points[:, :3]
    disagree = inside != boxes.to(torch.float32).contains(moved_points)
    assert int(disagree.sum()) <= 1  # a point on a face may fall to either side in float32

    # A world point is at the same spot of the picture: moved pixel = picture's own change of the plain pixel.
    for v in range(6):
        point = sample.boxes.centers[0].double()
        there = moved.cam_from_lidar[v].double()
        old, old_depth = project(plain.cam_from_lidar[v].double(), plain.K[v].double(), point)
        new, depth = project(there, K[v], boxes.centers[0])
        expected = change.images.matrix(v, *_fitted(plain)) @ torch.cat([old, torch.ones(1)])
        torch.testing.assert_close(new, expected[:2], atol=1e-2, rtol=1e-4)  # pixels, from float32 matrices
        torch.testing.assert_close(depth, 1.07 * old_depth, atol=1e-4, rtol=1e-5)


def _fitted(plain) -> tuple[int, int]:
    return round(float(plain.valid_px[0, 0])), round(float(plain.valid_px[0, 1]))


@pytest.mark.parametrize(("flip_x", "flip_y"), FLIPS)
def test_pictures_are_mirrored_when_exactly_one_flip_happened(flip_x: bool, flip_y: bool):
    sample = make_sample(6)
    fitted = fit_images(sample.load_images(), SMALLEST)
    change = replace(Augmentation.none(6), flip_x=flip_x, flip_y=flip_y)
    plain = prepare(sample, fitted, SMALLEST).images
    moved = prepare(sample, fitted, SMALLEST, change).images
    width = fitted.shape[2]
    expected = plain.clone()
    if flip_x != flip_y:
        expected[..., :width] = plain[..., :width].flip(-1)
    # cv2 moves whole pixels exactly; 8-bit rounding is 1 / 57 in normalised units
    torch.testing.assert_close(moved, expected, atol=0.02, rtol=0)


def test_a_smaller_picture_leaves_a_valid_part_and_padding():
    sample = make_sample(7)
    fitted = fit_images(sample.load_images(), SMALLEST)
    change = replace(Augmentation.none(6), image_scales=(0.9,) * 6)
    moved = prepare(sample, fitted, SMALLEST, change)
    height, width = 0.9 * fitted.shape[1], 0.9 * fitted.shape[2]
    torch.testing.assert_close(moved.valid_px, torch.tensor([[width, height]] * 6, dtype=torch.float32))
    assert float(moved.images[:, :, int(height) :].abs().max()) == 0
    assert float(moved.images[:, :, :, int(width) :].abs().max()) == 0
    assert moved.targets is not None
    pixels = moved.targets.sightings.codes[:, :2] * torch.tensor([SMALLEST.image_width_px, SMALLEST.image_height_px])
    assert bool((pixels < torch.tensor([width, height])).all())
