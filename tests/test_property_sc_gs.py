"""SC-GS: what the paper and the released code say of control points, on generated ones."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from fewview.recon.methods.deformation_network import HEADS, DeformationNetwork, frequencies
from fewview.recon.methods.gaussian_splatting.model import FixedCount
from fewview.recon.methods.method_contract import Inputs
from fewview.recon.methods.moving_capture import BOX, MovingFrame, starting_points
from fewview.recon.methods.registry import choose, method
from fewview.recon.methods.sc_gs.arap_loss import (
    arap_energy,
    released_neighbours,
    trajectory_neighbours,
)
from fewview.recon.methods.sc_gs.config import ScGsConfig
from fewview.recon.methods.sc_gs.control_nodes import adapted_nodes, node_table, told_apart
from fewview.recon.methods.sc_gs.model import CHOSEN_NODES, DENSE, ScGs
from fewview.recon.methods.sc_gs.node_regularisers import acceleration_loss, elastic_loss
from fewview.recon.methods.sc_gs.node_weights import nearest_points, node_weights
from fewview.recon.optimise.step import Step
from fewview.recon.optimise.table import Table
from fewview.recon.optimise.trainer import Trainer, fit
from fewview.scene.errors import BadInputError
from fewview.scene.farthest_points import farthest_points
from fewview.scene.geometry import so3_exp
from fewview.scene.splat import MovingSplat
from support.training import capture_of, tiny_dataset
from torch import Tensor

TIMES = [0.0, 0.5, 1.0, 1.5, 2.0]
SMALL = {
    "steps": 24, "checkpoint_every_s": 0.0, "nodes": 6, "node_candidates": 12, "net_width": 16, "net_depth": 3,
    "node_steps": 0.5, "densify_every": 3, "max_gaussians": 60, "random_points": 20, "still": 0.2,
    "appearance": "off",
}  # fmt: skip


def moving_inputs(times: list[float] | None = TIMES) -> Inputs:
    dataset = tiny_dataset()
    if times is not None:
        dataset = replace(dataset, cameras=replace(dataset.cameras, times_s=torch.tensor(times)))
    return Inputs(dataset, capture_of(dataset, times), True)


def model_of(**asked: object) -> tuple[ScGs, Inputs, ScGsConfig]:
    inputs, chosen = moving_inputs(), method("sc_gs")
    config = chosen.configure(inputs, SMALL | asked)
    model = chosen.initialise(inputs, config)
    assert isinstance(model, ScGs)
    assert isinstance(config, ScGsConfig)
    return model, inputs, config


def dense_trainer(**asked: object) -> tuple[ScGs, Trainer]:
    """A model in its second part, with the network's heads as they begin."""
    model, inputs, config = model_of(**asked)
    trainer = Trainer(model, inputs.dataset, config)
    while model.part != DENSE or trainer.step < trainer.ends[trainer.stage_index] - trainer.stage.steps + 1:
        trainer.advance()
    return model, trainer


def set_heads(model: ScGs, seed: int | None) -> None:
    """Heads of zeros, or of clear random weights."""
    draw = torch.Generator().manual_seed(seed or 0)
    with torch.no_grad():
        for parameter in model.network.heads.parameters():
            parameter.zero_()
            if seed is not None:
                parameter += 0.1 * torch.randn(parameter.shape, generator=draw)


