"""The viewer's dragging without a browser: handles, undo, and the file that does the same on the command line."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from fewview.scene.edit import dragged, dragged_film, freeze, read_drag
from fewview.scene.edit.drag_file import handles_in
from fewview.scene.errors import BadInputError
from fewview.viewer.drag_session import STEPS, DragSession
from support.dragged_scenes import LENGTH, limb

MOVE, TURN = torch.tensor([0.0, 0.3, 0.0]), torch.tensor([-0.5, 0.0, 0.0])
NOTHING = torch.zeros(3)
TOP, BOTTOM = torch.tensor([0.0, 0.2, LENGTH]), torch.tensor([0.0, 0.2, 0.0])


@pytest.fixture
def session() -> DragSession:
    """The limb at its first moment, with an anchor at its foot and a handle at its end."""
    s = DragSession(limb(200), None)
    s.add(s.nearest(BOTTOM), 2)
    s.add(s.nearest(TOP), 2)
    return s


def test_a_handle_leads_and_others_hold(session) -> None:
    assert session.facts() is None
    session.lead(1, MOVE, TURN)
    top, foot = session.grips[1].handle, session.grips[0].handle
    assert torch.equal(session.points[top.points], top.places(session.frozen.points))
    assert torch.equal(session.points[foot.points], session.frozen.points[foot.points])
    assert session.facts().distance == 0
    assert session.facts().moved > 20
    assert session.is_dragged


def test_a_drag_is_one_step_until_the_hand_lets_go(session) -> None:
    for share in (0.25, 0.5, 1.0):
        session.lead(1, share * MOVE, NOTHING)
    session.let_go()
    far = session.points.clone()
    session.lead(1, MOVE, TURN)
    assert session.undo_name == "Lead handle 2"
    session.undo()
    assert torch.equal(session.points, far)
    session.undo()
    assert torch.equal(session.points, session.frozen.points)
    assert session.undo_name == "Handle 2"
    session.redo()
    assert torch.equal(session.points, far)
    session.undo()
    session.undo()
    session.undo()
    assert session.undo_name is None
    assert session.grips == ()
    session.undo()
    for _ in range(5):
        session.redo()
    assert session.redo_name is None
    assert session.is_dragged


def test_the_history_forgets_its_oldest_steps_and_keeps_the_rest(session) -> None:
    for i in range(STEPS + 20):
        session.lead(1, (i + 1) * 1e-3 * MOVE, NOTHING)
        session.let_go()
    for _ in range(STEPS + 40):
        session.undo()
    assert torch.equal(session.points, session.frozen.points)


def test_a_touch_does_not_move_an_anchor(session) -> None:
    """A page tells places in float32, also of a gizmo that was only touched."""
    session.lead(1, MOVE, NOTHING)
    session.lead(0, torch.tensor([1e-8, 0, -1e-7]), torch.tensor([0, 1e-8, 0]))
    assert session.grips[0].handle.is_anchor


def test_the_last_anchor_cannot_be_moved(session) -> None:
    session.lead(1, MOVE, NOTHING)
    before = session.points.clone()
    with pytest.raises(BadInputError, match="add an anchor"):
        session.lead(0, MOVE, NOTHING)
    with pytest.raises(BadInputError, match="add an anchor"):
        session.remove(0)
    assert torch.equal(session.points, before)
    session.remove(1)
    torch.testing.assert_close(session.points, session.frozen.points)


def test_a_handle_takes_what_no_other_has_and_where_it_is_now(session) -> None:
    session.lead(1, MOVE, TURN)
    middle = session.nearest(session.points[(session.frozen.points[:, 2] - 1).abs().argmin()])
    before = session.points.clone()
    index = session.add(middle, 4)
    assert session.owner(middle) == index == 2
    taken = torch.cat([grip.handle.points for grip in session.grips])
    assert len(taken.unique()) == len(taken)
    handle = session.grips[index].handle
    assert not handle.is_anchor
    apart = handle.places(session.frozen.points) - before[handle.points]
    assert float(apart.norm(dim=-1).max()) < 0.05  # the group is bent a little, and a handle is rigid
    with pytest.raises(BadInputError, match="belongs to a handle"):
        session.add(middle, 0)


def test_what_was_dragged_can_be_done_again_by_a_file(session, tmp_path: Path) -> None:
    session.mode = "from_init"
    session.lead(1, MOVE, TURN)
    path = tmp_path / "drag.json"
    path.write_bytes(session.drag_file())
    file = read_drag(path)
    assert (file.time_s, file.mode) == (0.0, "from_init")
    frozen = freeze(limb(200), file.time_s)
    keys, _ = handles_in(file, frozen)
    edited, facts = dragged(frozen, keys[0].handles, file.mode)
    assert facts.distance == 0
    torch.testing.assert_close(edited.gaussians.means, session.splat().gaussians.means, rtol=0, atol=1e-5)  # float32
    turned = keys[0].handles[1].turn
    assert float(turned.norm()) == pytest.approx(0.5)
    assert math.degrees(0.5) == pytest.approx(28.6, abs=0.1)


def test_key_frames_make_a_film_that_a_file_makes_again(session, tmp_path: Path) -> None:
    session.keep(1.0)
    session.lead(1, MOVE, TURN)
    led = session.points.clone()
    session.keep(2.5)
    film, facts = session.film()
    assert film.time_range_s == (1.0, 2.5)
    assert facts.distance == 0
    torch.testing.assert_close(film.at(1.0).means, session.frozen.still.gaussians.means, rtol=0, atol=1e-5)
    settled = session.frozen.edited(session._done[-1].deformation)  # led by hand and led by the film: nearly the same
    torch.testing.assert_close(film.at(2.5).means, settled.gaussians.means, rtol=0, atol=0.05 * LENGTH)
    moved = float((film.at(1.75).means - film.at(1.0).means).norm(dim=-1).max())
    assert 0.1 < moved < float((film.at(2.5).means - film.at(1.0).means).norm(dim=-1).max())
    assert torch.equal(session.points, led)  # the film leaves the drag as it is

    path = tmp_path / "film.json"
    path.write_bytes(session.drag_file())
    file = read_drag(path)
    keys, _ = handles_in(file, session.frozen)
    again, _ = dragged_film(session.frozen, keys, file.mode)
    torch.testing.assert_close(again.at(2.0).means, film.at(2.0).means, rtol=0, atol=1e-5)  # degrees in the file


def test_a_handle_of_a_later_key_frame_is_held_where_the_earlier_one_carried_it(session) -> None:
    session.lead(1, MOVE, TURN)
    session.keep(0.0)
    middle = session.nearest(session.points[(session.frozen.points[:, 2] - 1).abs().argmin()])
    carried = session.points.clone()
    index = session.add(middle, 1)
    session.keep(1.0)
    points = session.grips[index].handle.points
    first, second = session._film_keys()
    assert [h.points.tolist() for h in first.handles] == [h.points.tolist() for h in second.handles]
    places = first.handles[index].places(session.frozen.points)
    assert float((places - carried[points]).norm(dim=-1).max()) < 0.05
    assert float((places - session.frozen.points[points]).norm(dim=-1).max()) > 0.05


def test_key_frames_are_steps_of_the_history_and_one_second_has_one(session) -> None:
    session.keep(1.0)
    session.lead(1, MOVE, NOTHING)
    session.keep(0.5)
    session.keep(1.0)
    assert [key.time_s for key in session.keys] == [0.5, 1.0]
    assert torch.equal(session.keys[1].deformation.points, session.points)
    assert session.undo_name == "Key frame at 1 s"
    session.undo()
    assert torch.equal(session.keys[1].deformation.points, session.frozen.points)
    session.undo()
    assert [key.time_s for key in session.keys] == [1.0]
    with pytest.raises(BadInputError, match="two key frames"):
        session.film()
    with pytest.raises(BadInputError, match="time in seconds"):
        session.keep(math.nan)
    with pytest.raises(BadInputError, match="add a handle"):
        DragSession(limb(50), None).keep(0.0)
