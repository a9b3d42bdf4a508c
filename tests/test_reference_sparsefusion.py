"""Parts of SparseFusion against loops that say the same slowly, and against cases worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from fewview.detect.common.assignment import match
from fewview.detect.common.heatmaps import draw_gaussian, gaussian_focal, gaussian_radius, local_maxima
from fewview.detect.common.iou_3d import iou_3d, rectangle_overlap
from fewview.detect.sparsefusion.config import preset
from fewview.detect.sparsefusion.deformable import plain_sample_levels, sample_levels
from fewview.detect.sparsefusion.driving_batch import Views
from fewview.detect.sparsefusion.geometric_transfer import DEPTH_MEAN_M, sparse_depth
from fewview.detect.sparsefusion.voxelize import EMPTY_MAX_M, EMPTY_MIN_M, voxelize
from fewview.learn.schedules import cycle
from support.detection import SMALLEST, make_batch, make_sample, project
from support.threads import one_torch_thread as one_torch_thread


def test_deformable_sampling_is_the_loop():
    g = torch.Generator().manual_seed(0)
    shapes = [(5, 7), (3, 4)]
    values = torch.randn(2, 47, 3, 2, generator=g, dtype=torch.float64)
    places = torch.rand(2, 4, 3, 2, 3, 2, generator=g, dtype=torch.float64) * 1.6 - 0.3  # some outside
    weights = torch.rand(2, 4, 3, 2, 3, generator=g, dtype=torch.float64)
    expected = plain_sample_levels(values, shapes, places, weights)
    torch.testing.assert_close(sample_levels(values, shapes, places, weights), expected, atol=1e-12, rtol=1e-12)


def _row(
    x: float, y: float, length: float, width: float, yaw: float, z: float = 0.0, height: float = 2.0
) -> list[float]:
    return [x, y, z, length, width, height, yaw]


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (_row(0, 0, 4, 2, 0.3), _row(0, 0, 4, 2, 0.3), 1.0),  # the same box
        (_row(0, 0, 4, 2, 0.3), _row(0, 0, 4, 2, 0.3 + math.pi), 1.0),  # facing the other way
        (_row(0, 0, 2, 2, 0), _row(1, 0, 2, 2, 0), 1 / 3),  # half overlaps
        (_row(0, 0, 2, 2, 0), _row(1, 1, 2, 2, 0), 1 / 7),  # a quarter overlaps
        (_row(0, 0, 2, 2, 0), _row(0, 0, 2, 2, 0, z=1.0), 1 / 3),  # half above the other
        (_row(0, 0, 2, 2, 0), _row(2, 0, 2, 2, 0), 0.0),  # touch along a side
        (_row(0, 0, 2, 2, 0), _row(0, 0, 2, 2, 0, z=2.0), 0.0),  # touch along the lid
        (_row(0, 0, 2, 2, 0), _row(9, 0, 2, 2, 0), 0.0),  # apart
        (_row(5, 5, 4, 4, 0), _row(5, 5, 1, 1, 0.7), 1 / 16),  # one inside of the other
        (_row(0, 0, 4, 1, 0), _row(0, 0, 4, 1, math.pi / 2), 1 / 7),  # a cross
        # A square of side 2 and itself turned by 45 degrees: a regular octagon of width 2, area 8 (sqrt 2 - 1).
        (_row(0, 0, 2, 2, 0), _row(0, 0, 2, 2, math.pi / 4), 8 * (2**0.5 - 1) / (8 - 8 * (2**0.5 - 1))),
        # Far from the origin the answer is the same.
        (_row(900, -700, 2, 2, 0), _row(901, -700, 2, 2, 0), 1 / 3),
    ],
)
def test_iou_of_boxes_worked_out_by_hand(a: list[float], b: list[float], expected: float):
    found = iou_3d(torch.tensor([a]), torch.tensor([b]))
    assert float(found) == pytest.approx(expected, abs=2e-4)  # float32 coordinates of up to 1000 m
    assert float(iou_3d(torch.tensor([b]), torch.tensor([a]))) == pytest.approx(expected, abs=2e-4)


def test_rectangle_overlap_is_the_share_of_random_points():
    random = np.random.default_rng(0)
    a = torch.tensor([[0.0, 0, 4, 2, 0.4]]).repeat(30, 1).double()
    b = torch.from_numpy(np.concatenate([random.uniform(-2, 2, (30, 2)), random.uniform(1, 4, (30, 2))], axis=1))
    b = torch.cat([b, torch.from_numpy(random.uniform(-3, 3, (30, 1)))], dim=1)
    points = torch.from_numpy(random.uniform(-5, 5, (60_000, 2)))

    def holds(rectangles: torch.Tensor) -> torch.Tensor:
        offset = points[None] - rectangles[:, None, :2]
        cos, sin = rectangles[:, 4:].cos(), rectangles[:, 4:].sin()
        along = offset[..., 0] * cos + offset[..., 1] * sin
        across = offset[..., 1] * cos - offset[..., 0] * sin
        return (along.abs() < rectangles[:, 2:3] / 2) & (across.abs() < rectangles[:, 3:4] / 2)

    counted = (holds(a) & holds(b)).double().mean(dim=1) * 100
    # Areas up to 8 of 100: the counted one has a standard deviation of 100 sqrt(0.08 * 0.92 / 60000) = 0.11.
    torch.testing.assert_close(rectangle_overlap(a, b), counted, atol=0.45, rtol=0)


def test_each_object_gets_the_cheapest_partner_overall():
    cost = torch.tensor([[1.0, 2.0], [1.1, 5.0], [9.0, 9.0]])
    queries, objects = match(cost)
    assert dict(zip(queries.tolist(), objects.tolist(), strict=True)) == {0: 1, 1: 0}  # 3.1, not 1 + 5
    assert len(match(torch.zeros(3, 0))[0]) == 0


def test_voxels_are_means_in_the_order_of_the_points():
    config = SMALLEST
    points = make_sample(3, points=400).points
    beside, outside = torch.tensor([0.05, 0, 0, 0, 0]), torch.tensor([99.0, 0, 0, 0, 0])
    points = torch.cat([points, points[:50] + beside, points[:1] + outside])
    start, size = torch.tensor(config.point_range_m[:3]), torch.tensor(config.voxel_m)
    for limit in (10_000, 40):
        voxels = voxelize([points], config, limit)
        table: dict[tuple[int, int, int], list[torch.Tensor]] = {}
        for p in points:
            x, y, z = ((p[:3] - start) / size).floor().int().tolist()
            nx, ny, nz = config.grid
            if not (0 <= x < nx and 0 <= y < ny and 0 <= z < nz):
                continue
            if (z, y, x) not in table and len(table) == limit:
                continue
            table.setdefault((z, y, x), []).append(p)
        kept = {key: torch.stack(value[: config.points_per_voxel]) for key, value in table.items()}
        assert [tuple(row) for row in voxels.indices[:, 1:].tolist()] == list(kept)
        expected = torch.stack([rows.mean(dim=0) for rows in kept.values()])
        torch.testing.assert_close(voxels.features, expected, atol=1e-4, rtol=1e-5)  # the sums' order differs
        low = torch.full(voxels.low_m[0].shape, EMPTY_MIN_M)
        high = torch.full(voxels.low_m[0].shape, EMPTY_MAX_M)
        for (_, y, x), rows in kept.items():
            cell = y // config.bev_stride, x // config.bev_stride
            low[cell] = torch.minimum(low[cell], rows[:, 2].min())
            high[cell] = torch.maximum(high[cell], rows[:, 2].max())
        torch.testing.assert_close(voxels.low_m[0], low)
        torch.testing.assert_close(voxels.high_m[0], high)


def test_a_voxel_holds_its_first_points_and_a_height_of_zero_is_none():
    config = SMALLEST
    points = torch.zeros(25, 5)
    points[:, 0], points[:, 2] = 0.1, 0.05
    points[:, 3] = torch.arange(25)
    voxels = voxelize([points], config, 100)
    assert voxels.features[0, 3] == 4.5  # the mean of 0 to 9
    points[:, 2] = 0
    voxels = voxelize([points], config, 100)
    assert len(voxels.features) == 1
    assert float(voxels.low_m.min()) == EMPTY_MIN_M
    assert float(voxels.high_m.max()) == EMPTY_MAX_M


def test_sparse_depth_shows_the_nearest_point():
    batch = make_batch(SMALLEST, (4,))
    found = sparse_depth(batch.points, batch.views)[0]
    mask = found[:, 1]
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert bool((found[:, 0][mask == 0] == 0).all())
    expected = torch.full(mask.shape, math.inf)
    for p in batch.points[0]:
        if p[4] != 0:
            continue
        for v in range(6):
            pixel, depth = project(batch.views.cam_from_lidar[0, v], batch.views.K[0, v], p[:3])
            width, height = batch.views.valid_px[0, v].tolist()
            if depth > 0 and 0 < pixel[0] < width - 1 and 0 < pixel[1] < height - 1:
                cell = v, int(pixel[1] // 4), int(pixel[0] // 4)
                expected[cell] = min(expected[cell], depth)
    assert torch.equal(mask > 0, expected.isfinite())
    depth = found[:, 0][mask > 0] * math.sqrt(156.89) + DEPTH_MEAN_M
    torch.testing.assert_close(depth, expected[mask > 0], atol=1e-4, rtol=1e-5)


def test_local_maxima_by_hand():
    scores = torch.tensor(
        [
            [0.9, 0.1, 0.1, 0.1, 0.1],
            [0.1, 0.5, 0.4, 0.1, 0.1],
            [0.1, 0.2, 0.3, 0.1, 0.1],
            [0.1, 0.1, 0.1, 0.6, 0.1],
            [0.1, 0.1, 0.1, 0.1, 0.9],
        ]
    )
    maps = scores.expand(1, 2, 5, 5)
    found = local_maxima(maps, exempt=(1,))
    # 0.5 stands beside the border's 0.9, and so does 0.6; the border itself never counts.
    assert not found[0, 0].any()
    assert torch.equal(found[0, 1], scores)
    inner = scores.clone()
    inner[0, 0] = inner[4, 4] = 0.1
    found = local_maxima(inner[None, None])
    expected = torch.zeros(5, 5)
    expected[1, 1], expected[3, 3] = 0.5, 0.6
    assert torch.equal(found[0, 0], expected)


def test_gaussians_of_heatmaps():
    heat = torch.zeros(9, 9)
    draw_gaussian(heat, 4, 4, 2)
    assert heat[4, 4] == 1
    sigma = 5 / 6
    assert float(heat[4, 6]) == pytest.approx(math.exp(-4 / (2 * sigma**2)))
    assert heat[4, 7] == 0
    draw_gaussian(heat, 0, 8, 2)  # in a corner
    assert heat[8, 0] == 1
    draw_gaussian(heat, 9, 3, 2)  # outside
    assert float(heat.max()) == 1
    # Of the three ways to be off, the least: for 4 x 4 cells and an overlap of 0.1 the second, from
    # (16 + sqrt(16^2 - 4 * 4 * 0.9 * 16)) / 2 with the original's division by 2.
    roots = (
        (8 + math.sqrt(64 - 4 * 16 * 0.9 / 1.1)) / 2,
        (16 + math.sqrt(256 - 16 * 0.9 * 16)) / 2,
        (-1.6 + math.sqrt(1.6**2 + 4 * 0.4 * 0.9 * 16)) / 2,
    )
    assert gaussian_radius(4, 4) == pytest.approx(min(roots))


def test_gaussian_focal_by_hand():
    logits = torch.tensor([0.0, 2.0, -1.0])
    target = torch.tensor([1.0, 0.5, 0.0])
    p = logits.sigmoid()
    by_hand = -((1 - p[0]) ** 2) * p[0].log() - p[1] ** 2 * 0.5**4 * (1 - p[1]).log() - p[2] ** 2 * (1 - p[2]).log()
    torch.testing.assert_close(gaussian_focal(logits, target), by_hand)
    counts = torch.tensor([True, False, True])
    without = by_hand + p[1] ** 2 * 0.5**4 * (1 - p[1]).log()
    torch.testing.assert_close(gaussian_focal(logits, target, counts), without)


def test_padding_of_feature_cells():
    views = Views(torch.eye(4)[None, None], torch.eye(3)[None, None], torch.tensor([[[50.0, 30.0]]]), 64, 32)
    found = views.padding(8)[0, 0]
    assert found.shape == (4, 8)
    assert torch.equal(~found[0], torch.arange(8) < 6)  # 50 / 8 = 6.25 whole cells
    assert torch.equal(~found[:, 0], torch.arange(4) < 3)


def test_the_cycle_of_learning_rates():
    assert cycle(0, 100, 1, 8, 1e-4) == 1
    assert cycle(40, 100, 1, 8, 1e-4) == pytest.approx(8)
    assert cycle(100, 100, 1, 8, 1e-4) == pytest.approx(1e-4)
    assert cycle(20, 100, 1, 8, 1e-4) == pytest.approx(4.5)  # half way up the cosine
    rates = [cycle(step, 100, 1, 8, 1e-4) for step in range(101)]
    assert rates[:41] == sorted(rates[:41])
    assert rates[40:] == sorted(rates[40:], reverse=True)


def test_the_paper_has_the_papers_sizes():
    config = preset("paper")
    assert config.grid == (1440, 1440, 40)
    assert config.bev_size == (180, 180)
    assert config.cell_m == pytest.approx((0.6, 0.6))
