"""The viewer's clock: one moment for everything that has times."""

from __future__ import annotations

import pytest
from fewview.viewer.clock import KEY_FRAMES, SECONDS, Clock, Timeline, joined, pace


def test_a_timeline_needs_two_moments() -> None:
    assert Timeline.over([]) is None
    assert Timeline.over([2.0, 2.0]) is None
    assert Timeline.over([3.0, 1.0, 2.0]) == Timeline(1.0, 3.0)


def test_timelines_are_joined_and_seconds_go_before_key_frames() -> None:
    assert joined([]) is None
    assert joined([None, None]) is None
    assert joined([None, Timeline(1, 3), Timeline(0, 2)]) == Timeline(0, 3)
    drive = Timeline(1, 40, KEY_FRAMES, 3)
    assert joined([drive, None]) == drive
    assert joined([drive, Timeline(0, 2)]) == Timeline(0, 2)
    both = Clock(joined([drive, Timeline(0, 2)]))
    assert both.moves(Timeline(5, 6))
    assert not both.moves(drive)
    assert not both.moves(None)


def test_every_new_moment_is_told_once_and_lies_within() -> None:
    clock = Clock(Timeline(1.0, 3.0))
    told: list[float] = []
    clock.on_change(told.append)
    assert clock.now is None  # nothing was chosen yet
    for moment in (2.0, 2.0, 9.0, 3.0, -1.0):
        clock.go_to(moment)
    assert told == [2.0, 3.0, 1.0]
    assert clock.now == 1.0


def test_two_controls_that_follow_each_other_come_to_rest() -> None:
    clock = Clock(Timeline(0.0, 10.0))
    first, second = [0.0], [0.0]

    def follow(control: list[float]) -> None:
        def changed(moment: float) -> None:
            control[0] = moment
            clock.go_to(control[0])  # as a slider that was set calls back

        clock.on_change(changed)

    follow(first)
    follow(second)
    clock.go_to(4.0)
    assert first == second == [4.0]


@pytest.mark.parametrize(("unit", "step"), [(SECONDS, 10 / 200), (KEY_FRAMES, 1.0)])
def test_steps_of_a_slider(unit: str, step: float) -> None:
    assert Clock(Timeline(0, 10, unit)).step == pytest.approx(step)


def test_without_a_timeline_nothing_happens() -> None:
    clock = Clock(None)
    clock.on_change(lambda _: pytest.fail("there is no time to go to"))
    clock.go_to(1.0)
    assert clock.now is None
    assert not clock.moves(Timeline(0, 1))


@pytest.mark.parametrize(("first", "last", "expected"), [(2.0, 5.0, 1.0), (0.0, 1.0, 1 / 6), (0.0, 600.0, 100.0)])
def test_seconds_are_played_as_they_are_and_other_units_in_six_seconds(first, last, expected) -> None:
    assert pace(first, last) == pytest.approx(expected)
    assert pace(first, first) == 1.0
