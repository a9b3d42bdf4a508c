"""Helps for few photographs: starting points on a grid, gaussian dropout, counts that fit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from fewview.recon.methods.gaussian_splatting.config import (
    GaussianSplattingConfig,
    small_photographs_first,
    values_by_view_count,
)
from fewview.recon.methods.gaussian_splatting.fill_points import fill_points
from fewview.recon.methods.gaussian_splatting.model import initialise
from fewview.recon.methods.method_contract import background_of
from fewview.recon.optimise.dataset import Dataset, View
from fewview.recon.optimise.trainer import fit
from fewview.scene.cameras import Cameras
from fewview.scene.geometry import se3_from, so3_exp, transform_points
from fewview.scene.point_cloud import PointCloud
from support.training import tiny_dataset

WIDTH, HEIGHT, FOCAL_PX = 64, 48, 60.0


def _wall(mask: torch.Tensor | None = None, points: int = 40) -> Dataset:
    """Two cameras before the wall z = 4 + 0.5 x, with points on it that both see; the pixel's column is its red."""
    g = torch.Generator().manual_seed(0)
    x, y = 4 * torch.rand(points, generator=g) - 2, 3 * torch.rand(points, generator=g) - 1.5
    xyz = torch.stack([x, y, 4 + 0.5 * x], dim=1)
    turned = se3_from(so3_exp(torch.tensor([0.0, 0.1, 0.05])), torch.tensor([0.2, -0.1, 0.3]))
    cameras = Cameras.pinhole(torch.stack([torch.eye(4), turned]), FOCAL_PX, WIDTH, HEIGHT)
    pixels = torch.zeros(HEIGHT, WIDTH, 3, dtype=torch.uint8)
    pixels[..., 0] = torch.arange(WIDTH)
    seen = torch.arange(points).repeat(2), torch.arange(2).repeat_interleave(points)
    cloud = PointCloud(xyz, torch.full((points, 3), 128, dtype=torch.uint8), *seen)
    views = tuple(View(pixels, mask, K) for K in cameras.K)
    return Dataset(views, cameras, ("a", "b"), (0, 1), points=cloud)


def test_filled_points_of_a_wall_lie_on_it() -> None:
    dataset = _wall()
    filled = fill_points(dataset, cells=16)
    assert filled is not None
    assert len(filled) == 2 * 16 * 12
    first = filled.xyz[: 16 * 12]
    in_image = transform_points(dataset.cameras.cam_from_world[0], first)
    column = in_image[:, 0] / in_image[:, 2] * FOCAL_PX + WIDTH / 2 - 0.5
    # The colour is that of the pixel which the point lies behind.
    torch.testing.assert_close(column, filled.rgb[: 16 * 12, 0].float(), atol=1e-3, rtol=0)
    # Inverse depth is linear over the image of a plane, so inside the points' hull the depth is exact; the nearest
    # point's depth outside is off by what the wall leans.
    off = (filled.xyz[:, 2] - 4 - 0.5 * filled.xyz[:, 0]).abs()
    assert off.median() < 1e-4
    assert off.max() < 1.5


def test_hidden_pixels_get_no_point() -> None:
    mask = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    mask[:, : WIDTH // 2] = True
    filled = fill_points(_wall(mask), cells=16)
    assert filled is not None
    assert len(filled) == 2 * 8 * 12
    assert int(filled.rgb[:, 0].max()) < WIDTH // 2


def test_nothing_is_filled_without_observations_or_with_too_few() -> None:
    dataset = _wall()
    assert dataset.points is not None
    assert fill_points(replace(dataset, points=PointCloud(dataset.points.xyz, dataset.points.rgb)), 16) is None
    assert fill_points(replace(dataset, points=dataset.points[torch.arange(3)]), 16) is None


def test_points_on_a_line_are_filled_by_the_nearest() -> None:
    dataset = _wall()
    assert dataset.points is not None
    xyz = dataset.points.xyz.clone()
    xyz[:, 0], xyz[:, 2] = 0.0, 4.0
    line = replace(
        dataset, points=PointCloud(xyz, dataset.points.rgb, dataset.points.seen_point, dataset.points.seen_view)
    )
    filled = fill_points(line, 16)
    assert filled is not None
    assert filled.xyz.isfinite().all()


def test_training_starts_from_sparse_and_filled_points() -> None:
    config = GaussianSplattingConfig(steps=10, fill_cells=8)
    assert len(initialise(_wall(), config).splat()) == 40 + 2 * 8 * 6
    assert len(initialise(_wall(), replace(config, max_gaussians=50)).splat()) == 50


@pytest.mark.parametrize("rate", [0.0, 0.9])
def test_dropping_gaussians_changes_training_but_not_what_is_drawn_afterwards(rate: float) -> None:
    dataset = tiny_dataset()
    config = GaussianSplattingConfig(steps=30, sh_degree=0, densification="none", gaussian_dropout=rate)
    plain = fit(
        initialise(dataset, replace(config, gaussian_dropout=0.0)), dataset, replace(config, gaussian_dropout=0.0)
    )
    dropped = fit(initialise(dataset, config), dataset, config)
    assert torch.equal(plain.splat.gaussians.means, dropped.splat.gaussians.means) == (rate == 0)
    assert len(plain.splat.gaussians) == len(dropped.splat.gaussians)
    # Every Gaussian is still there: none was lost for having been dropped.
    assert dropped.splat.gaussians.opacities.min() > 1e-3


def test_fewer_photographs_get_fewer_gaussians_and_more_dropping() -> None:
    few, many = values_by_view_count(tiny_dataset(3), 100_000), values_by_view_count(tiny_dataset(12), 100_000)
    assert few["gaussian_dropout"] > many["gaussian_dropout"] == 0
    assert few["max_gaussians"] == 10_000  # never under what a small scene needs
    assert values_by_view_count(tiny_dataset(3), 5_000)["max_gaussians"] == 5_000


def test_small_photographs_come_first_where_that_was_tried():
    assert small_photographs_first(8) == small_photographs_first(17) == {}
    config = GaussianSplattingConfig(steps=1000, **small_photographs_first(12))
    assert [config.coarse_level(step) for step in (0, 149, 150, 299, 300, 999)] == [2, 2, 1, 1, 0, 0]


def test_few_photographs_lie_over_their_mean_colour() -> None:
    """Holes between and beyond few photographs show the background; what is masked has no part in its colour."""
    mask = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    mask[:, : WIDTH // 2] = True
    for dataset, highest in ((_wall(), WIDTH - 1), (_wall(mask), WIDTH // 2 - 1)):
        assert background_of(dataset) == pytest.approx((highest / 2 / 255, 0, 0), abs=1e-4)
    one = _wall()
    many = replace(
        one, views=one.views[:1] * 40, cameras=one.cameras[[0] * 40], names=("a",) * 40, train=tuple(range(40))
    )
    assert background_of(many) == (0, 0, 0)
    clear = View(torch.zeros(HEIGHT, WIDTH, 4, dtype=torch.uint8), None, one.views[0].K)
    assert background_of(replace(one, views=(one.views[0], clear))) == (1, 1, 1)
