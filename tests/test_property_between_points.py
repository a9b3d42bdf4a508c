"""Depth guessed between sparse points of one view."""

from __future__ import annotations

import numpy as np
import pytest
from fewview.recon.evidence.between_points import inverse_depth_between


def plane(points: np.ndarray) -> np.ndarray:
    """Inverse depth of a plane: linear over the picture."""
    return 0.3 + 0.002 * points[:, 0] - 0.001 * points[:, 1]


def test_planes_are_right_inside_the_hull_and_the_nearest_point_counts_outside() -> None:
    rng = np.random.default_rng(0)
    known = np.concatenate([rng.uniform(0, 40, (30, 2)), [[0, 0], [40, 0], [0, 40], [40, 40]]])
    inside, outside = rng.uniform(0, 40, (200, 2)), rng.uniform(50, 90, (50, 2))
    np.testing.assert_allclose(inverse_depth_between(known, plane(known), inside), plane(inside), rtol=1e-9)
    nearest = known[np.argmin(((outside[:, None] - known[None]) ** 2).sum(-1), axis=1)]
    np.testing.assert_array_equal(inverse_depth_between(known, plane(known), outside), plane(nearest))


def test_values_never_leave_the_range_of_the_points() -> None:
    rng = np.random.default_rng(1)
    known, values = rng.uniform(0, 40, (50, 2)), rng.uniform(0.1, 2, 50)
    found = inverse_depth_between(known, values, rng.uniform(-20, 60, (500, 2)))
    assert found.min() >= values.min() - 1e-12
    assert found.max() <= values.max() + 1e-12


@pytest.mark.parametrize(
    "known",
    [[[3.0, 4.0]], [[3.0, 4.0], [9.0, 1.0]], [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [5.0, 5.0]], [[2.0, 2.0]] * 5],
    ids=["one", "two", "on a line", "all the same"],
)
def test_too_few_points_for_a_triangle_give_the_nearest(known: list[list[float]]) -> None:
    points = np.array(known)
    values = 0.1 + np.arange(len(points)) * 0.0 + plane(points)
    wanted = np.random.default_rng(2).uniform(-5, 10, (20, 2))
    found = inverse_depth_between(points, values, wanted)
    nearest = np.argmin(((wanted[:, None] - points[None]) ** 2).sum(-1), axis=1)
    np.testing.assert_array_equal(found, values[nearest])


def test_a_known_point_keeps_its_value_and_nothing_wanted_gives_nothing() -> None:
    known = np.random.default_rng(3).uniform(0, 40, (20, 2))
    np.testing.assert_allclose(inverse_depth_between(known, plane(known), known), plane(known), rtol=1e-9)
    assert inverse_depth_between(known, plane(known), np.zeros((0, 2))).shape == (0,)
