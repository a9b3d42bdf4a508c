"""Any motion as one by control points: exact where few can carry it, told how near where they cannot."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from fewview.scene.carried_splat import POINTS, carried_splat
from fewview.scene.control_points import ControlPointMotion
from fewview.scene.errors import BadInputError
from fewview.scene.frame_motion import FrameMotion
from fewview.scene.geometry import quat_from_rotation, quat_multiply, rotation_from_quat, so3_exp
from fewview.scene.splat import MovingSplat
from support.dragged_scenes import bent, limb
from support.random_gaussians import random_gaussians


def frames_of(means: torch.Tensor, quats: torch.Tensor, gaussians) -> MovingSplat:
    """A splat each of whose Gaussians has a way [T, N, 3] of its own."""
    times = torch.arange(len(means), dtype=torch.float64)
    return MovingSplat(gaussians, background=(0.2, 0.3, 0.4), motion=FrameMotion(times, means, quats))


def rigid(count: int, moments: int = 9) -> MovingSplat:
    """A body that turns by 40 degrees from moment to moment and flies away."""
    gaussians = random_gaussians(0, count, 1)
    turns = so3_exp(torch.arange(moments)[:, None] * torch.tensor([[0.3, -0.2, 0.6]]))
    shift = torch.arange(moments)[:, None] * torch.tensor([[0.5, 0.0, -0.2]])
    means = (turns[:, None] @ gaussians.means[None, ..., None])[..., 0] + shift[:, None]
    return frames_of(means, quat_multiply(quat_from_rotation(turns)[:, None], gaussians.quats[None]), gaussians)


def figures(notes: tuple[str, ...]) -> tuple[float, float]:
    found = re.search(r"within ([\d.e-]+) % of the scene's size of their ways, and 99 % within ([\d.e-]+) %", notes[0])
    assert found is not None
    return float(found[1]), float(found[2])


def test_a_rigid_motion_is_carried_exactly_with_its_rotations() -> None:
    splat = rigid(400)
    carried, notes = carried_splat(splat)
    assert isinstance(carried.motion, ControlPointMotion)
    assert carried.background == splat.background
    assert torch.equal(carried.motion.times_s, splat.motion.times_s)
    for time_s in (0.0, 3.0, 8.0):
        found, expected = carried.at(time_s), splat.at(time_s)
        torch.testing.assert_close(found.means, expected.means, rtol=0, atol=1e-4)
        same = rotation_from_quat(found.quats) - rotation_from_quat(expected.quats)
        assert float(same.abs().max()) < 1e-3
    assert max(figures(notes)) < 0.01


def test_a_limb_that_bends_is_carried_closely_by_fewer_points_than_gaussians() -> None:
    still = limb(4 * POINTS)
    angles = torch.linspace(0, 1.2, 7)
    ways = [bent(still.gaussians.means, float(angle)) for angle in angles]
    quats = torch.stack([quat_multiply(turn, still.gaussians.quats) for _, turn in ways])
    carried, notes = carried_splat(frames_of(torch.stack([m for m, _ in ways]), quats, still.gaussians))
    assert len(carried.motion) == POINTS
    half, most = figures(notes)
    assert half < 0.05
    assert most < 0.5
    off = (carried.at(6.0).means - ways[-1][0]).norm(dim=-1)
    assert float(off.quantile(0.99)) < 0.01  # of a limb two units long


def test_what_no_few_points_can_carry_is_told() -> None:
    gaussians = random_gaussians(1, 3000, 0)
    noise = torch.randn(5, 3000, 3, generator=torch.Generator().manual_seed(2))
    means = gaussians.means + 0.3 * noise
    splat = frames_of(means, gaussians.quats.expand(5, -1, -1), gaussians)
    _, notes = carried_splat(splat)
    assert figures(notes)[0] > 1
    sizes = gaussians.log_scales.expand(5, -1, -1) + torch.linspace(0, 1, 5)[:, None, None]
    _, notes = carried_splat(replace(splat, motion=replace(splat.motion, log_scales=sizes)))
    assert notes[1:] == ("Gaussians keep the size that they have at the first moment.",)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_few_gaussians_are_their_own_control_points(count: int) -> None:
    splat = rigid(count, 3)
    carried, _ = carried_splat(splat)
    torch.testing.assert_close(carried.at(2.0).means, splat.at(2.0).means, rtol=0, atol=1e-3)


def test_control_points_stay_as_they_are_and_bad_places_are_refused() -> None:
    splat = limb(50)
    assert carried_splat(splat) == (splat, ())
    broken = rigid(20)
    means = broken.motion.means.clone()
    means[4, 3] = torch.nan
    with pytest.raises(BadInputError, match="no finite place"):
        carried_splat(replace(broken, motion=replace(broken.motion, means=means)))
