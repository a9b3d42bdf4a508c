"""Selections by definition, floaters that were planted, frames, picking, and the editor's history."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from fewview.scene.cameras import Cameras
from fewview.scene.edit import (
    Editor,
    FloaterLimits,
    centered_at,
    combined,
    floaters,
    ground_normal,
    in_box,
    in_lasso,
    in_rectangle,
    in_sphere,
    median_point,
    moved_points,
    pick,
    scaled_to_length,
    turned_up,
)
from fewview.scene.edit.floaters import isolation, needle_aspect, neighbour_distance, scene_radius
from fewview.scene.errors import BadInputError
from fewview.scene.gaussians import Gaussians
from fewview.scene.geometry import Similarity, se3_from, so3_exp, transform_points
from fewview.scene.point_cloud import PointCloud
from hypothesis import given, settings
from hypothesis import strategies as st
from support.small_run import small_cameras, small_gaussians

NAN_ROWS = torch.tensor([[math.nan, 0, 0], [0, math.inf, 0], [0, 0, -math.inf]])


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def splat(means: torch.Tensor, sigma: float = 0.05, opacity: float = 0.9) -> Gaussians:
    n = len(means)
    quats = torch.tensor([1.0, 0, 0, 0]).repeat(n, 1)
    logit = math.log(opacity / (1 - opacity))
    return Gaussians(means, quats, torch.full((n, 3), math.log(sigma)), torch.full((n,), logit), torch.zeros(n, 1, 3))


# -- selections ------------------------------------------------------------------------------------------------


def test_a_box_and_a_sphere_select_what_lies_in_them() -> None:
    means = torch.cat([2 * draw(500, 3), NAN_ROWS])
    turn, center, half = so3_exp(torch.tensor([0.4, -0.8, 0.3])), torch.tensor([0.3, -0.2, 0.5]), [1.0, 0.5, 2.0]
    found = in_box(means, se3_from(turn, center), torch.tensor(half))
    local = [turn.T @ (p - center) for p in means]
    assert found.tolist() == [all(abs(float(x)) <= h for x, h in zip(p, half, strict=True)) for p in local]
    assert 5 < int(found.sum()) < 250
    # A box whose own frame is twice as large and whose half sizes are half as long is the same box.
    scaled = se3_from(2 * turn, center)
    assert torch.equal(in_box(means, scaled, torch.tensor(half) / 2), found)
    ball = in_sphere(means, center, 1.5)
    assert ball.tolist() == [float((p - center).norm()) <= 1.5 for p in means]
    assert not bool((found | ball)[-3:].any())


def test_selections_move_with_the_scene() -> None:
    means = 2 * draw(500, 3)
    move = Similarity(torch.tensor(3.0), so3_exp(torch.tensor([1.0, 0.2, -0.3])), torch.tensor([5.0, 1, -2]))
    pose = se3_from(so3_exp(torch.tensor([0.4, -0.8, 0.3])), torch.tensor([0.3, -0.2, 0.5]))
    half, moved = torch.tensor([1.0, 0.5, 2.0]), torch.eye(4)
    moved[:3, :3], moved[:3, 3] = 3 * move.rotation @ pose[:3, :3], move(pose[:3, 3])
    assert torch.equal(in_box(means, pose, half), in_box(move(means), moved, half))
    camera = small_cameras()[1]
    polygon = torch.tensor([[20.0, 10], [70, 5], [60, 60], [30, 50]])
    seen = in_lasso(means, camera, polygon, 4.5)
    assert torch.equal(seen, in_lasso(move(means), camera.transformed(move), polygon, 3 * 4.5))
    assert 5 < int(seen.sum()) < 250


def test_screen_selections_see_only_what_is_before_the_camera() -> None:
    camera = Cameras.pinhole(torch.eye(4)[None], 100.0, 200, 100)[0]
    means = torch.tensor([[0, 0, 2.0], [0, 0, -2], [0, 0, 0], [0.5, 0, 2], [0, 0, 9], [math.nan, 0, 2]])
    # The middle of the picture is (100, 50); half a unit at a depth of 2 is 25 pixels.
    assert in_rectangle(means, camera, (90, 40), (110, 60)).tolist() == [True, False, False, False, True, False]
    assert in_rectangle(means, camera, (130, 60), (90, 40), max_depth=5).tolist() == [1, 0, 0, 1, 0, 0]
    corners = torch.tensor([[90.0, 40], [110, 40], [110, 60], [90, 60]])
    assert torch.equal(in_lasso(means, camera, corners), in_rectangle(means, camera, (90, 40), (110, 60)))
    with pytest.raises(BadInputError, match="three corners"):
        in_lasso(means, camera, corners[:2])


def test_a_lasso_follows_the_even_odd_rule() -> None:
    """A five-pointed star: its points are selected, its middle, which the line goes around twice, is not."""
    camera = Cameras.pinhole(torch.eye(4)[None], 100.0, 200, 200)[0]
    angle = torch.arange(5) * (4 * math.pi / 5)
    star = 100 + 50 * torch.stack([angle.sin(), -angle.cos()], dim=-1)
    inner, tip = torch.tensor([[0.0, 0, 1]]), torch.tensor([[0.0, -0.4, 1]])
    assert in_lasso(torch.cat([inner, tip]), camera, star).tolist() == [False, True]
    means = torch.cat([draw(400, 2) * 0.4, torch.ones(400, 1)], dim=1)
    crossings = torch.tensor([_winding(p, star.double()) for p in (100 + 100 * means[:, :2]).double()])
    assert torch.equal(in_lasso(means, camera, star), crossings % 2 == 1)


def _winding(point: torch.Tensor, polygon: torch.Tensor) -> int:
    """Winding number of the polygon around the point: the angles to its corners, added up."""
    to = polygon - point
    angle = torch.atan2(to[:, 1], to[:, 0])
    turn = (angle.roll(-1) - angle + math.pi) % (2 * math.pi) - math.pi
    return round(float(turn.sum()) / (2 * math.pi))


def test_selections_combine_as_sets() -> None:
    a, b = torch.tensor([1, 1, 0, 0]).bool(), torch.tensor([1, 0, 1, 0]).bool()
    modes = ("replace", "add", "remove", "intersect")
    assert [combined(a, b, mode).int().tolist() for mode in modes] == [
        [1, 0, 1, 0], [1, 1, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0]
    ]  # fmt: skip
    assert combined(a, b) is not b


# -- floaters --------------------------------------------------------------------------------------------------


def test_planted_floaters_are_found_and_nothing_else() -> None:
    means = torch.cat([torch.rand(2000, 3, generator=torch.Generator().manual_seed(1)), 4 * draw(20, 3) + 30])
    g = splat(means)
    log_scales, opacity = g.log_scales.clone(), g.opacity_logits.clone()
    log_scales[:10] = math.log(3.0)
    opacity[10:30] = -6.0
    found = floaters(Gaussians(g.means, g.quats, log_scales, opacity, g.sh))
    assert {name: mask.nonzero()[:, 0].tolist() for name, mask in found.items()} == {
        "min_opacity": list(range(10, 30)),
        "max_size": list(range(10)),
        "max_isolation": list(range(2000, 2020)),
    }


def test_floaters_do_not_depend_on_the_unit_or_the_frame() -> None:
    g = splat(torch.cat([draw(400, 3), 9 * draw(30, 3)]), sigma=0.9)
    move = Similarity(torch.tensor(250.0), so3_exp(torch.tensor([0.0, 0, math.pi / 2])), torch.tensor([5.0, 1, -2]))
    limits = FloaterLimits(max_isolation=3.0, max_needle=5.0)
    before, after = floaters(g, limits), floaters(g.moved(move), limits)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert int(before["max_isolation"].sum()) > 5


def test_neighbour_distances_are_those_of_all_pairs() -> None:
    places = draw(120, 3, seed=3)
    means = torch.cat([places, places[:40], NAN_ROWS])  # copies in one place count once
    expected = torch.cdist(places.double(), places.double()).sort(1).values[:, 1:9].mean(1)
    found = neighbour_distance(means)
    torch.testing.assert_close(found[:120].double(), expected, rtol=1e-6, atol=0)  # kept as float32
    assert torch.equal(found[120:160], found[:40])
    assert bool(found[160:].isinf().all())


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_few_points_have_few_neighbours(count) -> None:
    means = draw(count, 3)
    assert len(neighbour_distance(means)) == count
    assert bool(torch.isfinite(neighbour_distance(means)).all()) == (count != 1)
    assert not any(bool(mask.any()) for mask in floaters(splat(means)).values())
    assert bool(neighbour_distance(torch.zeros(5, 3)).isinf().all())  # one place has no neighbour
    assert not bool(isolation(neighbour_distance(draw(200, 3))).isnan().any())


def test_needles_are_long_in_one_direction_only() -> None:
    g = splat(torch.zeros(4, 3))
    sizes = torch.tensor([[1.0, 1, 1], [10, 10, 0.1], [10, 1, 1], [1, 0, 0]])
    aspect = needle_aspect(Gaussians(g.means, g.quats, sizes.log(), g.opacity_logits, g.sh))
    torch.testing.assert_close(aspect, torch.tensor([1.0, 1.0, 10.0, math.inf]))  # float32 logarithms


def test_a_limit_that_is_none_is_told() -> None:
    with pytest.raises(BadInputError, match="max_size"):
        FloaterLimits(max_size=-1.0)
    assert scene_radius(NAN_ROWS) == 0.0


# -- frames ----------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=3), st.sampled_from([(0, 0, 1), (0, -1, 0), (1, 0, 0)]))
@settings(max_examples=50, deadline=None)
def test_up_becomes_the_axis(direction, axis) -> None:
    up = torch.tensor(direction, dtype=torch.float64)
    if float(up.norm()) < 1e-6:
        return
    turn = turned_up(up, axis)
    target = torch.tensor(axis, dtype=torch.float64)
    torch.testing.assert_close(turn(up) / up.norm(), target, rtol=0, atol=1e-9)
    torch.testing.assert_close(turn.rotation @ turn.rotation.T, torch.eye(3, dtype=torch.float64), rtol=0, atol=1e-12)
    assert float(torch.det(turn.rotation)) > 0.99


def test_frames_by_points() -> None:
    a, b = torch.tensor([1.0, 2, 3]), torch.tensor([1.0, 2, 7])
    scale = scaled_to_length(a, b, 10.0)
    assert float((scale(b.double()) - scale(a.double())).norm()) == pytest.approx(10.0)
    assert torch.equal(centered_at(a)(a.double()), torch.zeros(3, dtype=torch.float64))
    ground = torch.tensor([[0.0, 0, 1], [1, 0, 1], [0, 1, 1]])
    assert ground_normal(ground, torch.tensor([0.0, 0, 9])).tolist() == [0, 0, 1]
    assert ground_normal(ground, torch.tensor([0.0, 0, -9])).tolist() == [0, 0, -1]
    assert median_point(torch.cat([torch.tensor([[1.0, 2, 3]]), NAN_ROWS])).tolist() == [1, 2, 3]


def test_frames_that_cannot_be_are_sentences() -> None:
    same = torch.ones(3)
    for call, word in (
        (lambda: scaled_to_length(same, same, 1.0), "one place"),
        (lambda: scaled_to_length(same, 2 * same, 0.0), "metres"),
        (lambda: scaled_to_length(same, 2 * same, math.nan), "metres"),
        (lambda: turned_up(torch.zeros(3)), "no length"),
        (lambda: ground_normal(torch.outer(torch.arange(3.0), same), same), "one line"),
        (lambda: median_point(NAN_ROWS), "no Gaussians"),
    ):
        with pytest.raises(BadInputError, match=word):
            call()


def test_similarities_compose() -> None:
    a = Similarity(torch.tensor(2.0), so3_exp(torch.tensor([0.3, 0.1, -0.7])), torch.tensor([1.0, 2, 3])).double()
    b = Similarity(torch.tensor(0.3), so3_exp(torch.tensor([1.3, -0.1, 0.2])), torch.tensor([-4.0, 0, 3])).double()
    points = draw(10, 3).double()
    torch.testing.assert_close((a @ b)(points), a(b(points)), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close((a @ a.inverse())(points), points, rtol=0, atol=2e-6)  # so3_exp was float32
    torch.testing.assert_close((a @ Similarity.identity())(points), a(points), rtol=0, atol=0)


def test_points_follow_and_their_unit_with_them() -> None:
    cloud = PointCloud(draw(5, 3), torch.zeros(5, 3, dtype=torch.uint8), metric=True)
    move = Similarity(torch.tensor(2.0), torch.eye(3), torch.ones(3))
    torch.testing.assert_close(moved_points(cloud, move).xyz, 2 * cloud.xyz + 1)
    assert not moved_points(cloud, move).metric  # a unit is half a metre now
    assert moved_points(cloud, centered_at(torch.ones(3))).metric
    assert moved_points(cloud, move, metric=True).metric


# -- picking ---------------------------------------------------------------------------------------------------


def test_picking_finds_the_first_surface_and_its_place() -> None:
    means = torch.tensor([[0.0, 0, -1], [0, 0, 2], [0, 0, 5], [1, 0, 1]])
    g = splat(means)
    found = pick(g, torch.zeros(3), torch.tensor([0.0, 0, 3]))
    assert found is not None
    assert found.index == 1  # not the one behind, nor the one behind it, nor the one beside the ray
    torch.testing.assert_close(found.point, torch.tensor([0.0, 0, 2]).double(), rtol=0, atol=1e-6)
    assert pick(g, torch.zeros(3), torch.tensor([0.0, 1, 0])) is None
    assert pick(g[:0], torch.zeros(3), torch.tensor([0.0, 1, 0])) is None
    # What hardly takes light is looked through.
    opacity = g.opacity_logits.clone()
    opacity[1] = -3.0
    through = pick(Gaussians(g.means, g.quats, g.log_scales, opacity, g.sh), torch.zeros(3), torch.tensor([0.0, 0, 1]))
    assert through is not None
    assert through.index == 2


def test_picking_looks_at_the_shape_of_gaussians() -> None:
    """A disc across the ray and one along it, both with their centres beside the ray."""
    means = torch.tensor([[0.5, 0, 2.0], [0.5, 0, 3]])
    g = splat(means)
    sizes = torch.tensor([[0.0, 0.01, 1.0], [1.0, 1.0, 0.0]])
    flat = Gaussians(means, torch.zeros(2, 4), sizes.log(), g.opacity_logits, g.sh)
    found = pick(flat, torch.zeros(3), torch.tensor([0.0, 0, 1]))
    assert found is not None
    assert found.index == 1
    assert float(found.point[2]) == pytest.approx(3.0)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_picking_survives_anything(seed) -> None:
    rng = np.random.default_rng(seed)
    odd = np.array([0, 1, -1, 1e-30, 1e30, -1e30, 80, -80, np.inf, -np.inf, np.nan], np.float32)
    parts = [torch.from_numpy(rng.choice(odd, (20, *shape))) for shape in ((3,), (4,), (3,), (), (1, 3))]
    found = pick(Gaussians(*parts), torch.zeros(3), torch.tensor([0.3, 0.1, 1.0]))
    assert found is None or bool(torch.isfinite(found.point).all())


# -- history ---------------------------------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(st.sampled_from(["delete", "keep", "move", "undo", "redo"]), st.integers(0, 2**31)), max_size=25
)


def snapshot(editor: Editor) -> tuple[bytes, ...]:
    tensors = [editor.alive, *vars(editor.similarity).values(), *vars(editor.result()).values()]
    return tuple(t.numpy().tobytes() for t in tensors)


def apply(editor: Editor, what: str, seed: int) -> bool:
    rng = torch.Generator().manual_seed(seed)
    n = len(editor.original)
    if what == "move":
        move = Similarity(
            torch.rand((), generator=rng) + 0.5, so3_exp(torch.randn(3, generator=rng).double()).float(),
            torch.randn(3, generator=rng),
        )  # fmt: skip
        editor.move(move)
        return True
    share = (0.002, 0.3)[seed % 2]  # few are kept as indices, many as bits
    if what == "delete":
        return editor.delete(torch.rand(n, generator=rng) < share) > 0
    return editor.keep(torch.rand(n, generator=rng) > share) > 0


@given(STEPS)
@settings(max_examples=25, deadline=None)
def test_undo_and_redo_bring_back_identical_states(steps) -> None:
    editor = Editor(small_gaussians(150))
    states, at = [snapshot(editor)], 0
    for what, seed in steps:
        if what == "undo":
            assert editor.undo() == (at > 0)
            at = max(at - 1, 0)
        elif what == "redo":
            assert editor.redo() == (at + 1 < len(states))
            at = min(at + 1, len(states) - 1)
        elif apply(editor, what, seed):
            del states[at + 1 :]
            states.append(snapshot(editor))
            at += 1
        assert snapshot(editor) == states[at]
    while editor.undo():
        at -= 1
        assert snapshot(editor) == states[at]
    assert at == 0
    while editor.redo():
        at += 1
        assert snapshot(editor) == states[at]
    assert at == len(states) - 1


@given(st.lists(st.integers(0, 2**31), min_size=1, max_size=6))
@settings(max_examples=20, deadline=None)
def test_the_result_does_not_depend_on_how_edits_are_grouped(seeds) -> None:
    g = small_gaussians(300)
    masks = [torch.rand(300, generator=torch.Generator().manual_seed(s)) < 0.2 for s in seeds]
    moves = [
        Similarity(torch.tensor(1 + (s % 7) / 10), so3_exp(draw(3, seed=s).double()), draw(3, seed=s + 1)).double()
        for s in seeds
    ]
    one_by_one, together = Editor(g), Editor(g)
    for mask, move in zip(masks, moves, strict=True):
        one_by_one.delete(mask)
        one_by_one.move(move)
    together.delete(torch.stack(masks).any(0))
    whole = moves[0]
    for move in moves[1:]:
        whole = move @ whole
    together.move(whole)
    assert torch.equal(one_by_one.alive, together.alive)
    for a, b in zip(vars(one_by_one.result()).values(), vars(together.result()).values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)  # composed in double precision; float32 values up to 100


def test_the_editor_never_touches_its_original() -> None:
    g = small_gaussians()
    before = [t.clone() for t in vars(g).values()]
    editor = Editor(g)
    assert editor.result() is editor.original
    editor.delete(torch.arange(400) < 100)
    editor.move(centered_at(torch.ones(3)))
    editor.result()
    assert all(torch.equal(a, b) for a, b in zip(before, vars(g).values(), strict=True))
    assert (editor.count, len(editor.result()), editor.changed) == (300, 300, True)
    editor.undo()
    editor.undo()
    assert not editor.changed


def test_nothing_is_no_step() -> None:
    editor = Editor(small_gaussians())
    assert editor.delete(torch.zeros(400, dtype=torch.bool)) == 0
    assert editor.keep(torch.ones(400, dtype=torch.bool)) == 0
    editor.move(Similarity.identity())
    assert editor.undo_name is None
    assert not editor.undo()
    assert not editor.redo()
    editor.delete(torch.arange(400) < 1, "Delete 1")
    editor.undo()
    assert (editor.undo_name, editor.redo_name) == (None, "Delete 1")
    editor.delete(torch.arange(400) < 2, "Delete 2")
    assert (editor.undo_name, editor.redo_name) == ("Delete 2", None)


def test_the_history_keeps_within_its_memory() -> None:
    editor = Editor(small_gaussians(), history_bytes=5000)
    for i in range(20):
        editor.delete(torch.arange(400) == i)
    undone = 0
    while editor.undo():
        undone += 1
    assert 1 <= undone < 6  # about a thousand bytes each
    assert editor.count == 400 - 20 + undone


def test_masks_outlive_edits_and_frames() -> None:
    editor = Editor(small_gaussians())
    chosen = editor.original.means[:, 0] > 0.5
    editor.delete(torch.arange(400) % 2 == 0)
    editor.move(turned_up(torch.tensor([0.0, -1.0, 0.0])))
    editor.keep(chosen)
    left = editor.result().means
    back = editor.similarity.inverse()(left.double())
    assert bool((back[:, 0] > 0.5 - 1e-6).all())
    assert len(left) == int((chosen & (torch.arange(400) % 2 == 1)).sum())
    camera = small_cameras()[2]
    moved = transform_points(
        camera.transformed(Similarity(*(t.float() for t in vars(editor.similarity).values()))).cam_from_world, left
    )
    torch.testing.assert_close(moved, transform_points(camera.cam_from_world, back.float()), rtol=0, atol=1e-5)
