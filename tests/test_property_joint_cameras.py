"""Results of InstantSplat's training on a scene whose cameras and depth are known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from fewview.recon.methods.instantsplat.config import instantsplat_config
from fewview.recon.methods.instantsplat.model import initialise
from fewview.recon.optimise.dataset import Dataset
from fewview.recon.optimise.trainer import FitResult, fit
from fewview.recon.poses import pose_errors
from fewview.render import render
from fewview.render.metrics import psnr, ssim
from fewview.scene.cameras import Cameras
from fewview.scene.geometry import se3_exp
from support.few_views import BALL, WALL, few_views, wall_and_ball
from support.stereo_scenes import Sphere, row_of_cameras, stereo_scene
from support.threads import one_torch_thread as one_torch_thread

WIDTH, HEIGHT = 48, 36
BLACK = torch.zeros(3)


def quality(result: FitResult, dataset: Dataset, views: Sequence[int]) -> tuple[float, float]:
    """(mean PSNR in dB, mean SSIM) of the splat where its cameras are now."""
    figures = []
    with torch.no_grad():
        for view in views:
            picture = render(result.splat.gaussians, result.cameras[view], background=BLACK).rgb.clamp(0, 1)
            target = dataset.views[view].target(BLACK)
            figures.append((psnr(picture, target), ssim(picture, target)))
    return sum(p for p, _ in figures) / len(figures), sum(s for _, s in figures) / len(figures)


def moved(cameras: Cameras, degrees: float, distance: float, seed: int) -> Cameras:
    """Each camera turned by so many degrees around a random axis and moved so far in a random direction."""
    twists = torch.randn(len(cameras), 2, 3, generator=torch.Generator().manual_seed(seed))
    twists = torch.nn.functional.normalize(twists, dim=-1) * torch.tensor([math.radians(degrees), distance])[:, None]
    return replace(cameras, cam_from_world=se3_exp(twists.flatten(1)) @ cameras.cam_from_world)


def test_cameras_that_are_off_are_improved_together_with_the_gaussians() -> None:
    """Wide views and things at different depths: elsewhere a turn can pass for a shift of the camera.

    The slope of the image by the cameras is measured in tests/test_gradient_reference.py and test_gradient_native.py.
    """
    row = row_of_cameras(6, WIDTH, HEIGHT, 0.8)
    near = [Sphere((-1.0, 0.3, 2.6), 0.35), Sphere((1.1, -0.4, 2.4), 0.3)]
    scene = stereo_scene([WALL, BALL, *near], Cameras.pinhole(row.cam_from_world, 0.7 * WIDTH, WIDTH, HEIGHT))
    extent = few_views(scene)[0].scene_scale
    believed = moved(scene.cameras, 1.0, 0.02 * extent, seed=0)
    dataset, stereo = few_views(scene, cameras=believed)
    frozen, joint = (
        fit(initialise(dataset, stereo, config), dataset, config)
        for config in (instantsplat_config(600, refine_poses=refine) for refine in (False, True))
    )
    assert torch.equal(frozen.cameras.cam_from_world, believed.cam_from_world)

    def errors(cameras: Cameras) -> tuple[float, float]:
        found = pose_errors(cameras.cam_from_world.double(), scene.cameras.cam_from_world.double())
        return found.ate, float(found.pairs.rotation_deg.mean())

    (ate_before, turn_before), (ate, turn) = errors(believed), errors(joint.cameras)
    # With the paper's rates 600 steps take away a quarter to a third of the way, half of the turn, and add 6 dB.
    assert ate < 0.9 * ate_before
    assert turn < 0.7 * turn_before
    assert quality(joint, dataset, range(6))[0] > quality(frozen, dataset, range(6))[0] + 3


def test_two_hundred_steps_are_nearly_as_good_as_a_thousand() -> None:
    dataset, stereo = few_views(wall_and_ball(4, WIDTH, HEIGHT, 0.3), test=[2])
    short, long = (
        fit(initialise(dataset, stereo, config), dataset, config)
        for config in (instantsplat_config(steps) for steps in (200, 1000))
    )
    (train_short, _), (train_long, _) = (quality(r, dataset, dataset.train) for r in (short, long))
    (_, test_short), (_, test_long) = (quality(r, dataset, dataset.test) for r in (short, long))
    assert abs(test_long - test_short) < 0.03
    assert test_short > 0.9
    assert train_long > train_short + 2
