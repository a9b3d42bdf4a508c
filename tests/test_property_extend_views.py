"""Points guessed beyond the photographs' borders."""

from __future__ import annotations

import pytest
import torch
from fewview.recon.evidence import DepthMap, Stereo
from fewview.recon.methods.instantsplat.extend_views import DEPTH_RANGE, points_beyond
from fewview.recon.optimise.dataset import Dataset
from fewview.scene.cameras import Cameras
from fewview.scene.geometry import transform_points
from support.few_views import few_views, masked, transparent, wall_and_ball
from support.stereo_scenes import Plane, row_of_cameras, stereo_scene
from support.threads import one_torch_thread as one_torch_thread
from torch import Tensor

WIDTH, HEIGHT = 48, 36


def pixels_of(cameras: Cameras, view: int, points: Tensor) -> tuple[Tensor, Tensor]:
    """(pixels [N, 2], z [N]) in double precision."""
    in_camera = transform_points(cameras.cam_from_world[view].double(), points.double())
    projected = in_camera @ cameras.K[view].double().T
    return projected[:, :2] / projected[:, 2:], in_camera[:, 2]


def assert_out_of_sight(cameras: Cameras, points: Tensor) -> None:
    for view in range(len(cameras)):
        pixel, z = pixels_of(cameras, view, points)
        width, height = int(cameras.width[view]), int(cameras.height[view])
        # A thousandth of a pixel of room for float32.
        inside = ((pixel > 1e-3) & (pixel < torch.tensor([width, height]) - 1e-3)).all(dim=-1)
        assert not (inside & (z > 0)).any()


@pytest.mark.parametrize("views", [1, 2, 4])
@pytest.mark.parametrize("margin", [0.1, 0.6])
def test_no_training_view_sees_them(views: int, margin: float) -> None:
    dataset, stereo = few_views(wall_and_ball(views))
    points = points_beyond(dataset, stereo, margin, 4)
    assert len(points) > 20
    assert points.xyz.isfinite().all()
    assert_out_of_sight(stereo.cameras, points.xyz)
    # Each lies in front of a view, and no further outside its picture than asked.
    near = torch.zeros(len(points), dtype=torch.bool)
    room = round(margin * WIDTH) + 1
    for view in range(views):
        pixel, z = pixels_of(stereo.cameras, view, points.xyz)
        near |= (z > 0) & ((pixel > -room) & (pixel < torch.tensor([WIDTH, HEIGHT]) + room)).all(dim=-1)
    assert near.all()


def test_planes_go_on_as_planes() -> None:
    normal = (0.15, -0.1, 1.0)
    scene = stereo_scene([Plane(normal, 4.0)], row_of_cameras(3, WIDTH, HEIGHT, 0.5))
    dataset, stereo = few_views(scene)
    xyz = points_beyond(dataset, stereo, 0.25, 4).xyz.double()
    off = (xyz @ torch.tensor(normal, dtype=torch.float64) - 4.0).abs()
    # Slopes are differences of float32 inverse depths over a band, carried outwards twice as far as it is wide.
    assert off.max() < 1e-3


def test_depth_stays_near_that_of_the_view() -> None:
    steep = stereo_scene([Plane((1.2, 0.0, 1.0), 4.0)], row_of_cameras(1, WIDTH, HEIGHT, 0.5))
    dataset, stereo = few_views(steep)
    depth = stereo.maps[0].depth
    _, z = pixels_of(stereo.cameras, 0, points_beyond(dataset, stereo, 2.0, 4).xyz)
    # The limits are reached here, but for rounding.
    assert float(z.min()) == pytest.approx(float(depth.min()) / DEPTH_RANGE, rel=1e-5)
    assert float(z.max()) == pytest.approx(float(depth.max()) * DEPTH_RANGE, rel=1e-5)


def flat(width: int, height: int, depth: float | Tensor = 3.0, views: int = 1) -> tuple[Dataset, Stereo]:
    scene = stereo_scene([Plane((0, 0, 1), 3.0)], row_of_cameras(views, width, height, 0.4))
    dataset, stereo = few_views(scene)
    maps = tuple(DepthMap(torch.ones(height, width) * depth, m.confidence) for m in stereo.maps)
    return dataset, Stereo(stereo.cameras, maps)


@pytest.mark.parametrize(("width", "height"), [(5, 5), (5, 40), (3, 2), (2, 2), (1, 1), (7, 1), (1, 9)])
@pytest.mark.parametrize("spacing", [1, 8])
def test_tiny_maps(width: int, height: int, spacing: int) -> None:
    g = torch.Generator().manual_seed(width)
    dataset, stereo = flat(width, height, 2 + torch.rand(height, width, generator=g), views=2)
    points = points_beyond(dataset, stereo, 0.25, spacing)
    assert points.xyz.isfinite().all()
    assert_out_of_sight(stereo.cameras, points.xyz)


def test_equal_depth_goes_on_at_that_depth() -> None:
    dataset, stereo = flat(WIDTH, HEIGHT)
    _, z = pixels_of(stereo.cameras, 0, points_beyond(dataset, stereo, 0.5, 4).xyz)
    torch.testing.assert_close(z, torch.full_like(z, 3.0), rtol=1e-5, atol=0)


def test_colours_are_those_of_the_border() -> None:
    dataset, stereo = flat(WIDTH, HEIGHT)
    pixels = dataset.views[0].pixels.clone()
    pixels[:, : WIDTH // 2] = torch.tensor([200, 0, 0], dtype=torch.uint8)
    pixels[:, WIDTH // 2 :] = torch.tensor([0, 0, 100], dtype=torch.uint8)
    dataset.views[0].pixels.copy_(pixels)
    points = points_beyond(dataset, stereo, 0.25, 4)
    pixel, _ = pixels_of(stereo.cameras, 0, points.xyz)
    assert (points.rgb[pixel[:, 0] < 0] == torch.tensor([200, 0, 0], dtype=torch.uint8)).all()
    assert (points.rgb[pixel[:, 0] > WIDTH] == torch.tensor([0, 0, 100], dtype=torch.uint8)).all()


def test_nothing_goes_on_from_a_hidden_border() -> None:
    dataset, stereo = flat(WIDTH, HEIGHT)
    left = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    left[:, : WIDTH // 2] = True
    for hidden in (masked(dataset, 0, left), transparent(dataset, 0, left)):
        pixel, _ = pixels_of(stereo.cameras, 0, points_beyond(hidden, stereo, 0.25, 4).xyz)
        assert len(pixel) > 20
        assert (pixel[:, 0] < WIDTH // 2).all()
    nothing = masked(dataset, 0, torch.zeros_like(left))
    assert len(points_beyond(nothing, stereo, 0.25, 4)) == 0
