"""Up axes: in words, snapping, and the turn into frames whose up is +y."""

from __future__ import annotations

import math

import pytest
import torch
from fewview.commands.render import around
from fewview.scene.errors import BadInputError
from fewview.scene.formats.axes import file_from_world, parse_axis, snapped
from fewview.scene.gaussians import Gaussians
from fewview.scene.geometry import Similarity, so3_exp
from hypothesis import given, settings
from hypothesis import strategies as st
from support.datasets import random_gaussians
from support.small_run import small_gaussians

directions = st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: math.hypot(*v) > 1e-2)
ROUNDING = 1e-12  # float64


@settings(deadline=None)
@given(direction=directions)
def test_the_turn_is_a_rotation_that_takes_up_to_y(direction: tuple[float, float, float]) -> None:
    up = parse_axis(" ".join(map(repr, direction)))
    turn = file_from_world(up)
    torch.testing.assert_close(turn.rotation @ turn.rotation.T, torch.eye(3).double(), rtol=0, atol=ROUNDING)
    assert float(torch.det(turn.rotation)) == pytest.approx(1, abs=ROUNDING)
    torch.testing.assert_close(
        turn.rotation @ torch.tensor(up, dtype=torch.float64), torch.tensor([0, 1, 0.0]).double(), rtol=0, atol=ROUNDING
    )
    # And x stays as near to x as it can: nothing of it goes back or forth.
    if abs(up[0]) < 0.9:
        assert abs(float(turn.rotation[2, 0])) < ROUNDING


@pytest.mark.parametrize(
    ("up", "rows"),
    [
        (None, [[1, 0, 0], [0, -1, 0], [0, 0, -1]]),
        ((0, -1, 0), [[1, 0, 0], [0, -1, 0], [0, 0, -1]]),
        ((0, 1, 0), [[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
        ((0, 0, 1), [[1, 0, 0], [0, 0, 1], [0, -1, 0]]),
        ((1, 0, 0), [[0, -1, 0], [1, 0, 0], [0, 0, 1]]),
        ((-1, 0, 0), [[0, 1, 0], [-1, 0, 0], [0, 0, 1]]),
    ],
)
def test_the_usual_turns_are_exact(up: tuple[float, float, float] | None, rows: list[list[float]]) -> None:
    assert file_from_world(up).rotation.tolist() == rows


@pytest.mark.parametrize(
    ("text", "axis"),
    [
        ("x", (1, 0, 0)),
        ("-y", (0, -1, 0)),
        (" Z ", (0, 0, 1)),
        ("+z", (0, 0, 1)),
        ("0 0 -2", (0, 0, -1)),
        ("3,0,4", (0.6, 0, 0.8)),
    ],
)
def test_axes_in_words(text: str, axis: tuple[float, float, float]) -> None:
    assert parse_axis(text) == pytest.approx(axis)
    assert not any(math.copysign(1, value) < 0 for value in parse_axis(text) if value == 0)  # no -0 in files


@pytest.mark.parametrize(
    "text", ["", "-", "w", "--y", "yy", "1 2", "1 2 3 4", "0 0 0", "nan 0 1", "inf 0 0", "1e300 1 1"]
)
def test_words_that_are_no_axes(text: str) -> None:
    with pytest.raises(BadInputError, match="is no axis"):
        parse_axis(text)


def test_an_estimate_within_half_a_degree_snaps() -> None:
    for degrees, expected in ((0.4, True), (0.6, False), (-0.45, True)):
        tilt = math.radians(degrees)
        up = (math.sin(tilt), -math.cos(tilt), 0.0)
        assert (snapped(up) == (0, -1, 0)) is expected
        assert snapped(up) in ((0, -1, 0), up)


@settings(deadline=None, max_examples=20)
@given(direction=directions, degree=st.integers(0, 4))
def test_a_splat_that_goes_and_comes_back_is_the_same(direction: tuple[float, float, float], degree: int) -> None:
    g = random_gaussians(20, degree)
    motion = Similarity(torch.tensor(1.7), so3_exp(3 * torch.tensor(direction)), torch.tensor([1.0, -2, 3]))
    back = g.moved(motion).moved(motion.inverse())
    for name in ("means", "log_scales", "opacity_logits", "sh"):
        # Two passes in float32 through numbers of order 10.
        torch.testing.assert_close(getattr(back, name), getattr(g, name), rtol=0, atol=2e-5)
    alignment = (back.quats * g.quats).sum(1).abs() / (back.quats.norm(dim=1) * g.quats.norm(dim=1))
    torch.testing.assert_close(alignment, torch.ones(20), rtol=0, atol=1e-5)


def test_cameras_around_a_bare_splat_are_upright() -> None:
    g = small_gaussians(50)
    usual = around(g)
    turn = so3_exp(torch.tensor([0.9, -0.4, 0.3]))
    turned = g.moved(Similarity(torch.ones(()), turn, torch.zeros(3)))
    up = turn @ torch.tensor([0.0, -1.0, 0.0])
    assert torch.equal(usual.cam_from_world, around(g, (0.0, -1.0, 0.0)).cam_from_world)
    cameras = around(Gaussians(*vars(turned).values()), tuple(up.tolist()))
    for i in range(len(cameras)):
        right, down = cameras.cam_from_world[i, 0, :3], cameras.cam_from_world[i, 1, :3]
        assert abs(float(right @ up)) < 1e-5  # float32
        assert float(down @ up) < -0.5
