"""Boxes in photographs and from above: what is drawn is where the cameras say, and nothing else is drawn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from fewview.render.draw_boxes import (
    CLASS_COLORS,
    NEAR_M,
    class_color,
    draw_boxes,
    draw_boxes_from_above,
    draw_from_above,
    project_segments,
)
from fewview.render.point_colors import UNSEEN, by_height, by_intensity, by_photographs, project_points
from fewview.scene.boxes import EDGES, Boxes
from fewview.scene.cameras import Cameras
from fewview.scene.capture import Capture, Frame
from fewview.scene.datasets.nuscenes_classes import DETECTION_NAMES
from hypothesis import given, settings
from hypothesis import strategies as st

WIDTH, HEIGHT = 160, 90


def _camera(focal_px: float = 80.0) -> Cameras:
    """At the origin, along +z."""
    return Cameras.pinhole(torch.eye(4)[None], focal_px, WIDTH, HEIGHT)[0]


def _box(center: tuple[float, float, float], sizes: tuple[float, float, float] = (2, 2, 2), label: int = 0) -> Boxes:
    return Boxes.upright(
        torch.tensor([center], dtype=torch.float64),
        torch.tensor([sizes], dtype=torch.float64),
        torch.tensor([0.4], dtype=torch.float64),
        torch.tensor([label]),
        DETECTION_NAMES,
    )


def test_projected_corners_are_those_of_the_pinhole_formula() -> None:
    box = _box((0.5, -0.2, 9))
    lines, which = project_segments(box.segments[0], _camera())
    assert which.tolist() == list(range(13))
    x, y, z = box.corners[0].unbind(-1)
    expected = torch.stack([80 * x / z + WIDTH / 2, 80 * y / z + HEIGHT / 2], dim=-1)[torch.tensor(EDGES)]
    torch.testing.assert_close(lines[:12], expected, rtol=0, atol=1e-4)  # K is float32


def test_nothing_is_drawn_of_boxes_behind_or_beside_the_camera() -> None:
    image = np.full((HEIGHT, WIDTH, 3), 7, np.uint8)
    for center in ((0, 0, -9.0), (30, 0, 5.0), (0, -30, 5.0)):
        assert len(project_segments(_box(center).segments[0], _camera())[0]) == 0
        assert (draw_boxes(image, _camera(), _box(center)) == 7).all()
    assert (draw_boxes(image, _camera(), Boxes.empty(DETECTION_NAMES)) == 7).all()


def test_edges_through_the_image_plane_are_cut_there() -> None:
    """A rail from 5 m behind to 20 m before the camera, 1 m below it: its visible end is at the near plane."""
    rail = torch.tensor([[[0.0, 1, -5], [0, 1, 20]]], dtype=torch.float64)
    lines, _ = project_segments(rail, _camera())
    far = HEIGHT / 2 + 80 / 20
    # 1 m below at 0.1 m depth is far under the image, whose lower border cuts the line once more.
    assert 80 / NEAR_M > HEIGHT
    torch.testing.assert_close(lines, torch.tensor([[[80.0, HEIGHT], [80.0, far]]]).double(), rtol=0, atol=1e-4)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 100_000))
def test_lines_stay_inside_and_on_the_projected_line(seed: int) -> None:
    """Against dense sampling: every sampled point that is visible lies on its line, and lines end where they end."""
    g = torch.Generator().manual_seed(seed)
    segment = 6 * torch.randn(1, 2, 3, generator=g, dtype=torch.float64)
    lines, which = project_segments(segment, _camera())
    t = torch.linspace(0, 1, 2001, dtype=torch.float64)[:, None]
    points = segment[0, 0] + t * (segment[0, 1] - segment[0, 0])
    pixels = points[:, :2] / points[:, 2:] * 80 + torch.tensor([WIDTH / 2, HEIGHT / 2])
    size = torch.tensor([WIDTH, HEIGHT], dtype=torch.float64)
    visible = (points[:, 2] >= NEAR_M) & ((pixels >= 0) & (pixels <= size)).all(dim=1)
    if not len(which):
        assert not visible.any()
        return
    (start, end) = lines[0]
    assert bool(((lines >= -1e-6) & (lines <= size + 1e-6)).all())
    seen = pixels[visible]
    along = (end - start) / (end - start).norm().clamp_min(1e-12)
    offset = seen - start
    across = offset[:, 0] * along[1] - offset[:, 1] * along[0]
    assert bool((across.abs() < 1e-3).all())
    assert bool(((offset @ along) > -1e-3).all())
    assert bool(((offset @ along) < (end - start).norm() + 1e-3).all())


def test_pixels_carry_the_class_s_colour_and_the_near_box_covers_the_far_one() -> None:
    boxes = Boxes.cat([_box((0, 0, 6), label=0), _box((0, 0, 12), label=5)])
    for order in ([0, 1], [1, 0]):
        drawn = draw_boxes(np.zeros((HEIGHT, WIDTH, 3), np.uint8), _camera(), boxes[torch.tensor(order)])
        car = (drawn == CLASS_COLORS["car"]).all(axis=-1)
        pedestrian = (drawn == CLASS_COLORS["pedestrian"]).all(axis=-1)
        assert car.sum() > 50
        assert pedestrian.sum() > 20
        corner = project_segments(boxes[0].segments[0], _camera())[0][0, 0].floor().long()
        assert car[corner[1] - 1 : corner[1] + 2, corner[0] - 1 : corner[0] + 2].any()
    one = draw_boxes(np.zeros((HEIGHT, WIDTH, 3), np.uint8), _camera(), boxes, color=(1, 2, 3))
    assert {tuple(c) for c in one.reshape(-1, 3)} >= {(1, 2, 3)}
    assert not (one == CLASS_COLORS["car"]).all(axis=-1).any()


def test_an_image_of_another_size_gets_the_same_picture_smaller() -> None:
    box = _box((1, 0.5, 6))
    large = draw_boxes(np.zeros((2 * HEIGHT, 2 * WIDTH, 3), np.uint8), _camera(), box).any(axis=-1)
    small = draw_boxes(np.zeros((HEIGHT, WIDTH, 3), np.uint8), _camera(), box).any(axis=-1)
    for axis in (0, 1):
        a, b = (np.flatnonzero(drawn.any(axis=axis)) for drawn in (large, small))
        assert abs(a[0] / 2 - b[0]) <= 2  # lines are 2 pixels wide in both
        assert abs(a[-1] / 2 - b[-1]) <= 2


@pytest.mark.parametrize("focal_px", [1e-3, 1e6])
def test_huge_coordinates_do_not_overflow(focal_px: float) -> None:
    """cv2 takes 32-bit integers in 1/16 pixel; lines are cut to the image before."""
    boxes = Boxes.cat([_box((0, 0, 0.2)), _box((1e5, 0, 1e5), (1e5, 3, 3))])
    drawn = draw_boxes(np.zeros((HEIGHT, WIDTH, 3), np.uint8), _camera(focal_px), boxes, labels=True)
    assert drawn.shape == (HEIGHT, WIDTH, 3)


def test_labels_lie_inside_even_at_the_corner() -> None:
    drawn = draw_boxes(np.zeros((HEIGHT, WIDTH, 3), np.uint8), _camera(), _box((-5, -2.6, 6)), labels=True)
    assert drawn[:20, :40].any()


def test_from_above_puts_ahead_up_and_right_to_the_right() -> None:
    xyz = torch.tensor([[0.0, 40, 0], [40, 0, 0], [0.0, 0, 1], [0.0, 0, -1], [0, 99, 0]])
    colors = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9], [0, 0, 0]], np.uint8)
    picture = draw_from_above(xyz, reach_m=50, side_px=100, colors=colors)
    assert picture[10, 50].tolist() == [255, 0, 0]
    assert picture[50, 90].tolist() == [0, 255, 0]
    assert picture[50, 50].tolist() == [0, 0, 255]  # the higher of two
    assert (picture == 255).all(axis=-1).sum() == 100 * 100 - 3


def test_boxes_from_above_are_their_floors() -> None:
    """4 m x 2 m, heading +y: 40 pixels high and 20 wide at 10 pixels a metre, with the heading in the upper half."""
    box = Boxes.upright(
        torch.tensor([[0.0, 0, 0]]),
        torch.tensor([[4.0, 2, 1]]),
        torch.tensor([math.pi / 2]),
        torch.tensor([0]),
        ("car",),
    )
    picture = draw_boxes_from_above(np.full((100, 100, 3), 255, np.uint8), box, reach_m=5)
    painted = (picture != 255).any(axis=-1)
    rows, columns = np.flatnonzero(painted.any(axis=1)), np.flatnonzero(painted.any(axis=0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == pytest.approx((30, 70, 40, 60), abs=2)  # the line's width
    assert painted[40, 48:52].any()
    assert not painted[60, 45:56].any()


def test_class_colours_are_stable_and_differ() -> None:
    assert class_color("car") == CLASS_COLORS["car"]
    assert class_color("unheard of") == class_color("unheard of") != class_color("unseen")
    assert len(set(CLASS_COLORS.values())) == len(CLASS_COLORS)
    assert set(DETECTION_NAMES) < set(CLASS_COLORS)


def _two_cameras() -> Capture:
    """One looks along +z and is all red, one along -z and is all green."""
    back = torch.diag(torch.tensor([-1.0, 1, -1, 1]))
    cameras = Cameras.pinhole(torch.stack([torch.eye(4), back]), 80.0, WIDTH, HEIGHT)
    pictures = [np.full((HEIGHT, WIDTH, 3), color, np.uint8) for color in ((255, 0, 0), (0, 255, 0))]
    frames = tuple(Frame(f"{i}", WIDTH, HEIGHT, lambda p=p: p) for i, p in enumerate(pictures))
    return Capture(frames, "two", cameras)


def test_points_take_the_colour_of_the_photograph_that_sees_them() -> None:
    xyz = torch.tensor([[0.0, 0, 5], [0.1, 0, -5], [50, 0, 1], [0, 0, 0]])
    assert by_photographs(xyz, _two_cameras()).tolist() == [[255, 0, 0], [0, 255, 0], [UNSEEN] * 3, [UNSEEN] * 3]
    assert by_photographs(xyz, Capture((), "none")).tolist() == [[UNSEEN] * 3] * 4


def test_points_behind_are_not_projected() -> None:
    pixels, depth = project_points(torch.tensor([[0.0, 0, 4], [1, 1, -4]]), _camera())
    assert pixels.tolist() == [[WIDTH / 2, HEIGHT / 2], [-1, -1]]
    assert depth.tolist() == [4, -4]


def test_height_and_intensity_go_from_cold_to_warm() -> None:
    heights = by_height(torch.tensor([[0.0, 0, -2], [0, 0, 3]])).astype(int)
    strengths = by_intensity(torch.tensor([5.0, 200.0])).astype(int)
    for cold, warm in (heights, strengths):
        assert cold[2] - cold[0] > 0 > warm[2] - warm[0]
    assert by_height(torch.zeros(0, 3)).shape == (0, 3)
