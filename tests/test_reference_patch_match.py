"""The native matching cost against its reference implementation in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from fewview import _native
from fewview.recon.evidence.stereo.reference_patch_match import patch_match_cost
from support.native import isa as isa


def _native_cost(levels: list[np.ndarray], level: int, there: np.ndarray, planes: np.ndarray) -> np.ndarray:
    image = _native.StereoImage(levels)
    costs = np.empty(planes.shape[:2], np.float32)
    _native.patch_match(
        image, level, [image], there[None], there[None], None, None, None, lens=(50, 50, 20, 20), range=(0.01, 10.0),
        best=1, sigma_grey=30.0, noise_variance=4.0, geometric_weight=0.0, geometric_max_px=3.0, prior_weight=0.0,
        prior_max=0.05, planes=planes, costs=costs, sweeps=[],
    )  # fmt: skip
    return costs


@pytest.mark.parametrize("level", [0, 1])
def test_cost_of_random_planes(level: int, isa: str) -> None:
    rng = np.random.default_rng(3)
    y, x = np.mgrid[0:61, 0:47]
    picture = 128 + 60 * np.sin(0.5 * x + 0.2 * y) + 40 * np.sin(0.4 * y - 0.1 * x) + rng.normal(0, 8, x.shape)
    finest = picture.clip(0, 255).astype(np.uint8)
    levels = [finest, finest[:60:2, :46:2].copy(), finest[:60:4, :44:4].copy()]
    height, width = levels[level].shape
    scale = 2.0**level
    # Near the identity, so that about half of the patches stay in the picture; b in pixels at inverse depth 1.
    there = np.array([[0.97, 0.05, 1.5, 6.0], [-0.04, 1.02, 0.5, -2.0], [1e-4, 2e-4, 1.0, 0.1]])
    there[:, :2] *= scale
    planes = np.empty((height, width, 3), np.float32)
    planes[..., 0] = rng.uniform(-0.2, 1.5, (height, width))
    planes[..., 1:] = rng.normal(0, 0.05, (height, width, 2))
    there = there.astype(np.float32)
    native = _native_cost(levels, level, there, planes)
    expected = patch_match_cost(levels[level], levels, there, planes, 30.0, 4.0)
    assert 0.3 < (expected < 1).mean() < 1
    difference = np.abs(native - expected)
    # Float32 positions near 50 px are good to 4e-6 px, float32 second moments to 1e-2 of variances above 4.
    # A patch within rounding of the picture's edge, or between two levels, may fall on the other side.
    assert np.quantile(difference, 0.99) < 2e-3
    assert np.median(difference) < 1e-5


def test_a_picture_matches_itself(isa: str) -> None:
    rng = np.random.default_rng(1)
    picture = rng.integers(0, 256, (40, 50), dtype=np.uint8)
    identity = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]], np.float32)
    planes = np.zeros((40, 50, 3), np.float32)
    planes[..., 0] = 1
    inner = _native_cost([picture], 0, identity, planes)[5:-5, 5:-5]
    assert inner.max() < 0.01  # noise_variance / variance of the patch, and rounding


def test_wrong_shapes_are_named() -> None:
    picture = np.zeros((8, 9), np.uint8)
    with pytest.raises(ValueError, match="planes: expected 8 x 9 pixels, found 9 x 9"):
        _native_cost([picture], 0, np.zeros((3, 4), np.float32), np.zeros((9, 9, 3), np.float32))
