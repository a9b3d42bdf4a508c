"""Dragging by control points: what follows a handle, what stays, and an edited scene that is a splat like any other."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from fewview.scene.control_points import ControlPointMotion
from fewview.scene.edit import DragKey, Handle, dragged, dragged_film, freeze
from fewview.scene.edit.as_rigid_as_possible import Deformation
from fewview.scene.edit.control_graph import nearest_by_geodesic, rings
from fewview.scene.edit.drag_file import handles_in, read_drag
from fewview.scene.errors import BadInputError
from fewview.scene.farthest_points import farthest_points
from fewview.scene.gaussians import Gaussians
from fewview.scene.geometry import quat_from_rotation, quat_multiply, so3_exp
from fewview.scene.run import Run
from fewview.scene.run_splat import load_run_splat, save_run_splat
from fewview.scene.splat import MovingSplat, StaticSplat
from support.dragged_scenes import ELBOW, LENGTH, bent, crossing_balls, limb
from support.small_splats import moving_splat

MOVE = torch.tensor([0.0, 0.3, 0.0], dtype=torch.float64)
QUARTER = math.pi / 4 * torch.tensor([1.0, 0, 0], dtype=torch.float64)


def ends(frozen, move=MOVE, turn=None) -> tuple[Handle, Handle]:
    """(the limb's lower end as an anchor, its upper end moved)."""
    z = frozen.points[:, 2]
    low, high = (z < 0.3).nonzero()[:, 0], (z > LENGTH - 0.2).nonzero()[:, 0]
    return Handle(low), Handle(high, move, torch.zeros(3).double() if turn is None else turn)


# -- what follows ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["iterative", "from_init"])
def test_gaussians_at_a_handle_go_with_it_and_those_at_an_anchor_stay(mode) -> None:
    frozen = freeze(limb(), 0.0)
    splat, facts = dragged(frozen, ends(frozen), mode)
    assert facts.distance == 0
    before, after = frozen.still.gaussians.means, splat.gaussians.means
    # Gaussians within the held ends, away from their edges: their supports are all held but for a fading rest.
    top, bottom = before[:, 2] > LENGTH - 0.05, before[:, 2] < 0.1
    torch.testing.assert_close(after[top] - before[top], MOVE.float().expand(int(top.sum()), 3), rtol=0, atol=0.05)
    torch.testing.assert_close(after[bottom], before[bottom], rtol=0, atol=0.02)
    assert 0 < facts.mean_stretch < 0.05
    assert int(bottom.sum()) < facts.moved < len(splat)


def test_with_no_deformation_all_gaussians_stay() -> None:
    frozen = freeze(limb(), 0.6)
    still = limb().at(0.6)
    splat = frozen.edited(Deformation.at_rest(frozen.points))
    torch.testing.assert_close(splat.gaussians.means, still.means, rtol=0, atol=1e-6)  # float32
    cosines = torch.nn.functional.cosine_similarity(splat.gaussians.quats, still.quats, dim=-1).abs()
    torch.testing.assert_close(cosines, torch.ones(len(still)), rtol=0, atol=1e-6)
    for name in ("log_scales", "opacity_logits", "sh"):
        assert torch.equal(getattr(splat.gaussians, name), getattr(still, name))


def test_one_rigid_motion_of_all_points_moves_and_turns_every_gaussian_by_it() -> None:
    frozen = freeze(limb(), 0.6)
    turn, shift = so3_exp(torch.tensor([0.4, 2.0, -0.3]).double()), torch.tensor([1.0, -2, 0.5]).double()
    splat = frozen.edited(Deformation(frozen.points @ turn.T + shift, turn.expand(len(frozen.points), 3, 3)))
    before = frozen.still.gaussians
    torch.testing.assert_close(splat.gaussians.means, before.means @ turn.T.float() + shift.float(), rtol=0, atol=1e-5)
    expected = quat_multiply(quat_from_rotation(turn).float(), before.quats)
    cosines = torch.nn.functional.cosine_similarity(splat.gaussians.quats, expected, dim=-1).abs()
    torch.testing.assert_close(cosines, torch.ones(len(before)), rtol=0, atol=1e-5)


def test_weights_share_one_and_fall_with_distance() -> None:
    frozen = freeze(limb(), 0.3)
    torch.testing.assert_close(frozen.weights.sum(-1), torch.ones(len(frozen.weights)))
    assert bool((frozen.weights >= 0).all())
    means = frozen.still.gaussians.means
    far = (means[:, None] - frozen.points.float()[frozen.supports.long()]).norm(dim=-1)
    order = far.argsort(-1)
    assert bool((frozen.weights.gather(1, order).diff(dim=-1) <= 1e-6).all())  # float32


def test_a_bend_of_the_limb_turns_its_gaussians_too() -> None:
    splat = limb()
    frozen = freeze(splat, 0.0)
    z = frozen.points[:, 2]
    low, high = (z < ELBOW - 0.3).nonzero()[:, 0], (z > LENGTH - 0.2).nonzero()[:, 0]
    led = bent(frozen.points.float(), math.pi / 4)[0][high].double()
    move = led.mean(0) - frozen.points[high].mean(0)
    edited, facts = dragged(frozen, (Handle(low), Handle(high, move, QUARTER)))
    expected, turns = bent(frozen.still.gaussians.means, math.pi / 4)
    apart = (edited.gaussians.means - expected).norm(dim=-1)
    assert float(apart.mean()) < 0.05  # a fortieth of the limb; the bend itself moves its end by 0.75
    assert facts.mean_stretch < 0.05
    quats = torch.nn.functional.normalize(edited.gaussians.quats, dim=-1)
    angle = 2 * (quats * turns).sum(-1).abs().clamp(max=1).acos()
    assert float(angle.mean()) < 0.15  # of 0.79


def test_only_the_ball_that_is_dragged_follows_though_they_are_in_one_place() -> None:
    splat = crossing_balls()
    frozen = freeze(splat, 0.5)
    half, count = len(frozen.points) // 2, len(splat) // 2
    assert bool((frozen.supports[:count] < half).all())
    assert bool((frozen.supports[count:] >= half).all())
    first = Handle(torch.arange(3), torch.tensor([0.0, 0, 2.0]).double())
    edited, _ = dragged(frozen, (first, Handle(torch.arange(half, half + 3))))
    before, after = frozen.still.gaussians.means, edited.gaussians.means
    torch.testing.assert_close(after[count:], before[count:], rtol=0, atol=1e-5)
    moved = (after[:count] - before[:count])[:, 2]
    # Three points leave a ball of a radius of 0.3 free to turn a little.
    torch.testing.assert_close(moved, torch.full((count,), 2.0), rtol=0, atol=0.3)


def test_geodesics_go_around_and_not_through() -> None:
    horseshoe = torch.stack([torch.linspace(0, 5, 40).cos(), torch.linspace(0, 5, 40).sin(), torch.zeros(40)], -1)
    from fewview.scene.edit.control_graph import euclidean_graph

    index, lengths = nearest_by_geodesic(euclidean_graph(horseshoe), horseshoe, 40)
    step = float((horseshoe[1] - horseshoe[0]).norm())
    assert int(index[0, 0]) == 0
    assert int(index[0, -1]) == 39
    assert 37 * step < float(lengths[0, -1]) <= 39 * step + 1e-6  # the straight way is shorter than a half of it
    assert bool((lengths.diff(dim=-1) >= 0).all())


# -- a splat like any other -----------------------------------------------------------------------------------------


def test_a_film_is_a_moving_splat_by_control_points(tmp_path: Path) -> None:
    frozen = freeze(limb(), 0.0)
    anchor, _ = ends(frozen)
    turned = ends(frozen, turn=math.radians(80) * torch.tensor([0.0, 0, 1.0]).double())[1]
    keys = [DragKey(1.0, (anchor, Handle(turned.points))), DragKey(2.0, (anchor, turned)),
            DragKey(4.0, (anchor, Handle(turned.points)))]  # fmt: skip
    film, facts = dragged_film(frozen, keys)
    assert isinstance(film.motion, ControlPointMotion)
    assert film.motion.quat_residuals is None
    assert film.time_range_s == (1.0, 4.0)
    assert {1.0, 2.0, 4.0} <= set(film.motion.times_s.tolist())
    assert facts.distance == 0
    torch.testing.assert_close(film.at(1.0).means, frozen.still.gaussians.means, rtol=0, atol=1e-5)
    reached = film.motion.points_at(2.0)[turned.points].double()
    torch.testing.assert_close(reached, turned.places(frozen.points), rtol=0, atol=1e-6)
    # Half way the end is on the arc: linear blending between the key frames alone would shrink it by a quarter.
    half = film.motion.points_at(1.5)[turned.points]
    spread = (half - half.mean(0)).norm(dim=-1)
    rest = frozen.points[turned.points]
    torch.testing.assert_close(spread.double(), (rest - rest.mean(0)).norm(dim=-1), rtol=0.01, atol=0)
    run = Run.create(tmp_path / "run", {})
    save_run_splat(run, film)
    read = load_run_splat(run)
    for moment in (1.0, 1.7, 3.0, 4.0):
        assert torch.equal(read.at(moment).means, film.at(moment).means)


def test_turns_beyond_half_a_turn_go_the_whole_way() -> None:
    """The quaternions of neighbouring moments are on one side, so that what is between them is between them."""
    frozen = freeze(limb(), 0.0)
    z = frozen.points[:, 2]
    near, far = (z < 0.1).nonzero()[:, 0], (z > 0.3).nonzero()[:, 0]
    turn = math.radians(300) * torch.tensor([0.0, 0, 1.0]).double()
    film, _ = dragged_film(
        frozen, [DragKey(0.0, (Handle(near), Handle(far))), DragKey(1.0, (Handle(near), Handle(far, turn=turn)))]
    )
    turns = film.motion.turns
    assert bool(((turns[1:] * turns[:-1]).sum(-1) > 0.9).all())
    held = (film.gaussians.means[:, 2] > 1).nonzero()[:, 0]
    middle = film.motion.times_s[:-1] / 2 + film.motion.times_s[1:] / 2
    for time in middle.tolist():
        radius = film.at(time).means[held, :2].norm(dim=-1)
        torch.testing.assert_close(radius, film.gaussians.means[held, :2].norm(dim=-1), rtol=0, atol=2e-3)


def test_from_init_forgets_its_way_and_iterative_does_not() -> None:
    frozen = freeze(limb(), 0.0)
    anchor, up = ends(frozen)
    wide = ends(frozen, torch.tensor([1.0, 0, -1.0]).double())[1]
    direct = [DragKey(0.0, (anchor, Handle(up.points))), DragKey(2.0, (anchor, up))]
    around = [direct[0], DragKey(1.0, (anchor, wide)), direct[1]]
    ended = {
        mode: [dragged_film(frozen, keys, mode)[0].at(2.0).means for keys in (direct, around)]
        for mode in ("from_init", "iterative")
    }
    torch.testing.assert_close(*ended["from_init"], rtol=0, atol=0)
    assert float((ended["iterative"][0] - ended["iterative"][1]).norm(dim=-1).max()) > 1e-3


@pytest.mark.parametrize("kind", ["still", "frames"])
def test_a_splat_without_control_points_gets_some(kind) -> None:
    splat = StaticSplat(limb(3000).at(0.0)) if kind == "still" else moving_splat(400)
    frozen = freeze(splat)
    assert len(frozen.points) == (512 if kind == "still" else 400)
    assert frozen.time_s == (None if kind == "still" else 1.0)
    axis = 2 if kind == "still" else 0
    low, high = frozen.points[:, axis].quantile(0.1), frozen.points[:, axis].quantile(0.9)
    handles = (
        Handle((frozen.points[:, axis] < low).nonzero()[:, 0]),
        Handle((frozen.points[:, axis] > high).nonzero()[:, 0], MOVE),
    )
    edited, facts = dragged(frozen, handles)
    moved = (edited.gaussians.means - frozen.still.gaussians.means)[:, 1]
    means = frozen.still.gaussians.means[:, axis]
    assert float(moved[means > means.quantile(0.95)].mean()) > 0.8 * 0.3
    assert float(moved[means < means.quantile(0.05)].abs().mean()) < 0.03
    assert facts.mean_stretch < 0.2


def test_made_points_are_on_what_is_solid() -> None:
    g = limb(1000).at(0.0)
    faint = g.opacity_logits.clone()
    faint[:300] = -4.0
    stray = g.means.clone()
    stray[300] = torch.tensor([50.0, 0, 0])
    stray[301] = torch.nan
    frozen = freeze(StaticSplat(Gaussians(stray, g.quats, g.log_scales, faint, g.sh)))
    assert float(frozen.points.abs().max()) < 3
    assert bool(frozen.weights[302:].isfinite().all())
    with pytest.raises(BadInputError, match="solid enough"):
        freeze(StaticSplat(Gaussians(g.means, g.quats, g.log_scales, torch.full_like(faint, -9.0), g.sh)))


def test_farthest_points_cover_what_moves_more_densely() -> None:
    """In the space of trajectories a moving half is larger than a still one."""
    draw = torch.Generator().manual_seed(0)
    places = torch.rand(2000, 3, generator=draw)
    moving = places[:, 0] > 0.5
    trajectories = torch.cat([places, places * torch.where(moving, 4.0, 1.0)[:, None]], dim=-1)
    chosen = {"still": farthest_points(places, 100), "moving": farthest_points(trajectories, 100)}
    assert len(chosen["still"].unique()) == 100
    assert int(moving[chosen["moving"]].sum()) > 1.5 * int(moving[chosen["still"]].sum())


# -- what is refused ------------------------------------------------------------------------------------------------


def test_handles_that_cannot_be_solved_for_are_one_sentence() -> None:
    frozen = freeze(limb(), 0.0)
    anchor, up = ends(frozen)
    for handles, sentence in (
        ((), "No handle is moved"),
        ((anchor,), "No handle is moved"),
        ((up,), "add an anchor"),
        ((up, Handle(anchor.points, MOVE)), "add an anchor"),
        ((anchor, up, Handle(up.points[:1])), "handles 2 and 3 share"),
        ((anchor, Handle(up.points, 1e6 * MOVE)), "scene's own units"),
    ):
        with pytest.raises(BadInputError, match=sentence):
            dragged(frozen, handles)
    with pytest.raises(BadInputError, match="rise in time"):
        dragged_film(frozen, [DragKey(1.0, (anchor, up)), DragKey(1.0, (anchor, up))])
    with pytest.raises(BadInputError, match="0 s to 1 s; 1"):
        freeze(limb(), 1.5)


def test_a_place_in_a_file_is_the_nearest_point_and_its_rings(tmp_path: Path) -> None:
    frozen = freeze(limb(), 0.0)
    path = tmp_path / "drag.json"
    value = {
        "version": 1,
        "handles": [
            {"at": [0.0, 0.21, 2.01], "move": [0, 0.1, 0], "rotate": {"axis": [0, 0, 2], "degrees": 90}},
            {"nodes": [0, 9], "rings": 1, "anchor": True},
        ],
    }
    path.write_text(json.dumps(value))
    keys, found = handles_in(read_drag(path), frozen)
    nearest, distance = frozen.nearest(torch.tensor([0.0, 0.21, 2.01]))
    assert torch.equal(found[0].points, rings(frozen.near, torch.tensor([nearest]), 2))
    assert found[0].distance == pytest.approx(distance)
    assert torch.equal(found[1].points, rings(frozen.near, torch.tensor([0, 9]), 1))
    torch.testing.assert_close(keys[0].handles[0].turn, torch.tensor([0.0, 0, math.pi / 2]).double())
    assert keys[0].handles[0].move.tolist() == [0.0, 0.1, 0.0]
    assert keys[0].handles[1].is_anchor


def test_a_group_that_a_key_frame_does_not_name_is_at_rest_there(tmp_path: Path) -> None:
    frozen = freeze(limb(), 0.0)
    value = {
        "version": 1,
        "handles": [{"nodes": [0, 1, 2], "anchor": True}],
        "keyframes": [
            {"time_s": 0, "handles": []},
            {"time_s": 1, "handles": [{"nodes": [190], "move": [0, 0.1, 0]}]},
            {"time_s": 2, "handles": [{"nodes": [90], "move": [0, 0.2, 0]}]},
        ],
    }
    path = tmp_path / "drag.json"
    path.write_text(json.dumps(value))
    keys, found = handles_in(read_drag(path), frozen)
    assert [f.points.tolist() for f in found] == [[0, 1, 2], [190], [90]]
    assert [[h.move[1].item() for h in key.handles] for key in keys] == [[0, 0, 0], [0, 0.1, 0], [0, 0, 0.2]]
    film, _ = dragged_film(frozen, keys)
    assert isinstance(film, MovingSplat)
    torch.testing.assert_close(film.motion.points_at(2.0)[190], frozen.points[190].float())