@pytest.mark.parametrize("rotation", ["residual", "single"])
@pytest.mark.parametrize("local_frame", [True, False])
def test_a_network_that_says_nothing_moves_nothing(rotation: str, local_frame: bool) -> None:
    model, _ = dense_trainer(rotation=rotation, local_frame=local_frame)
    set_heads(model, None)
    table = model.table
    for moment in (0.0, 0.9, 2.0):
        g = model.splat(moment).detach()
        torch.testing.assert_close(g.means, table["means"], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(g.log_scales, table["log_scales"], atol=1e-5, rtol=1e-5)
        cosines = torch.nn.functional.cosine_similarity(g.quats, table["quats"].detach(), dim=-1)
        torch.testing.assert_close(cosines.abs(), torch.ones(len(g)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("rotation", ["residual", "single"])
@pytest.mark.parametrize(
    "options", [{}, {"predict_opacity": True, "predict_color": True, "motion_mask": True}], ids=str
)
def test_the_result_is_what_was_trained(rotation: str, options: dict[str, bool]) -> None:
    """The kept motion gives at its own moments what the model draws then."""
    model, _ = dense_trainer(rotation=rotation, result_moments=5, **options)
    set_heads(model, 3)
    model.index = model._nearest()
    result = model.result()
    assert isinstance(result, MovingSplat)
    assert result.time_range_s == (0.0, 2.0)
    for moment in (0.0, 1.0, 2.0):
        drawn, kept = model.splat(moment).detach(), result.at(moment)
        torch.testing.assert_close(kept.means, drawn.means, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(kept.scales, drawn.scales, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(kept.opacities, drawn.opacities, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(kept.sh, drawn.sh, atol=1e-5, rtol=1e-4)
        cosines = torch.nn.functional.cosine_similarity(kept.quats, drawn.quats, dim=-1)
        torch.testing.assert_close(cosines.abs(), torch.ones(len(drawn)), atol=1e-5, rtol=0)


def test_weights_do_not_depend_on_time_and_the_cache_changes_no_picture() -> None:
    model, _ = dense_trainer()
    set_heads(model, 1)
    model.index = model._nearest()
    first, cached = model._weights().detach(), model.splat(1.3).means.detach()
    model.splat(0.2)
    model.index = model._nearest()
    assert torch.equal(model._weights().detach(), first)
    assert torch.equal(model.splat(1.3).means.detach(), cached)


def test_control_points_get_no_gradient_of_their_places_and_all_else_does() -> None:
    model, _ = dense_trainer()
    set_heads(model, 2)
    model._moves = True
    for table in model.tables.values():
        for column in table.columns.values():
            column.tensor.requires_grad_()
    (model.splat(0.7).means * torch.linspace(-1, 1, 3)).sum().backward()
    assert model.nodes["points"].grad is None or not bool(model.nodes["points"].grad.any())
    for tensor in (model.nodes["hyper"], model.nodes["log_radius"], model.nodes["strength_logits"]):
        assert tensor.grad is not None
        assert bool(tensor.grad.any())
    assert model.table["hyper"].grad is not None
    assert torch.equal(model.table["means"].grad, torch.linspace(-1, 1, 3).expand(model.table.rows, 3))


def test_the_first_part_leaves_the_asked_number_on_former_round_gaussians() -> None:
    model, inputs, config = model_of()
    trainer, candidates = Trainer(model, inputs.dataset, config), torch.zeros(0, 3)
    while model.part != DENSE:
        if model.part == "chosen nodes" and len(candidates) == 0:
            candidates = model.round_nodes["means"].detach().clone()
        last = model.round_nodes["means"].detach().clone()
        trainer.advance()
    assert model.nodes.rows == config.nodes == 6
    assert torch.equal(model.nodes["points"], last)


def test_what_moves_gets_more_control_points() -> None:
    """Farthest points by trajectory against farthest points by place, half of them still and half of them moving."""
    draw = torch.Generator().manual_seed(0)
    points = 2 * torch.rand(400, 3, generator=draw) - 1
    moving = points[:, 0] > 0
    phase = 2 * math.pi * torch.linspace(0, 1, 16)
    swing = torch.stack([phase.sin(), phase.cos(), 0 * phase], dim=-1) * points[:, None, 1:2] * 2
    trajectories = points[:, None] + torch.where(moving[:, None, None], swing, 0)
    by_path = farthest_points(trajectories.flatten(1), 60)
    by_place = farthest_points(points, 60)
    assert int(moving[by_path].sum()) > 1.2 * int(moving[by_place].sum())
    assert len(set(by_path.tolist())) == 60


def test_what_no_photograph_shows_becomes_no_control_point() -> None:
    model, inputs, config = model_of()
    trainer = Trainer(model, inputs.dataset, config)
    while model.part != "chosen nodes":
        hidden = torch.arange(model.round_nodes.rows) % 3 == 0
        with torch.no_grad():
            model.round_nodes["opacity_logits"][hidden] = -8.0
            model.round_nodes["means"][hidden] += 3.0  # the farthest, whose paths would be chosen first
        outside = model.round_nodes["means"].detach()[hidden]
        trainer.advance()
    assert model.round_nodes.rows == config.nodes
    assert float(torch.cdist(model.round_nodes["means"].detach(), outside).min()) > 1.0


def test_control_points_that_move_otherwise_are_told_apart() -> None:
    """Two legs side by side that swing against each other: each carries what is its own, though the other is nearer."""
    height = torch.linspace(0, 1, 9)
    leg = torch.stack([0 * height, 0 * height, height], dim=-1)
    points = torch.cat([leg, leg + torch.tensor([0.05, 0.0, 0.0])])  # closer than one leg's own control points
    swing = (2 * math.pi * torch.linspace(0, 1, 16)).sin()[:, None] * height
    shifts = torch.zeros(16, 18, 3)
    shifts[:, :9, 1], shifts[:, 9:, 1] = swing, -swing
    alike, apart = node_table(points, 8), told_apart(points, shifts, 8)
    means = points + 0.01 * torch.randn(18, 3, generator=torch.Generator().manual_seed(0))

    def own_share(nodes: Table) -> Tensor:
        """Weight [18] of the control points of its own leg, for a Gaussian that begins at each control point."""
        hyper = nodes["hyper"].detach()
        index = nearest_points(torch.cat([means, hyper], dim=-1), torch.cat([points, hyper], dim=-1), 3)
        given = (nodes[name].detach() for name in ("log_radius", "strength_logits"))
        weights = node_weights(means, hyper, points, hyper, *given, index)
        return (weights * ((index >= 9) == (torch.arange(18)[:, None] >= 9))).sum(-1)

    swinging = (torch.arange(18) % 9) >= 2  # not where both hang
    assert float(own_share(apart)[swinging].min()) > 0.95
    assert float(own_share(alike)[swinging].min()) < 0.8
    # What does not move differently is as far apart as it is in space.
    still = told_apart(points, torch.zeros(16, 18, 3), 8)
    torch.testing.assert_close(still["hyper"].detach(), torch.zeros(18, 8))


def test_gaussians_begin_with_the_motion_of_their_control_point() -> None:
    model, _ = dense_trainer(start="nodes", node_lr=0.0, hyper_lr=0.0)
    assert bool((torch.cdist(model.table["hyper"].detach(), model.nodes["hyper"].detach()).amin(1) < 1e-6).all())


def test_farthest_points_are_spread_and_each_comes_once() -> None:
    line = torch.tensor([[0.0], [1.0], [2.0], [3.0], [10.0]])
    assert farthest_points(line, 3).tolist() == [3, 4, 0]  # from the middle to both ends
    assert sorted(farthest_points(torch.zeros(4, 2), 9).tolist()) == [0, 1, 2, 3]


def grid() -> Tensor:
    axis = torch.linspace(-0.1, 0.1, 4)
    return torch.cartesian_prod(axis, axis, axis) + 0.005 * torch.randn(
        64, 3, generator=torch.Generator().manual_seed(0)
    )


RIGID = so3_exp(torch.tensor([0.4, -1.0, 2.0])), torch.tensor([0.3, -0.2, 1.0])


@pytest.mark.parametrize("kind", ["released", "paper"])
def test_rigid_motion_costs_nothing_and_growing_does(kind: str) -> None:
    points = grid()
    rotation, shift = RIGID
    if kind == "released":
        index, weights = released_neighbours(points)
    else:
        index, weights = trajectory_neighbours(torch.stack([points, points + 0.1], dim=1), torch.full((64,), 0.1))
    scale = float((weights[..., None] * (points[:, None] - points[index]).square()).sum())
    rigid = arap_energy(points, points @ rotation.T + shift, index, weights).sum()
    still = arap_energy(points, points, index, weights).sum()
    assert float(rigid) <= 1e-8 * scale + 1e-10
    assert float(still) <= 1e-8 * scale + 1e-10
    grown = arap_energy(points, 1.5 * points, index, weights).sum()
    assert float(grown) == pytest.approx(0.25 * scale, rel=1e-3)
    moved = arap_energy(points @ rotation.T + shift, 1.5 * points, index, weights).sum()
    assert float(moved) == pytest.approx(float(grown), rel=1e-3)


def test_a_reflection_is_not_rigid() -> None:
    points = grid()
    index, weights = released_neighbours(points)
    mirrored = points * torch.tensor([-1.0, 1, 1])
    assert float(arap_energy(points, mirrored, index, weights).sum()) > 1e-3


def test_far_neighbours_do_not_count_but_three_always_do() -> None:
    points = torch.cat([0.01 * torch.randn(20, 3, generator=torch.Generator().manual_seed(0)), 50 * torch.ones(1, 3)])
    _, weights = released_neighbours(points)
    assert bool((weights[:20] == 1).all())
    assert weights[20].tolist() == [1] * 3 + [0] * 7


def test_elastic_and_acceleration_losses_are_zero_for_what_they_ask() -> None:
    points, rotation = grid(), RIGID[0]
    paths = torch.stack([points @ so3_exp(torch.tensor([0.0, 0.0, 0.3 * t])).T + t for t in range(4)])
    index = released_neighbours(points)[0][:, :2]
    ones = torch.ones(index.shape)
    stretched = torch.stack([points * (1 + 0.2 * t) for t in range(4)])
    assert float(elastic_loss(paths, index, ones)) < 1e-3 < 0.5 < float(elastic_loss(stretched, index, ones))
    assert float(acceleration_loss(points - 1, points, points + 1)) < 0.2
    assert float(acceleration_loss(points, points, points @ rotation.T)) > 0.9


def test_a_control_point_is_added_where_gaussians_are_pulled_at_and_an_idle_one_goes() -> None:
    points, hyper = torch.tensor([[0.0, 0, 0], [5.0, 0, 0], [50.0, 0, 0]]), torch.zeros(3, 2)
    means = torch.tensor([[0.1, 0, 0], [0.3, 0, 0], [5.0, 0, 0]])
    index, weights = torch.tensor([[0], [0], [1]]), torch.ones(3, 1)
    gradient = torch.tensor([1e-3, 3e-3, 1e-5])
    stay, parents, new, new_hyper = adapted_nodes(points, hyper, means, torch.ones(3, 2), index, weights, gradient)
    assert (stay.tolist(), parents.tolist()) == ([0, 1], [0])
    torch.testing.assert_close(new, torch.tensor([[0.25, 0, 0]]))
    torch.testing.assert_close(new_hyper, torch.ones(1, 2))


def test_taking_an_idle_control_point_away_changes_no_picture() -> None:
    model, _ = dense_trainer()
    set_heads(model, 4)
    far = torch.full((1, 3), 1e3)
    model.nodes.edit_rows(torch.arange(model.nodes.rows), {"points": far}, torch.tensor([0]))
    model.index = model._nearest()
    before = model.splat(1.1).means.detach()
    assert not bool((model.index == model.nodes.rows - 1).any())
    model.nodes.edit_rows(torch.arange(model.nodes.rows - 1), {}, torch.zeros(0, dtype=torch.int64))
    model.index = model._nearest()
    torch.testing.assert_close(model.splat(1.1).means.detach(), before, atol=1e-6, rtol=1e-6)


def test_gaussians_keep_their_control_points_where_a_round_puts_as_many_others_in_their_place() -> None:
    """At the budget as many go as come: the count stays, and each row is another Gaussian."""
    model, trainer = dense_trainer(neighbours_every=1000)

    class Turned(FixedCount):
        """A round that leaves the same Gaussians, the last one first."""

        def after_step(self, step: Step, table: Table, means_lr: float) -> None:
            if model.config.rounds.at(step.index):
                turned = torch.arange(table.rows).flip(0)
                table.edit_rows(turned, {}, turned[:0])

    model.densifier = Turned()
    before = model.index
    while not model.config.rounds.at(trainer.step - 1):
        trainer.advance()
    assert torch.equal(model.index, model._nearest())
    assert not torch.equal(model.index, before)


@pytest.mark.parametrize(
    "asked",
    [
        {"node_steps": 0.0}, {"arap": "paper"}, {"arap": "off"}, {"adaptive": "periodic"}, {"time_noise": 0.5},
        {"start": "points"}, {"hyper_dim": 0}, {"neighbours": 1}, {"densification": "none"}, {"preset": "paper"},
        {"densification": "mcmc"}, {"arap_every": 3, "neighbours_every": 4},
    ],
    ids=str,
)  # fmt: skip
def test_every_choice_trains(asked: dict[str, object]) -> None:
    if "node_steps" in asked:
        asked = asked | {"start": "points"}
    model, inputs, config = model_of(**asked)
    result = fit(model, inputs.dataset, config)
    assert result.step == config.steps
    assert math.isfinite(result.loss)
    assert bool(result.splat.at(0.3).means.isfinite().all())


def test_the_network_begins_as_none_and_knows_its_frequencies() -> None:
    network = DeformationNetwork(tuple(HEADS), depth=8, width=32, position_bands=10, time_bands=6, time_network=True)
    said = network(torch.rand(7, 3), torch.rand(2))
    assert {name: tuple(t.shape) for name, t in said.items()} == {n: (2, 7, c) for n, (c, _) in HEADS.items()}
    assert all(float(t.detach().abs().max()) < 0.05 for t in said.values())
    values = torch.tensor([[0.3, -1.0]])
    expected = [0.3, -1.0] + [f(2.0**k * v) for k in range(3) for f in (math.sin, math.cos) for v in (0.3, -1.0)]
    torch.testing.assert_close(frequencies(values, 3)[0], torch.tensor(expected))
    assert network.trunk[5].in_features == 32 + 63 + 30  # type: ignore[union-attr]  # the input comes again here


def test_the_frame_of_the_network_has_its_unit() -> None:
    dataset = moving_inputs().dataset
    points = torch.rand(1000, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([10.0, 2, 2]) + 5
    frame = MovingFrame.of(dataset, points)
    placed = frame.places(points)
    assert float(placed.abs().max()) == pytest.approx(BOX, rel=0.1)
    assert (frame.moment(0.0), frame.moment(2.0), frame.moment(None), frame.moments) == (0, 1, 0, 5)


def test_points_start_in_the_outlines_of_cut_out_photographs() -> None:
    dataset = moving_inputs().dataset
    views = []
    for i, view in enumerate(dataset.views):
        alpha = torch.zeros(view.height, view.width, 1, dtype=torch.uint8)
        middle = dataset.cameras.K[i, :2, 2].long()
        alpha[middle[1] - 4 : middle[1] + 4, middle[0] - 4 : middle[0] + 4] = 255
        views.append(replace(view, pixels=torch.cat([view.pixels, alpha], dim=-1)))
    cut_out = replace(dataset, views=tuple(views), points=None)
    points = starting_points(cut_out, ScGsConfig(random_points=500), torch.Generator().manual_seed(0))
    assert len(points) == 500
    reach = float((dataset.cameras.centers - points.xyz.mean(0)).norm(dim=-1).mean())
    assert float((points.xyz - points.xyz.mean(0)).norm(dim=-1).max()) < 0.5 * reach


@pytest.mark.parametrize(("side", "levels"), [(40, 0), (100, 1), (200, 2), (400, 3), (800, 4)])
def test_quick_runs_begin_at_one_size_whatever_that_of_cut_out_photographs(side: int, levels: int) -> None:
    dataset = tiny_dataset(rgba=True)
    pixels = torch.zeros(side // 2, side, 4, dtype=torch.uint8)
    dataset = replace(
        dataset,
        views=tuple(replace(view, pixels=pixels, mask=None) for view in dataset.views),
        cameras=replace(dataset.cameras, times_s=torch.tensor(TIMES)),
    )
    config = method("sc_gs").configure(Inputs(dataset, capture_of(dataset, TIMES)), {"preset": "quick"})
    assert config.coarse_levels == levels


def test_the_network_of_a_quick_run_still_learns_when_each_part_ends() -> None:
    # A rate that falls to 1.6e-6 has left a thirtieth at the middle of a part: thin parts were not found in time.
    model, *_ = model_of(preset="quick", steps=400)
    ends = [stage for stage in model.stages() if stage.name in (CHOSEN_NODES, DENSE)]
    assert len(ends) == 2
    assert [stage.optimisers["deformation"].rate(stage.steps) for stage in ends] == pytest.approx([1e-4, 1e-4])


def test_further_dimensions_learn_in_the_unit_of_the_scene() -> None:
    # They are lengths. At a rate that knows no unit Gaussians of a small scene leave one control point for another.
    model, *_ = model_of()

    def rates() -> list[float]:
        optimisers = model.stages()[-1].optimisers
        return [float(optimisers[name].rate(0)) for name in ("gaussians.hyper", "nodes.hyper", "nodes.log_radius")]

    large = rates()
    model.frame = replace(model.frame, unit=model.frame.unit / 8)
    assert rates() == pytest.approx([large[0] / 8, large[1] / 8, large[2]])


def test_photographs_without_times_or_of_one_time_are_refused() -> None:
    for times, words in ((None, "have no times"), ([1.0] * 5, "have one time")):
        for name in ("sc_gs", "deformable"):
            with pytest.raises(BadInputError, match=words):
                method(name).configure(moving_inputs(times), {})
    assert choose("auto", moving_inputs(), lambda _: {}).method.name == "sc_gs"
    assert choose("auto", moving_inputs(None), lambda _: {}).method.name != "sc_gs"


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"arap": "soft"}, "released, paper, off is expected"), ({"neighbours": 17}, "1 to 16"),
        ({"node_steps": 1.5}, "from 0 to 1"), ({"node_steps": 0.0, "start": "nodes"}, "leaves it no step"),
        ({"result_moments": 1}, "from 2 on"),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_one_sentence(asked: dict[str, object], words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        ScGsConfig(**asked)  # type: ignore[arg-type]
