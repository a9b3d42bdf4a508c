"""The views in memory: sizes, compositing, the pyramid and the order they come in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fewview.recon.optimise.dataset import Dataset, View, ViewOrder, scene_scale
from fewview.recon.optimise.normalised_frame import world_from_normalised
from fewview.render.aim import look_at
from fewview.scene.cameras import Cameras
from fewview.scene.capture import Capture, Frame
from fewview.scene.errors import BadInputError
from support.training import ring, tiny_dataset


def _capture(count: int = 3, channels: int = 3) -> Capture:
    pixels = np.full((24, 32, channels), 100, np.uint8)
    frames = tuple(
        Frame(f"{i}.png", 32, 24, lambda: pixels, load_mask=lambda: np.ones((24, 32), bool)) for i in range(count)
    )
    return Capture(frames, "a test", cameras=ring(count))


def test_a_capture_is_resized_with_its_cameras_and_masks():
    dataset = Dataset.from_capture(_capture(), test=[1], max_side=16)
    assert dataset.train == (0, 2)
    view = dataset.view(0)
    assert (view.width, view.height) == (16, 12)
    assert view.mask.shape == (12, 16)
    torch.testing.assert_close(view.K, dataset.cameras.K[0])
    torch.testing.assert_close(view.K[:2], ring(3).K[0][:2] / 2)


def test_cameras_are_needed():
    with pytest.raises(BadInputError, match="a test has no cameras"):
        Dataset.from_capture(replace(_capture(), cameras=None))


def test_something_must_be_trained_on():
    with pytest.raises(BadInputError, match="no photograph to train on"):
        Dataset.from_capture(_capture(1), test=[0])


def test_transparency_shows_the_background():
    pixels = torch.tensor([[[200, 100, 0, 255], [200, 100, 0, 0], [200, 100, 0, 51]]], dtype=torch.uint8)
    target = View(pixels, None, torch.eye(3)).target(torch.tensor([1.0, 0.0, 0.5]))
    color, back = torch.tensor([200, 100, 0]) / 255, torch.tensor([1.0, 0.0, 0.5])
    torch.testing.assert_close(target, torch.stack([color, back, 0.2 * color + 0.8 * back])[None])


def test_halving_keeps_the_picture_where_it_is():
    ramp = torch.arange(64, dtype=torch.uint8).expand(48, 64)
    view = View(torch.stack([ramp] * 3, -1).contiguous(), None, torch.tensor([[60.0, 0, 31], [0, 60, 25], [0, 0, 1]]))
    half = view.halved()
    assert (half.width, half.height) == (32, 24)
    torch.testing.assert_close(half.K, torch.tensor([[30, 0, 15.5], [0, 30, 12.5], [0, 0, 1]]))
    # Each pixel is the mean of two neighbours, 2 i + 0.5, rounded.
    assert (half.pixels[0, :, 0].float() - (2 * torch.arange(32) + 0.5)).abs().max() <= 0.5


def test_hidden_colours_do_not_bleed_when_halving():
    pixels = torch.zeros(2, 2, 4, dtype=torch.uint8)
    pixels[:, 0] = torch.tensor([200, 0, 0, 255], dtype=torch.uint8)
    pixels[:, 1] = torch.tensor([0, 255, 0, 0], dtype=torch.uint8)
    assert View(pixels, None, torch.eye(3)).halved().pixels.flatten().tolist() == [200, 0, 0, 128]


def test_levels_stop_at_small_pictures():
    dataset = tiny_dataset()
    assert dataset.view(0, 3) is dataset.view(0, 0)  # 24 rows are under 32
    big = View(torch.zeros(70, 90, 3, dtype=torch.uint8), None, torch.eye(3))
    dataset = replace(dataset, views=(big,) * 5)
    assert [dataset.view(0, level).height for level in range(4)] == [70, 35, 17, 17]


def test_every_view_comes_once_a_round():
    order, generator = ViewOrder([3, 5, 8, 9]), torch.Generator().manual_seed(0)
    rounds = [[order.next(generator) for _ in range(4)] for _ in range(20)]
    assert all(sorted(r) == [3, 5, 8, 9] for r in rounds)
    assert len({tuple(r) for r in rounds}) > 5


def test_the_fingerprint_sees_every_input():
    dataset = tiny_dataset()
    pixels = dataset.views[0].pixels.clone()
    pixels[3, 4, 1] ^= 1
    views = (replace(dataset.views[0], pixels=pixels), *dataset.views[1:])
    K = dataset.cameras.K.clone()
    K[0, 0, 0] += 1e-4
    changed = [
        replace(dataset, views=views),
        replace(dataset, cameras=replace(dataset.cameras, K=K)),
        replace(dataset, train=(0, 1, 2, 3)),
        replace(dataset, points=None),
    ]
    prints = {d.fingerprint() for d in [dataset, *changed]}
    assert len(prints) == 5
    assert tiny_dataset().fingerprint() == dataset.fingerprint()


@pytest.mark.parametrize("place", [(0.0, 0.0, 0.0), (3.8122134, -1.3875274, 1.0870393), (5e5, 5e6, 100.0)])
@pytest.mark.parametrize("count", [1, 2, 25])
def test_a_camera_that_stands_has_no_spread(place: tuple[float, float, float], count: int) -> None:
    """The mean of equal places differs from them by rounding; as a scale it made cameras jump by their own spread."""
    pose = look_at(torch.tensor(place), torch.ones(3), torch.tensor([0.0, 0.0, 1.0]))
    standing = Cameras.pinhole(pose.expand(count, 4, 4), 30.0, 32, 24)
    assert scene_scale(standing) == 1.0
    normalised = standing.transformed(world_from_normalised(standing).inverse())
    assert scene_scale(normalised) == 1.0
    assert float(normalised.centers.abs().max()) <= 1e-5 * max(1.0, *map(abs, place))
