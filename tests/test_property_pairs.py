"""Preparing photographs for pair predictors: sizes, and the way back to the whole picture."""

from __future__ import annotations

import pytest
import torch
from fewview.recon.poses.pointmaps.pair_prediction import PairPrediction, all_ordered_pairs, prepare_image
from fewview.scene.cameras import Cameras


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (1024, 576, (512, 288)),
        (1920, 1080, (512, 288)),
        (576, 1024, (288, 512)),
        (700, 700, (512, 384)),  # a square becomes 4:3
        (270, 480, (288, 512)),  # enlarged
        (1000, 563, (512, 288)),
        (999, 700, (512, 352)),  # 512 x 359 loses seven rows
    ],
)
def test_sizes_are_those_of_the_networks(width: int, height: int, expected: tuple[int, int]) -> None:
    prepared = prepare_image(torch.zeros(height, width, 3, dtype=torch.uint8))
    assert (prepared.pixels.shape[1], prepared.pixels.shape[0]) == expected


@pytest.mark.parametrize(("width", "height"), [(999, 700), (700, 700), (640, 481), (333, 1000)])
def test_the_crop_is_undone_in_the_intrinsics(width: int, height: int) -> None:
    """A pixel of the crop looks along the same ray as the pixel of the original that it was made of."""
    columns, rows = torch.meshgrid(torch.arange(width), torch.arange(height), indexing="xy")
    image = torch.stack([columns * 255.0 / width, rows * 255.0 / height, 0.0 * rows], dim=-1).to(torch.uint8)
    prepared = prepare_image(image)
    rows_out, columns_out = prepared.pixels.shape[:2]
    camera = Cameras.pinhole(torch.eye(4, dtype=torch.float64), 400.0, columns_out, rows_out)
    whole = prepared.image_camera(camera)
    assert (int(whole.width), int(whole.height)) == (width, height)
    back = prepared.prepared_camera(whole)
    assert (int(back.width), int(back.height)) == (columns_out, rows_out)
    torch.testing.assert_close(back.K, camera.K, rtol=0, atol=1e-9)
    for x, y in ((40, 50), (columns_out - 30, rows_out - 20)):
        ray = torch.linalg.inv(camera.K) @ torch.tensor([x + 0.5, y + 0.5, 1], dtype=torch.float64)
        u, v, _ = (whole.K @ ray).tolist()
        # The picture's colours are its coordinates, in steps of 1/255 of a side; one more for the filter.
        assert u == pytest.approx(float(prepared.pixels[y, x, 0] + 0.5) * width / 255, abs=width / 128)
        assert v == pytest.approx(float(prepared.pixels[y, x, 1] + 0.5) * height / 255, abs=height / 128)


def test_the_whole_photographs_camera_has_square_pixels_but_for_whole_sizes() -> None:
    prepared = prepare_image(torch.zeros(700, 999, 3, dtype=torch.uint8))
    height, width = prepared.pixels.shape[:2]
    camera = prepared.image_camera(Cameras.pinhole(torch.eye(4), 500.0, width, height))
    assert (int(camera.width), int(camera.height)) == (999, 700)
    focal_x, focal_y = float(camera.K[0, 0]), float(camera.K[1, 1])
    assert focal_x == pytest.approx(500 * 999 / 512, rel=1e-6)
    assert focal_y == pytest.approx(focal_x, rel=1 / 359)  # the resize rounded to 359 rows
    assert float(camera.K[1, 2]) == pytest.approx(350, abs=1)  # half a row of the odd crop


def test_a_sliver_is_refused() -> None:
    with pytest.raises(ValueError, match="sides differ by less than 32 times"):
        prepare_image(torch.zeros(10, 4000, 3, dtype=torch.uint8))


def test_all_ordered_pairs() -> None:
    assert all_ordered_pairs(3) == [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]


def test_a_prediction_checks_its_shapes() -> None:
    points, confidence = torch.zeros(4, 6, 3), torch.ones(4, 6)
    with pytest.raises(ValueError, match="with confidence"):
        PairPrediction(points, points, confidence, confidence.T)
