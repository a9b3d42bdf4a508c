"""Pose metrics: zero for what is equal up to the world's frame, and the known values of constructed errors."""

from __future__ import annotations

import pytest
import torch
from fewview.recon.poses import align_cameras, center_errors, pair_errors, pose_errors, true_scene_scale
from fewview.scene.geometry import se3_from, se3_inverse, so3_exp
from hypothesis import given, settings
from hypothesis import strategies as st
from support.posed_photos import arc
from torch import Tensor

SEEDS = st.integers(0, 2**31)


def random_cameras(seed: int, n: int) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    twist = torch.randn(n, 6, generator=g, dtype=torch.float64)
    return se3_from(so3_exp(twist[:, :3]), twist[:, 3:])


def in_another_world(cam_from_world: Tensor, seed: int) -> Tensor:
    """The same cameras after a random rotation, translation and scaling of the world."""
    g = torch.Generator().manual_seed(seed)
    numbers = torch.randn(7, generator=g, dtype=torch.float64)
    rotation, scale = so3_exp(numbers[:3]), numbers[6].exp()
    world_from_cam = se3_inverse(cam_from_world)
    centers = scale * world_from_cam[:, :3, 3] @ rotation.T + numbers[3:6]
    return se3_inverse(se3_from(rotation @ world_from_cam[:, :3, :3], centers))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(SEEDS, st.integers(2, 9))
def test_a_similarity_of_the_world_is_no_error(seed: int, n: int) -> None:
    true = random_cameras(seed, n)
    errors = pose_errors(in_another_world(true, seed + 1), true)
    # Rounding of a few products of float64 matrices, times 57 for degrees.
    assert float(errors.pairs.rotation_deg.max()) < 1e-9
    assert float(errors.pairs.translation_deg.max()) < 1e-6  # centres may happen to be close together
    assert errors.ate < 1e-9
    assert errors.rpe_translation < 1e-9
    assert errors.rpe_rotation_deg < 1e-9
    assert errors.pairs.auc(5) == pytest.approx(1.0)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(SEEDS, st.integers(3, 8))
def test_the_frame_of_the_estimate_changes_nothing(seed: int, n: int) -> None:
    true, wrong = random_cameras(seed, n), random_cameras(seed + 7, n)
    before, after = pose_errors(wrong, true).summary(), pose_errors(in_another_world(wrong, seed), true).summary()
    assert after == pytest.approx(before, abs=1e-6, rel=1e-6)


def test_a_constant_rotation_error_counts_from_the_next_whole_degree() -> None:
    true = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    true[1, :3, 3] = torch.tensor([1.0, 0, 0])
    wrong = true.clone()
    turn = so3_exp(torch.tensor([0, 0, torch.pi * 10.5 / 180], dtype=torch.float64))
    centers = se3_inverse(true)[:, :3, 3]
    wrong[1, :3, :3] = turn
    wrong[1, :3, 3] = -turn @ centers[1]
    errors = pair_errors(wrong, true)
    assert float(errors.rotation_deg[0]) == pytest.approx(10.5, abs=1e-9)
    assert float(errors.translation_deg[0]) == pytest.approx(0.0, abs=1e-6)  # the baseline in camera 0's frame is exact
    assert errors.rotation_accuracy(5) == 0
    assert errors.rotation_accuracy(15) == 1
    assert errors.auc(30) == pytest.approx(20 / 30)  # below k for k = 11 ... 30


def test_the_translation_direction_is_blind_to_its_sign_but_the_trajectory_is_not() -> None:
    true = arc(5, seed=3)
    mirrored = true.clone()
    mirrored[:, :3, 3] *= -1
    errors = pose_errors(mirrored, true)
    assert float(errors.pairs.rotation_deg.max()) < 1e-9
    assert errors.ate > 0.05


def test_coinciding_centres_are_a_miss_and_never_nan() -> None:
    true = arc(4, seed=0)
    collapsed = true.clone()
    collapsed[:, :3, 3] = 0
    errors = pose_errors(collapsed, true)
    assert errors.pairs.translation_accuracy(90) == 0
    assert all(value == value for value in errors.summary().values())


def test_the_largest_turn_is_measured_in_full() -> None:
    true = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    wrong = true.clone()
    wrong[1, :3, :3] = torch.diag(torch.tensor([1.0, -1, -1], dtype=torch.float64))
    assert float(pair_errors(wrong, true).rotation_deg[0]) == pytest.approx(180)


def test_cameras_on_a_line_are_aligned_by_their_rotations() -> None:
    true = torch.eye(4, dtype=torch.float64).repeat(4, 1, 1)
    true[:, 0, 3] = torch.arange(4)
    estimate = in_another_world(true, 5)
    aligned = align_cameras(estimate, true)
    moved = aligned(se3_inverse(estimate)[:, :3, 3])
    torch.testing.assert_close(moved, se3_inverse(true)[:, :3, 3])
    # The turn around the line, which centres alone leave open, comes from the rotations.
    torch.testing.assert_close(aligned.rotation @ se3_inverse(estimate)[0, :3, :3], torch.eye(3, dtype=torch.float64))


def test_lists_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="N >= 2"):
        pair_errors(arc(3, 0), arc(4, 0))


@settings(max_examples=20, deadline=None, derandomize=True)
@given(SEEDS, st.integers(3, 8))
def test_centres_are_compared_up_to_a_similarity(seed: int, n: int) -> None:
    true = random_cameras(seed, n)
    # Rounding of float64 products over the spread of the centres, which may be small.
    assert float(center_errors(in_another_world(true, seed + 1), true).max()) < 1e-9
    wrong = random_cameras(seed + 3, n)
    before, after = center_errors(wrong, true), center_errors(in_another_world(wrong, seed), true)
    assert torch.allclose(before, after, rtol=1e-6, atol=1e-9)


def test_two_centres_always_fit_and_one_place_never_does() -> None:
    true, wrong = random_cameras(0, 2), random_cameras(1, 2)
    assert center_errors(wrong, true).tolist() == [0, 0]
    assert bool(torch.isinf(center_errors(true[:1].expand(3, 4, 4), random_cameras(2, 3))).all())


def test_the_scene_scale_is_that_of_the_whole_sequence() -> None:
    true = random_cameras(4, 9)
    wrong = random_cameras(5, 4)
    scale = true_scene_scale(true)
    ratio = center_errors(wrong, true[:4]) / center_errors(wrong, true[:4], scale)
    assert torch.allclose(ratio, torch.full_like(ratio, scale / true_scene_scale(true[:4])))
    centers = se3_inverse(true)[:, :3, 3]
    assert scale == pytest.approx(float((centers - centers.mean(0)).norm(dim=1).max()))


def test_a_mirrored_ring_fits_only_where_it_is_flat() -> None:
    """The known weakness of the measure: it does not see a reflection of a turntable."""
    angle = torch.arange(6, dtype=torch.float64) * torch.pi / 3
    for height, fits in ((0.0, True), (0.6, False)):
        centers = torch.stack([angle.cos(), angle.sin(), height * (2 * angle).cos() + height * angle.sin()], 1)
        true = se3_from(torch.eye(3, dtype=torch.float64).expand(6, 3, 3), -centers)
        mirrored = se3_from(torch.eye(3, dtype=torch.float64).expand(6, 3, 3), -centers * torch.tensor([1.0, 1, -1]))
        assert (float(center_errors(mirrored, true).max()) < 1e-9) == fits
