"""The look-at frame and the crops: what they promise, whatever world the cameras came in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fewview.recon.pipeline.synthesis.look_at_frame import MEAN_DISTANCE, look_at_from_world
from fewview.recon.pipeline.synthesis.object_views import area_fractions, object_radius, object_views
from fewview.scene import BadInputError, Cameras, Capture, Frame
from fewview.scene.geometry import Similarity, so3_exp
from support.lumpy_object import cameras_around, lumpy_object, photographed
from support.threads import one_torch_thread as one_torch_thread

FAR_AWAY = Similarity(
    torch.tensor(37.0, dtype=torch.float64),
    so3_exp(torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64)),
    torch.tensor([500.0, -20.0, 3.0], dtype=torch.float64),
)


def test_cameras_look_at_the_origin_from_the_mean_distance_and_stand_upright() -> None:
    cameras = cameras_around(8)
    found = cameras.transformed(look_at_from_world(cameras.transformed(FAR_AWAY)) @ FAR_AWAY)
    # Cameras that look at one point do so again, to the rounding of float32 at 500 times its unit and back.
    assert float(found.centers.norm(dim=-1).mean()) == pytest.approx(MEAN_DISTANCE, abs=1e-3)
    assert float(found.cam_from_world[:, :2, 3].abs().max()) < 1e-3
    # Their rolls of a few degrees leave the up axis where it was to a few degrees.
    assert float((found.centers[:, 2] - cameras.centers[:, 2]).abs().max()) < 0.25


def test_another_world_gives_the_same_frame() -> None:
    cameras = cameras_around(6, seed=3)
    here = cameras.transformed(look_at_from_world(cameras))
    there = cameras.transformed(FAR_AWAY)
    there = there.transformed(look_at_from_world(there))
    # float32 poses pass through a world 500 units away: 500 * 2 ** -24 / 37 of a unit, times a few.
    assert float((here.cam_from_world - there.cam_from_world).abs().max()) < 1e-4


def test_a_crop_shows_the_object_where_its_camera_says() -> None:
    cameras, made = cameras_around(4), lumpy_object()
    whole = photographed(cameras, made)
    # The same photographs in a larger frame, off its centre.
    frames, K = [], cameras.K.clone()
    for i, frame in enumerate(whole.frames):
        pixels = np.zeros((150, 200, 4), np.uint8)
        pixels[20 : 20 + frame.height, 70 : 70 + frame.width] = frame.load()
        frames.append(Frame(frame.name, 200, 150, lambda pixels=pixels: pixels))
        K[i, 0, 2] += 70
        K[i, 1, 2] += 20
    size = torch.full((4,), 200), torch.full((4,), 150)
    moved = Capture(tuple(frames), "moved", cameras=Cameras(cameras.cam_from_world, K, *size))
    before, after = object_views(whole, 32), object_views(moved, 32)
    for a, b in zip(before.views, after.views, strict=True):
        assert torch.equal(a.pixels, b.pixels)
        assert torch.allclose(a.K, b.K, atol=1e-4)
    # The object's box takes 80 % of the side: it touches neither border, and is wider than two thirds.
    alpha = before.views[0].pixels[..., 3] > 127
    columns = alpha.any(0).nonzero()
    assert 0.66 * 32 < int(columns[-1] - columns[0]) + 1 <= 28 or alpha.any(1).sum() > 0.66 * 32
    # Lumps reach 0.35 from the origin; their silhouettes cover as much as a disc of about 0.25.
    assert 0.2 < object_radius(before, range(4)) < 0.35
    assert bool((area_fractions(before) > 0.2).all())


def test_masks_are_silhouettes_and_whole_pictures_have_none() -> None:
    whole = photographed(cameras_around(3), lumpy_object())
    opaque, masked = [], []
    for frame in whole.frames:
        pixels = frame.load()
        opaque.append(replace(frame, load=lambda p=pixels: p[..., :3]))
        masked.append(replace(opaque[-1], load_mask=lambda p=pixels: p[..., 3] > 127))
    assert object_views(replace(whole, frames=tuple(masked)), 32).views[0].pixels.shape[-1] == 4
    assert object_views(replace(whole, frames=tuple(opaque)), 32).views[0].pixels.shape == (32, 32, 3)


def test_silhouettes_that_cannot_be_used_are_named() -> None:
    whole = photographed(cameras_around(3), lumpy_object())
    opaque = replace(whole.frames[1], load=lambda: np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(BadInputError, match=r"1\.png of lumpy object has neither transparency nor a mask"):
        object_views(replace(whole, frames=(whole.frames[0], opaque, whole.frames[2])), 32)
    empty = replace(opaque, load_mask=lambda: np.zeros((64, 64), bool))
    with pytest.raises(BadInputError, match=r"mask of 1\.png is empty"):
        object_views(replace(whole, frames=(whole.frames[0], empty, whole.frames[2])), 32)
    with pytest.raises(BadInputError, match="has no cameras to begin with"):
        object_views(replace(whole, cameras=None), 32)
