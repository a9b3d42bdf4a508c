"""Parts of a capture or of a point cloud keep what belongs to them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fewview.scene.cameras import Cameras
from fewview.scene.capture import Capture, Frame, evenly_spaced, fit_size
from fewview.scene.geometry import Similarity, so3_exp, transform_points
from hypothesis import given, settings
from hypothesis import strategies as st
from support.datasets import random_points, ring_cameras


def _capture(n: int, test: tuple[int, ...] | None = None) -> Capture:
    def frame(i: int) -> Frame:
        return Frame(f"{i:03d}.png", 40, 30, lambda: np.full((30, 40, 3), i, np.uint8))

    return Capture(tuple(frame(i) for i in range(n)), "made up", ring_cameras(n), random_points(50, n), test)


def _pairs(capture: Capture) -> set[tuple[tuple[float, ...], str]]:
    """(point position, frame name) of every observation: what renumbering must not change."""
    points = capture.points
    assert points is not None
    assert points.seen_point is not None
    assert points.seen_view is not None
    return {
        (tuple(points.xyz[p].tolist()), capture.names[v])
        for p, v in zip(points.seen_point.tolist(), points.seen_view.tolist(), strict=True)
    }


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 7), min_size=1, unique=True))
def test_a_subset_keeps_exactly_its_own_observations(indices: list[int]) -> None:
    whole = _capture(8, test=(1, 5))
    part = whole.subset(indices)
    assert part.names == [whole.names[i] for i in indices]
    assert part.cameras is not None
    assert whole.cameras is not None
    assert torch.equal(part.cameras.cam_from_world, whole.cameras.cam_from_world[indices])
    names = set(part.names)
    of_names = {pair for pair in _pairs(whole) if pair[1] in names}
    seen = [position for position, _ in of_names]
    assert _pairs(part) == {pair for pair in of_names if seen.count(pair[0]) >= 2}
    assert part.test is not None
    assert {part.names[i] for i in part.test} == {whole.names[i] for i in (1, 5)} & names
    assert int(part.image(0)[0, 0, 0]) == indices[0]


def test_points_without_observations_stay() -> None:
    points = random_points(5, 3)
    bare = replace(points, seen_point=None, seen_view=None)
    assert len(bare.in_views([0])) == 5


def test_views_that_nobody_saw_from_are_legal() -> None:
    points = random_points(5, 3)
    assert len(points.in_views([100, 101])) == 0
    assert len(points.in_views([])) == 0


def test_repeated_observations_count_once() -> None:
    points = replace(random_points(2, 2), seen_point=torch.tensor([0, 0, 1, 1]), seen_view=torch.tensor([0, 0, 0, 1]))
    kept = points.in_views([0, 1])
    assert torch.equal(kept.xyz, points.xyz[1:])


def test_the_split_is_every_eighth_in_name_order() -> None:
    capture = _capture(17)
    train, test = capture.split()
    assert test == [0, 8, 16]
    assert sorted(train + test) == list(range(17))
    shuffled = capture.subset([16, 3, 0, *range(4, 16), 1, 2])
    assert {shuffled.names[i] for i in shuffled.split()[1]} == {"000.png", "008.png", "016.png"}


def test_a_prescribed_split_wins() -> None:
    train, test = _capture(6, test=(4, 1)).split()
    assert (train, test) == ([0, 2, 3, 5], [1, 4])


def test_cameras_must_match_frames() -> None:
    with pytest.raises(ValueError, match="expected 3 cameras"):
        replace(_capture(3), cameras=ring_cameras(2))


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(2, 20))
def test_evenly_spaced_takes_both_ends(n: int, count: int) -> None:
    chosen = evenly_spaced(range(n), count)
    assert len(chosen) == min(n, count)
    assert chosen == sorted(set(chosen))
    assert (chosen[0], chosen[-1]) == (0, n - 1)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 2000))
def test_fitting_never_enlarges(width: int, height: int, max_side: int) -> None:
    w, h = fit_size(width, height, max_side)
    assert 1 <= w <= width
    assert 1 <= h <= height
    assert max(w, h) <= max_side


def test_resizing_cameras_moves_pixels_with_the_image() -> None:
    cameras = ring_cameras(3)
    small = cameras.resized(20, 10)
    point = torch.tensor([0.3, -0.2, 2.0])
    before, after = cameras.K @ point, small.K @ point
    # The same ray meets the same relative position: pixel edges scale, not pixel centres.
    torch.testing.assert_close(after[:, 0] / 20, before[:, 0] / 40)
    torch.testing.assert_close(after[:, 1] / 10, before[:, 1] / 30)


def test_moving_the_world_moves_no_pixel() -> None:
    cameras = ring_cameras(3)
    similarity = Similarity(torch.tensor(2.0), so3_exp(torch.tensor([0.1, 0.2, 0.3])), torch.tensor([1.0, 2.0, 3.0]))
    points = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    before = transform_points(cameras.cam_from_world, points.expand(3, 5, 3))
    after = transform_points(cameras.transformed(similarity).cam_from_world, similarity(points).expand(3, 5, 3))
    torch.testing.assert_close(after, 2 * before, rtol=0, atol=2e-5)  # float32 sums of numbers up to 10


def test_stacking_undoes_indexing() -> None:
    cameras = replace(ring_cameras(3), times_s=torch.tensor([0.0, 0.5, 1.0]))
    stacked = Cameras.stack([cameras[i] for i in range(3)])
    assert torch.equal(stacked.cam_from_world, cameras.cam_from_world)
    assert stacked.times_s is not None
    assert torch.equal(stacked.times_s, torch.tensor([0.0, 0.5, 1.0]))
