"""Held-out cameras fitted to a finished splat: what moves, what does not, and how far back they come."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from fewview.recon.methods.instantsplat.config import instantsplat_config
from fewview.recon.methods.instantsplat.model import initialise
from fewview.recon.optimise.dataset import Dataset, View
from fewview.recon.optimise.trainer import fit
from fewview.recon.pipeline.refine_held_out import RefineConfig, refine_camera, refine_held_out
from fewview.render import render
from fewview.render.metrics import psnr
from fewview.scene.gaussians import Gaussians
from fewview.scene.geometry import rotation_angle, se3_exp
from fewview.scene.splat import StaticSplat
from support.few_views import few_views, masked, wall_and_ball
from support.threads import one_torch_thread as one_torch_thread
from support.training import same_bits
from torch import Tensor

BLACK = torch.zeros(3)
HELD_OUT = 2


@pytest.fixture(scope="module")
def trained() -> tuple[Gaussians, Dataset]:
    """A splat of four of five views, and the data set with true cameras."""
    dataset, stereo = few_views(wall_and_ball(5, 64, 48, 0.3), test=[HELD_OUT])
    config = instantsplat_config(60, max_gaussians=2500)
    return fit(initialise(dataset, stereo, config), dataset, config).splat.gaussians, dataset


def turned(dataset: Dataset, degrees: float, axis: tuple[float, float, float] = (1.0, -0.7, 0.5)) -> Dataset:
    """The held-out camera turned around its centre, and moved by a thousandth of the way to the scene per degree."""
    direction = torch.tensor(axis) / torch.tensor(axis).norm()
    twist = torch.cat([direction * math.radians(degrees), 4e-3 * degrees * direction.roll(1)])
    cam_from_world = dataset.cameras.cam_from_world.clone()
    cam_from_world[HELD_OUT] = se3_exp(twist) @ cam_from_world[HELD_OUT]
    return replace(dataset, cameras=replace(dataset.cameras, cam_from_world=cam_from_world))


def drawn(gaussians: Gaussians, dataset: Dataset) -> Tensor:
    with torch.no_grad():
        return render(gaussians, dataset.cameras[HELD_OUT], background=BLACK).rgb.clamp(0, 1)


def with_photograph(dataset: Dataset, picture: Tensor) -> Dataset:
    views = list(dataset.views)
    views[HELD_OUT] = View((picture * 255).round().to(torch.uint8), None, dataset.views[HELD_OUT].K)
    return replace(dataset, views=tuple(views))


def degrees_off(cam_from_world: Tensor, true: Dataset) -> float:
    offset = cam_from_world @ true.cameras.cam_from_world[HELD_OUT].inverse()
    return math.degrees(float(rotation_angle(offset[:3, :3])))


@pytest.mark.parametrize("axis", [(1.0, -0.7, 0.5), (-0.4, 1.0, -1.0)])
def test_a_turned_camera_comes_back(trained: tuple[Gaussians, Dataset], axis: tuple[float, float, float]) -> None:
    gaussians, dataset = trained
    true = with_photograph(dataset, drawn(gaussians, dataset))  # so that the true camera is the best one
    moved = turned(true, 1.0, axis)
    assert degrees_off(moved.cameras.cam_from_world[HELD_OUT], true) == pytest.approx(1, abs=0.01)
    refined = refine_camera(StaticSplat(gaussians), moved, HELD_OUT)
    assert degrees_off(refined.cam_from_world, true) < 0.1
    assert refined.losses[-1] < 0.2 * refined.losses[0]


def test_the_best_loss_never_rises_and_is_that_of_the_camera(trained: tuple[Gaussians, Dataset]) -> None:
    gaussians, dataset = trained
    moved = turned(dataset, 1.0)
    refined = refine_camera(StaticSplat(gaussians), moved, HELD_OUT)
    assert all(after <= before for before, after in itertools.pairwise(refined.losses))
    assert len(refined.losses) <= 2 + RefineConfig().linearisations[-1] * RefineConfig().steps

    def error(cam_from_world: Tensor) -> float:
        camera = replace(dataset.cameras[HELD_OUT], cam_from_world=cam_from_world)
        with torch.no_grad():
            picture = render(gaussians, camera, background=BLACK)
        target = dataset.views[HELD_OUT].target(BLACK)
        return float((picture.rgb - target)[picture.alpha > 0].abs().mean())

    # Means of thousands of float32 numbers, summed in another order.
    assert error(moved.cameras.cam_from_world[HELD_OUT]) == pytest.approx(refined.losses[0], rel=1e-4)
    assert error(refined.cam_from_world) == pytest.approx(refined.losses[-1], rel=1e-4)


@pytest.mark.parametrize("linearisations", [(0,), (1,), (0, 0, 5), (20, 0)], ids=str)
def test_it_is_never_worse_than_the_start(trained: tuple[Gaussians, Dataset], linearisations: tuple[int, ...]) -> None:
    gaussians, dataset = trained
    true = with_photograph(dataset, drawn(gaussians, dataset))
    wild = RefineConfig(linearisations, difference_px=30.0)  # what is so far away says nothing about here
    refined = refine_camera(StaticSplat(gaussians), true, HELD_OUT, config=wild)
    assert refined.losses[-1] <= refined.losses[0]
    assert degrees_off(refined.cam_from_world, true) < 0.1


def test_only_held_out_cameras_move_and_no_gaussian_does(trained: tuple[Gaussians, Dataset]) -> None:
    gaussians, dataset = trained
    moved = turned(dataset, 1.0)
    copy = Gaussians(*(getattr(gaussians, n).clone() for n in gaussians.__dataclass_fields__))
    before = moved.cameras.cam_from_world.clone()
    seen: list[tuple[int, int]] = []
    refined = refine_held_out(
        StaticSplat(gaussians),
        moved,
        config=RefineConfig((5, 5)),
        progress=lambda _, done, total, *__: seen.append((done, total)),
    )
    assert same_bits(gaussians, copy)
    assert torch.equal(moved.cameras.cam_from_world, before)
    train = list(dataset.train)
    assert torch.equal(refined.cameras.cam_from_world[train], before[train])
    assert not torch.equal(refined.cameras.cam_from_world[HELD_OUT], before[HELD_OUT])
    assert not refined.cameras.cam_from_world.requires_grad
    assert seen == [(0, 1), (1, 1)]


@pytest.mark.parametrize("degrees", [0.0, 0.3, 1.0])
def test_held_out_psnr_is_no_lower_afterwards(trained: tuple[Gaussians, Dataset], degrees: float) -> None:
    gaussians, dataset = trained
    moved = turned(dataset, degrees)
    target = dataset.views[HELD_OUT].target(BLACK)
    before = psnr(drawn(gaussians, moved), target)
    after = psnr(drawn(gaussians, refine_held_out(StaticSplat(gaussians), moved)), target)
    assert after >= before
    if degrees > 0:
        assert after > before + 1


def test_masked_pixels_do_not_count(trained: tuple[Gaussians, Dataset]) -> None:
    gaussians, dataset = trained
    picture = drawn(gaussians, dataset)
    spoiled = picture.clone()
    spoiled[:, 32:] = 1.0
    mask = torch.zeros(48, 64, dtype=torch.bool)
    mask[:, :32] = True
    short = RefineConfig((20, 20))
    found = [
        refine_camera(
            StaticSplat(gaussians),
            masked(turned(with_photograph(dataset, p), 0.5), HELD_OUT, mask),
            HELD_OUT,
            config=short,
        )
        for p in (picture, spoiled)
    ]
    # At full size nothing of the spoiled half is seen; at half the size neither, pixels there cover 2 x 2 of one side.
    assert torch.equal(found[0].cam_from_world, found[1].cam_from_world)
    assert found[0].losses == found[1].losses


def test_a_camera_that_sees_nothing_stays_where_it_is(trained: tuple[Gaussians, Dataset]) -> None:
    gaussians, dataset = trained
    away = turned(dataset, 170.0, (0.0, 1.0, 0.0))
    refined = refine_camera(StaticSplat(gaussians), away, HELD_OUT, config=RefineConfig((3, 3)))
    assert torch.equal(refined.cam_from_world, away.cameras.cam_from_world[HELD_OUT])
