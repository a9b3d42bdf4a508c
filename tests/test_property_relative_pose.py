"""The pose of one picture relative to another from matched points, with and without the focal length."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fewview.recon.poses.pose_errors import pair_errors
from relative_pose import RelativePose, relative_pose
from support.posed_photos import FOCAL_PX, HEIGHT, WIDTH, arc, posed_photos
from torch import Tensor

RATIO = FOCAL_PX / WIDTH


def matched(poses: Tensor, **options: float) -> tuple[np.ndarray, np.ndarray]:
    """Matched points of the first two views, in longer sides from the centre."""
    photos = posed_photos(poses, seed=1, **options)
    matches = photos.matches[0, 1]
    xy = [photos.features[k].xy_px.double().numpy()[matches[:, k]] - [WIDTH / 2, HEIGHT / 2] for k in (0, 1)]
    return xy[0] / WIDTH, xy[1] / WIDTH


def off_deg(found: RelativePose, poses: Tensor) -> tuple[float, float]:
    estimated = torch.stack([torch.eye(4, dtype=torch.float64), torch.from_numpy(found.b_from_a)])
    errors = pair_errors(estimated, poses[:2])
    return float(errors.rotation_deg), float(errors.translation_deg)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("span_deg", [15.0, 40.0])
def test_noisy_matches_with_wrong_ones_among_them_give_the_pose(seed: int, span_deg: float) -> None:
    poses = arc(2, seed, span_deg)
    found = relative_pose(*matched(poses), side_px=WIDTH, focal_ratio=RATIO)
    assert found is not None
    # Half a pixel of 520 is 0.06 degrees; hundreds of matches average that, a short baseline magnifies it.
    rotation_deg, translation_deg = off_deg(found, poses)
    assert rotation_deg < 0.5
    assert translation_deg < 1.5
    assert found.focal_ratio == RATIO
    assert len(found.points_a) == len(found.inliers) > 300
    unknown = relative_pose(*matched(poses), side_px=WIDTH)
    assert unknown is not None
    assert off_deg(unknown, poses)[0] < 5  # the focal length of two views is loose
    assert 0.6 < unknown.focal_ratio / RATIO < 1.6


def test_points_lie_where_the_pictures_show_them() -> None:
    poses = arc(2, 0, 30.0)
    xy_a, xy_b = matched(poses, noise_px=0.0, wrong_share=0.0)
    found = relative_pose(xy_a, xy_b, side_px=WIDTH, focal_ratio=RATIO)
    assert found is not None
    in_b = found.points_a @ found.b_from_a[:3, :3].T + found.b_from_a[:3, 3]
    for points, xy in ((found.points_a, xy_a), (in_b, xy_b)):
        # Keypoints are float32: one part in 1e7 of a side.
        np.testing.assert_allclose(RATIO * points[:, :2] / points[:, 2:], xy[found.inliers], atol=1e-5)


def test_what_says_nothing_gives_no_pose() -> None:
    rng = np.random.default_rng(0)
    random = rng.uniform(-0.5, 0.5, (200, 2)), rng.uniform(-0.5, 0.5, (200, 2))
    assert relative_pose(*random, side_px=WIDTH) is None
    assert relative_pose(random[0][:10], random[1][:10], side_px=WIDTH) is None
    same_place = random[0] + rng.normal(0, 0.1 / WIDTH, (200, 2))
    assert relative_pose(random[0], same_place, side_px=WIDTH, focal_ratio=RATIO) is None
