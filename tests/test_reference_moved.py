"""Moving a splat and its cameras together changes no picture, and covariances move as their definition says."""

from __future__ import annotations

import pytest
import torch
from fewview.render import render
from fewview.scene.cameras import Cameras
from fewview.scene.edit import moved_cameras, turned_up
from fewview.scene.gaussians import Gaussians
from fewview.scene.geometry import Similarity, rotation_from_quat, so3_exp
from support.pictures import assert_same_but_for_flips
from support.scenes import random_blobs, splat_of


def similarity(seed: int, spread: float = 3.0) -> Similarity:
    g = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(shape, generator=g, dtype=torch.float64)  # noqa: E731
    return Similarity((0.7 * draw(1)[0]).exp(), so3_exp(2 * draw(3)), spread * draw(3))


def cameras_of(scene) -> Cameras:
    size = torch.ones(len(scene.viewmats), dtype=torch.int64)
    return Cameras(scene.viewmats.float(), scene.Ks.float(), size * scene.width, size * scene.height)


def covariances(gaussians: Gaussians) -> torch.Tensor:
    half = rotation_from_quat(gaussians.quats.double()) * gaussians.scales.double()[:, None, :]
    return half @ half.transpose(-1, -2)


@pytest.mark.parametrize("degree", [0, 1, 2, 3, 4])
def test_moving_splat_and_camera_together_changes_no_picture(degree) -> None:
    for seed in range(3):
        scene = random_blobs(seed, sh_degree=degree)
        gaussians, cameras, move = splat_of(scene), cameras_of(scene), similarity(seed)
        after, moved = gaussians.moved(move), moved_cameras(cameras, move)
        for i in range(len(cameras)):
            a, b = render(gaussians, cameras[i]), render(after, moved[i])
            # float32 positions of up to 20 units seen from 4 give errors near 1e-7 on average.
            assert_same_but_for_flips(b.rgb, a.rgb, mean=1e-6)
            assert_same_but_for_flips(b.alpha, a.alpha, mean=1e-6)
            # Depths of 4 units, and a flipped pixel in a thousand is off by 1/255 of that.
            depth_off = (b.depth / move.scale.float() - a.depth).abs()
            assert float(depth_off.max()) < 2.5 * float(a.depth.max()) / 255
            assert float(depth_off.mean()) < 4e-5


def test_view_dependent_colours_do_turn() -> None:
    """The test above would not notice a renderer without them: without turned coefficients the pictures differ."""
    scene = random_blobs(0, sh_degree=3)
    gaussians, cameras, move = splat_of(scene), cameras_of(scene), similarity(0)
    after, moved = gaussians.moved(move), moved_cameras(cameras, move)
    unturned = Gaussians(after.means, after.quats, after.log_scales, after.opacity_logits, gaussians.sh)
    assert float((render(gaussians, cameras[0]).rgb - render(unturned, moved[0]).rgb).abs().mean()) > 0.01


def test_covariances_move_by_definition() -> None:
    gaussians, move = splat_of(random_blobs(1)), similarity(4)
    expected = move.scale**2 * move.rotation @ covariances(gaussians) @ move.rotation.T
    # Quaternions and log-scales are float32: relative errors near 1e-7, a few of them.
    torch.testing.assert_close(covariances(gaussians.moved(move)), expected, rtol=1e-5, atol=1e-6)


def test_moving_there_and_back_is_nowhere() -> None:
    gaussians, move = splat_of(random_blobs(2)), similarity(5)
    back = gaussians.moved(move).moved(move.inverse())
    # Two float32 roundings of values of order 10.
    torch.testing.assert_close(back.means, gaussians.means, rtol=0, atol=1e-5)
    torch.testing.assert_close(back.sh, gaussians.sh, rtol=0, atol=1e-5)
    torch.testing.assert_close(covariances(back), covariances(gaussians), rtol=1e-5, atol=1e-6)


def test_zero_quaternions_and_points_survive() -> None:
    scene = random_blobs(3)
    gaussians, cameras, move = splat_of(scene), cameras_of(scene), similarity(6)
    quats, log_scales = gaussians.quats.clone(), gaussians.log_scales.clone()
    quats[::2] = 0
    log_scales[::3] = -torch.inf
    log_scales[1::3, 0] = -torch.inf
    odd = Gaussians(gaussians.means, quats, log_scales, gaussians.opacity_logits, gaussians.sh)
    after = odd.moved(move)
    assert torch.equal(after.log_scales.isneginf(), log_scales.isneginf())
    assert bool(torch.isfinite(after.quats).all())
    torch.testing.assert_close(
        covariances(after), move.scale**2 * move.rotation @ covariances(odd) @ move.rotation.T, rtol=1e-5, atol=1e-6
    )
    assert_same_but_for_flips(
        render(after, moved_cameras(cameras, move)[0]).rgb, render(odd, cameras[0]).rgb, mean=1e-6
    )


def test_an_axis_change_is_exact() -> None:
    gaussians = splat_of(random_blobs(4))
    after = gaussians.moved(turned_up(torch.tensor([0.0, -1.0, 0.0])))
    x, y, z = gaussians.means.unbind(-1)
    # The cosine of a right angle is 6e-17 in double precision, which float32 positions of order 1 do not see.
    torch.testing.assert_close(after.means, torch.stack([x, z, -y], -1), rtol=0, atol=1e-7)
    assert torch.equal(after.sh[:, 0], gaussians.sh[:, 0])


def test_far_scenes_come_back_to_their_origin_without_loss() -> None:
    gaussians = splat_of(random_blobs(5))
    far = torch.tensor([4e5, -6e6, 1e5], dtype=torch.float64)  # such as UTM coordinates
    away = Gaussians(gaussians.means + far.float(), *(getattr(gaussians, n) for n in list(vars(gaussians))[1:]))
    turn = Similarity(torch.tensor(1.0), so3_exp(torch.tensor([0.3, 0.2, 0.1]).double()), torch.zeros(3))
    move = Similarity(turn.scale.double(), turn.rotation, -(turn.rotation @ far))
    expected = (away.means.double() - far) @ turn.rotation.T
    # The result is of order 1, so its own float32 rounding is all that is left.
    torch.testing.assert_close(away.moved(move).means.double(), expected, rtol=0, atol=1e-6)
