"""Moments of several cameras stay whole, and rules hold out what they say and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fewview.recon.pipeline.reconstruct_config import ReconstructConfig
from fewview.recon.pipeline.select_views import select_views
from fewview.recon.poses import PosesConfig
from fewview.recon.poses.triangulate import _pairs
from fewview.scene import BadInputError, Cameras, Capture, Frame
from fewview.scene.moments import held_out, is_synchronised, moments, whole_moments


def rig(cameras: int = 3, count: int = 10, timed: bool = True) -> Capture:
    """`count` moments of cam0, cam1, ..., camera by camera."""
    frames = tuple(
        Frame(
            name=f"cam{c}/{n:03d}.png",
            width=4,
            height=4,
            load=lambda: np.zeros((4, 4, 3), np.uint8),
            time_s=n / 30 if timed else None,
            camera=f"cam{c}",
        )
        for c in range(cameras)
        for n in range(count)
    )
    return Capture(frames, "a rig")


def test_moments_are_in_the_order_of_time() -> None:
    assert moments(rig(2, 3)) == [[0, 3], [1, 4], [2, 5]]
    assert moments(rig(2, 3), [5, 1, 2]) == [[1], [2, 5]]


@pytest.mark.parametrize(("cameras", "count", "expected"), [(3, 10, True), (1, 10, False), (3, 1, False)])
def test_cameras_that_film_the_same(cameras: int, count: int, expected: bool) -> None:
    assert is_synchronised(rig(cameras, count)) is expected
    assert not is_synchronised(rig(cameras, count, timed=False))


@pytest.mark.parametrize("views", [1, 2, 3, 7, 12, 29, 30, 100])
def test_views_are_whole_moments_spread_over_the_time(views: int) -> None:
    chosen = whole_moments(rig(), range(30), views)
    assert len(chosen) % 3 == 0
    assert abs(len(chosen) - min(views, 30)) <= 2
    assert all(set(m) <= set(chosen) or not set(m) & set(chosen) for m in moments(rig()))
    if views >= 6:
        assert {0, 9} <= set(chosen)


def selected(**options: object) -> Capture:
    return select_views(rig(), ReconstructConfig(**options))  # type: ignore[arg-type]


def test_a_whole_camera_is_held_out() -> None:
    capture = selected(hold_out="camera:cam1", views=8)
    test = set(capture.test or ())
    assert {capture.frames[i].camera for i in test} == {"cam1"}
    assert len(test) == 10
    train = [i for i in range(len(capture)) if i not in test]
    assert {capture.frames[i].camera for i in train} == {"cam0", "cam2"}
    assert len(train) == 8
    assert len({capture.frames[i].time_s for i in train}) == 4


def test_every_nth_moment_is_held_out_of_all_cameras() -> None:
    capture = selected(hold_out="moments:4")
    times = sorted({round((capture.frames[i].time_s or 0) * 30) for i in capture.test or ()})
    assert times == [3, 7]
    assert len(capture.test or ()) == 6
    assert len(capture) == 30


def test_views_that_are_no_whole_number_of_moments_are_said() -> None:
    capture = selected(views=10)
    assert len(capture) == 9
    assert "10 training photographs were asked for; 9 were taken, those of 3 whole moments." in capture.notes


def test_a_rule_replaces_the_split_of_the_data_set_with_a_note() -> None:
    capture = select_views(replace(rig(), test=(0, 1)), ReconstructConfig(hold_out="camera:cam2"))
    assert [capture.frames[i].camera for i in capture.test or ()] == ["cam2"] * 10
    assert any("own split is not used" in note for note in capture.notes)


@pytest.mark.parametrize(
    ("rule", "match"),
    [
        ("camera:cam7", "cameras of a rig are cam0, cam1, cam2"),
        ("camera:", "camera:NAME or moments:N is expected"),
        ("moments:1", "N at least 2"),
        ("moments:x", "N at least 2"),
        ("moments:-3", "N at least 2"),
        ("moments:11", "has 10 moments, and 11 or more"),
        ("frames:8", "camera:NAME or moments:N is expected"),
        ("", "camera:NAME or moments:N is expected"),
    ],
)
def test_rules_that_cannot_be_used(rule: str, match: str) -> None:
    with pytest.raises(BadInputError, match=match):
        held_out(rig(), rule)


def test_rules_for_captures_that_do_not_know() -> None:
    with pytest.raises(BadInputError, match="no different times"):
        held_out(rig(timed=False), "moments:4")
    with pytest.raises(BadInputError, match="cam0 is the only camera"):
        held_out(rig(1), "camera:cam0")
    unnamed = replace(rig(), frames=tuple(replace(f, camera=None) for f in rig().frames))
    with pytest.raises(BadInputError, match="does not say which camera"):
        held_out(unnamed, "camera:cam0")


def test_options_that_contradict_each_other() -> None:
    with pytest.raises(BadInputError, match="--eval and --hold-out"):
        ReconstructConfig(eval=True, hold_out="moments:8")
    with pytest.raises(BadInputError, match="--choose useful cannot be used"):
        selected(views=6, choose="useful")


def test_points_of_a_rig_come_from_pairs_of_one_moment() -> None:
    capture = rig(3, 4)
    pose = torch.eye(4).repeat(12, 1, 1)
    pose[:, 0, 3] = torch.arange(3).repeat_interleave(4) * 0.5
    pairs = _pairs(capture.with_cameras(Cameras.pinhole(pose, 5.0, 4, 4), None), PosesConfig())
    assert sorted(pairs) == sorted((a, b) for m in moments(capture) for a in m for b in m if a < b)
