"""The scale from GPS positions: right where it can be known, and silent where it cannot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fewview.recon.poses.gps_scale import MAX_UNCERTAINTY, fit_gps_scale, in_metres
from fewview.recon.poses.world_frame import MEDIAN_DEPTH
from fewview.scene import Cameras, Capture, Frame, PointCloud
from fewview.scene.gps import GeoPosition
from fewview.scene.readers import load_run_capture, save_capture
from fewview.scene.run import Run
from torch import Tensor

TRUE_SCALE = 7.0  # metres a unit


def walk(n: int, length_m: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Camera centres [n, 2] in units and where they are in metres [n, 2], turned and shifted."""
    rng = np.random.default_rng(seed)
    along = np.linspace(0, length_m, n)
    true = np.stack([along, 0.1 * length_m * np.sin(along / length_m * 5)], axis=1)
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    centers = (true @ turn.T) / TRUE_SCALE + rng.uniform(-3, 3, 2)
    return torch.from_numpy(centers), torch.from_numpy(true)


def noise(n: int, sigma_m: float, seed: int) -> Tensor:
    return torch.from_numpy(sigma_m * np.random.default_rng(seed).standard_normal((n, 2)))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n", [3, 12, 60])
def test_the_scale_is_found_within_its_uncertainty(n: int, seed: int) -> None:
    centers, true = walk(n, 250.0)
    found = fit_gps_scale(centers, true + noise(n, 3.0, seed), torch.full((n,), 5.0).double())
    assert found is not None
    assert abs(found.metres / TRUE_SCALE - 1) < 3 * found.uncertainty  # three standard deviations
    assert found.uncertainty < 0.05  # 5 m over a spread of 75 m, one axis, three independent readings
    assert found.residual_m < 8


def test_positions_far_off_are_left_out() -> None:
    centers, true = walk(14, 250.0)
    positions = true + noise(14, 2.0, 1)
    positions[[2, 7, 11]] += torch.tensor([[400.0, 0.0], [0.0, -90.0], [-3000.0, 500.0]]).double()
    found = fit_gps_scale(centers, positions, torch.full((14,), 5.0).double())
    assert found is not None
    assert (found.used, found.positions) == (11, 14)
    assert found.metres == pytest.approx(TRUE_SCALE, rel=0.03)  # 2 m of noise over 250 m


@pytest.mark.parametrize("length_m", [0.0, 3.0, 20.0])
def test_a_spread_within_the_accuracy_tells_nothing(length_m: float) -> None:
    centers, true = walk(10, 250.0)
    shrunk = true * (length_m / 250.0)
    for seed in range(5):
        assert fit_gps_scale(centers, shrunk + noise(10, 2.0, seed), torch.full((10,), 10.0).double()) is None


def test_positions_that_have_nothing_to_do_with_the_cameras_tell_nothing() -> None:
    centers, _ = walk(12, 250.0)
    for seed in range(10):
        assert fit_gps_scale(centers, noise(12, 100.0, seed), torch.full((12,), 5.0).double()) is None


def test_mirrored_positions_are_not_believed() -> None:
    """A world that is upside down sees a walk round a square turn the wrong way."""
    angle = torch.linspace(0, 6, 16).double()
    circle = torch.stack([angle.cos(), angle.sin()], dim=1)
    errors = torch.full((16,), 5.0).double()
    assert fit_gps_scale(circle, 60 * circle, errors) is not None
    assert fit_gps_scale(circle * torch.tensor([1.0, -1.0]), 60 * circle, errors) is None


def test_centres_on_one_spot_or_few_tell_nothing() -> None:
    _, true = walk(8, 250.0)
    errors = torch.full((8,), 5.0).double()
    assert fit_gps_scale(torch.zeros(8, 2).double(), true, errors) is None
    assert fit_gps_scale(true[:2], true[:2], errors[:2]) is None


def placed(n: int, length_m: float, with_positions: int) -> Capture:
    centers, true = walk(n, length_m)
    cam_from_world = torch.eye(4).repeat(n, 1, 1)
    cam_from_world[:, :2, 3] = -centers.float()
    north_m = 111_132.0  # a degree of latitude at 45 degrees
    east_m = 78_847.0  # and one of longitude
    positions = [GeoPosition(45 + float(y) / north_m, 9 + float(x) / east_m, None, 4.0) for x, y in true]

    def pixels() -> np.ndarray:
        return np.full((24, 32, 3), 90, np.uint8)

    frames = tuple(
        Frame(f"{i:02d}.jpg", 32, 24, pixels, position=positions[i] if i < with_positions else None) for i in range(n)
    )
    K = torch.tensor([[30.0, 0, 16], [0, 30, 12], [0, 0, 1]]).repeat(n, 1, 1)
    cameras = Cameras(cam_from_world, K, torch.full((n,), 32), torch.full((n,), 24))
    xyz = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)) * MEDIAN_DEPTH
    seen = torch.arange(40).repeat(2), torch.arange(2).repeat_interleave(40)
    return Capture(frames, "a walk", cameras, PointCloud(xyz, torch.zeros(40, 3, dtype=torch.uint8), *seen))


def test_cameras_and_points_grow_alike_and_the_run_remembers(tmp_path: Path) -> None:
    before = placed(9, 200.0, with_positions=6)
    after, scale = in_metres(before)
    assert scale is not None
    assert scale.positions == 6
    assert after.points.metric
    # A degree is taken as the same length everywhere here; over 200 m that is good to a part in a thousand.
    assert scale.metres == pytest.approx(TRUE_SCALE, rel=2e-3)
    assert torch.allclose(after.points.xyz, before.points.xyz * scale.metres)
    assert torch.allclose(after.cameras.centers, before.cameras.centers * scale.metres, atol=1e-4)
    assert any("is a metre" in note for note in after.notes)
    run = Run.create(tmp_path / "run", {})
    saved = save_capture(run, after, 32)
    again = load_run_capture(run)
    assert saved.points.metric
    assert again.points.metric
    assert again.subset([0, 1]).points.metric
    assert torch.allclose(again.cameras.centers, after.cameras.centers, atol=1e-4)


def test_without_positions_the_world_stays_as_it_is() -> None:
    for n_known, length_m in ((0, 200.0), (2, 200.0), (9, 8.0)):
        before = placed(9, length_m, with_positions=n_known)
        after, scale = in_metres(before)
        assert scale is None
        assert after is before
        assert not after.points.metric


def test_an_error_that_is_said_to_be_tiny_is_not_taken_at_its_word() -> None:
    before = placed(9, 8.0, with_positions=9)
    boasting = [replace(f, position=replace(f.position, error_m=1e-3)) for f in before.frames]
    _, scale = in_metres(replace(before, frames=tuple(boasting)))
    assert scale is None or scale.uncertainty >= MAX_UNCERTAINTY / 2
