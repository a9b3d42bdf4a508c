"""An RDG-GS-style method: relative depth, refined priors, views between photographs, new Gaussians."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from fewview.recon.evidence.depth_maps import unproject
from fewview.recon.methods.gaussian_splatting.model import GaussianSplatting
from fewview.recon.methods.method_contract import Inputs
from fewview.recon.methods.rdg_gs.adaptive_sampling import NewPoints
from fewview.recon.methods.rdg_gs.config import RdgGsConfig, configure
from fewview.recon.methods.rdg_gs.prior_depth import (
    PriorDepth,
    agreed_by_others,
    coarse_prior,
    refined_prior,
)
from fewview.recon.methods.rdg_gs.proximity_unpooling import unpool
from fewview.recon.methods.rdg_gs.pseudo_views import pseudo_camera, pseudo_depth
from fewview.recon.methods.rdg_gs.relative_depth import (
    cell_depth,
    depth_correlation,
    feature_correlation,
    relative_loss,
    scale_of,
)
from fewview.recon.methods.rdg_gs.reprojection import projected, warped_inverse_depth
from fewview.recon.optimise.step import Step
from fewview.recon.optimise.table import Table
from fewview.recon.optimise.trainer import Trainer, fit
from fewview.scene.cameras import Cameras
from fewview.scene.errors import BadInputError
from fewview.scene.gaussians import Gaussians
from fewview.scene.geometry import transform_points
from scipy.stats import rankdata, spearmanr
from support.layered_scene import CELL, layered_scene
from support.rdg_scenes import colored_scene, evidence_of, model_for
from support.training import capture_of, same_bits, tiny_dataset
from torch import Tensor

SCENE = colored_scene(3)
LAYERS = layered_scene()
NOTHING = {"prior": "off", "guidance": "off", "sampling": "off", "start": "stereo", "confidence_rates": False}
TERMS = ("pearson", "local_pearson", "edges", "relative", "relative_cross", "pseudo", "relative_pseudo")


def relative(inverse: Tensor, features: Tensor = LAYERS.features) -> float:
    everything = torch.ones_like(inverse, dtype=torch.bool)
    cells, pairs = cell_depth(inverse, scale_of(inverse, everything)), ~torch.eye(len(features), dtype=torch.bool)
    apart = LAYERS.cell_layer[:, None] != LAYERS.cell_layer
    matched = feature_correlation(features, features, pairs)
    return float(relative_loss(depth_correlation(cells, cells), matched, pairs, apart))


# -- relative guidance ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.5), (3.0, 0.0), (0.01, 2.0), (50.0, -1.0)])
def test_relative_loss_knows_no_scale_and_no_offset(scale: float, offset: float) -> None:
    g = torch.Generator().manual_seed(0)
    inverse = LAYERS.inverse.double() + 0.1 * torch.rand(LAYERS.inverse.shape, generator=g, dtype=torch.float64)
    features = LAYERS.features.double()
    assert relative(scale * inverse + offset, features) == pytest.approx(relative(inverse, features), abs=1e-6)


def test_true_layers_have_the_least_relative_loss() -> None:
    true = relative(LAYERS.inverse)
    g = torch.Generator().manual_seed(1)
    for layer in range(4):
        shuffled, where = LAYERS.inverse.clone(), LAYERS.layer == layer
        values = 0.1 + 0.5 * torch.rand(int(where.sum()) // CELL**2, generator=g)
        cells = torch.zeros(8, 12)
        cells[(LAYERS.cell_layer == layer).reshape(8, 12)] = values
        shuffled[where] = cells.repeat_interleave(CELL, 0).repeat_interleave(CELL, 1)[where]
        assert relative(shuffled) > true + 1e-3
        merged = LAYERS.inverse.clone()
        merged[where] = merged[LAYERS.layer == (layer + 1) % 4][0]
        assert relative(merged) > true + 1e-3
    moved = LAYERS.inverse.clone()
    moved[:CELL, :CELL] = LAYERS.inverse[-CELL:, -CELL:]
    assert relative(moved) > true
    bumpy = LAYERS.inverse.clone()
    bumpy[:CELL, :CELL] += 0.1 * torch.rand(CELL, CELL, generator=g)
    assert relative(bumpy) > true


def test_depth_that_is_the_same_everywhere_is_not_best() -> None:
    assert relative(torch.full_like(LAYERS.inverse, 0.3)) > relative(LAYERS.inverse) + 0.05


# -- refined priors ---------------------------------------------------------------------------------------------------


def relative_errors(prior: PriorDepth) -> tuple[float, float]:
    """Mean relative error of depth within 5 pixels of true edges, and everywhere."""
    near, everywhere = [], []
    for inverse, true in zip(prior.inverse, SCENE.depths, strict=True):
        error = (1 / inverse - true).abs() / true
        edge = torch.zeros_like(true, dtype=torch.bool)
        edge[:, 1:] |= (true[:, 1:] / true[:, :-1]).log().abs() > 0.1
        close = torch.nn.functional.max_pool2d(edge[None].float(), 11, 1, 5)[0] > 0
        near.append(error[close])
        everywhere.append(error.flatten())
    return float(torch.cat(near).mean()), float(torch.cat(everywhere).mean())


def test_refined_depth_is_better_at_edges_and_not_worse_elsewhere() -> None:
    dataset, stereo, monocular, _ = evidence_of(SCENE)
    coarse_edges, coarse_all = relative_errors(coarse_prior(dataset, monocular, stereo))
    refined_edges, refined_all = relative_errors(refined_prior(dataset, monocular, stereo))
    assert refined_edges < 0.8 * coarse_edges
    assert refined_all < 1.02 * coarse_all


def test_scale_and_offset_of_each_view_are_found() -> None:
    dataset, stereo, monocular, _ = evidence_of(SCENE)
    other = replace(monocular, disparity=tuple(7 * d + 2 for d in monocular.disparity))
    first, second = (coarse_prior(dataset, m, stereo) for m in (monocular, other))
    for a, b in zip(first.inverse, second.inverse, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=0)  # float32 of disparities up to 12


def test_what_two_other_views_agree_on_repairs_the_third() -> None:
    prior = PriorDepth(
        SCENE.cameras,
        tuple(1 / d for d in SCENE.depths),
        tuple(torch.zeros_like(d, dtype=torch.bool) for d in SCENE.depths),
    )
    seen = agreed_by_others(prior, 1)
    known = seen > 0
    assert float(known.float().mean()) > 0.3
    close = (seen[known] * SCENE.depths[1][known] - 1).abs() < 0.05
    assert float(close.float().mean()) > 0.95  # but for edges, where a pixel's corner sees another surface
    assert float(agreed_by_others(replace(prior, inverse=prior.inverse[:2]), 1).max()) == 0  # one view is no agreement


# -- views between photographs ----------------------------------------------------------------------------------------


def test_warped_depth_is_what_the_other_view_sees() -> None:
    found = warped_inverse_depth(1 / SCENE.depths[0], SCENE.cameras[0], SCENE.cameras[1])
    known = found > 0
    assert float(known.float().mean()) > 0.5
    assert float((found[known] * SCENE.depths[1][known] - 1).abs().median()) < 0.01


def test_pseudo_views_lie_between_two_photographs_and_know_depth_there() -> None:
    cameras, g = SCENE.cameras, torch.Generator().manual_seed(0)
    prior = PriorDepth(cameras, tuple(1 / d for d in SCENE.depths), tuple(d > 0 for d in SCENE.depths))
    for _ in range(20):
        camera, (first, second) = pseudo_camera(cameras, g)
        assert abs(first - second) == 1  # nearest neighbours of a row
        way = (cameras.centers[first] - cameras.centers[second]).norm()
        ends = [float((camera.centers - cameras.centers[v]).norm()) for v in (first, second)]
        assert max(ends) < 1.6 * float(way)
        rotation = camera.cam_from_world[:3, :3]
        torch.testing.assert_close(rotation @ rotation.T, torch.eye(3), atol=1e-5, rtol=0)
        believed = pseudo_depth(prior, camera, (first, second))
        points = transform_points(
            camera.world_from_cam, unproject(1 / believed.clamp_min(1e-6), camera.K)[believed > 0]
        )
        assert float((believed > 0).float().mean()) > 0.5
        pixel, depth = projected(points, cameras[first])
        inside = (pixel > 0).all(-1) & (pixel[:, 0] < 96) & (pixel[:, 1] < 64)
        true = SCENE.depths[first][pixel[inside, 1].long(), pixel[inside, 0].long()]
        assert float((depth[inside] / true - 1).abs().median()) < 0.02


# -- training ---------------------------------------------------------------------------------------------------------


def test_all_off_is_plain_3dgs() -> None:
    model, dataset, config = model_for(SCENE, **NOTHING)
    plain = GaussianSplatting(Gaussians(**{k: v.detach() for k, v in model.table.items()}), config, dataset.scene_scale)
    assert same_bits(fit(model, dataset, config).splat.at(), fit(plain, dataset, config).splat.at())


def test_every_term_has_its_name_and_its_switch() -> None:
    weights = {
        "pearson": "pearson_weight", "local_pearson": "local_weight", "edges": "edge_weight",
        "relative": "relative_weight", "relative_cross": "cross_weight", "pseudo": "pseudo_weight",
        "relative_pseudo": "relative_pseudo_weight",
    }  # fmt: skip
    everything = dict.fromkeys(weights.values(), 0.1)
    for off in (None, *TERMS):
        asked = everything | ({weights[off]: 0.0} if off else {})
        model, dataset, config = model_for(SCENE, steps=10, pseudo_every=1, relative_every=1, **asked)
        trainer, seen = Trainer(model, dataset, config), set()
        for _ in range(6):
            trainer.advance()
        seen = set(model.loss(trainer._next_step()))
        assert seen == {"photometric", *TERMS} - {off}


def test_held_out_photographs_change_nothing() -> None:
    results = []
    for blank in (False, True):
        model, dataset, config = model_for(SCENE, steps=12)
        noise = torch.zeros_like(dataset.views[0].pixels) if blank else dataset.views[0].pixels
        views = (*dataset.views, replace(dataset.views[0], pixels=noise))
        cameras = Cameras.stack([dataset.cameras[i] for i in (0, 1, 2, 0)])
        more = replace(dataset, views=views, cameras=cameras, names=(*dataset.names, "held out"), test=(3,))
        results.append(fit(model, more, config).splat.at())
    assert same_bits(*results)


def disagreement(model, dataset) -> float:
    """Median relative difference of a view's rendered depth, seen from the next view, from that view's own."""
    trainer = Trainer(model, dataset, model.config)
    step, found = trainer._next_step(), []
    with torch.no_grad():
        maps = [step.draw_from(step.camera(v), depth=True).depth for v in range(3)]
    for a, b in ((0, 1), (1, 2), (2, 1), (1, 0)):
        seen = warped_inverse_depth(1 / maps[a].clamp_min(0.1), dataset.cameras[a], dataset.cameras[b])
        known = seen > 0
        found.append((seen[known] * maps[b][known] - 1).abs().median())
    return float(torch.stack(found).mean())


def test_views_agree_better_with_guidance_across_views() -> None:
    alone = {
        "prior": "off", "relative_weight": 0.0, "relative_pseudo_weight": 0.0, "relative_every": 1, "sampling": "off",
        "depth_from": 0.0, "gaussian_dropout": 0.0, "sh_degree": 0,
    }  # fmt: skip
    found = []
    for weight in (0.0, 0.5):
        model, dataset, config = model_for(SCENE, **alone | {"cross_weight": weight})
        fit(model, dataset, config)
        found.append(disagreement(model, dataset))
    assert found[1] < 0.95 * found[0]


def test_a_single_photograph_is_refused() -> None:
    dataset = tiny_dataset(1)
    with pytest.raises(BadInputError, match="rdg_gs has 1 photograph to train on; at least 2"):
        configure(Inputs(dataset, capture_of(dataset)), {})


@pytest.mark.parametrize("place", [(1.0, 2.0, 3.0), (1e-8, 0.0, 0.0)])
def test_photographs_from_one_place_are_refused(place: tuple[float, float, float]) -> None:
    dataset = tiny_dataset(3)
    turned = dataset.cameras.cam_from_world.clone()
    turned[:, :3, 3] = -(turned[:, :3, :3] @ torch.tensor(place))
    dataset = replace(dataset, cameras=replace(dataset.cameras, cam_from_world=turned))
    with pytest.raises(BadInputError, match="3 photographs for rdg_gs were all taken from one place"):
        configure(Inputs(dataset, capture_of(dataset)), {})


def test_a_small_budget_is_kept_with_a_border() -> None:
    model, _, _ = model_for(SCENE, border=0.3, max_gaussians=100)
    assert model.table.rows == 100


@pytest.mark.parametrize(("name", "value"), [("prior", "mine"), ("guidance", "on"), ("sampling", "x"), ("start", "y")])
def test_unknown_choices_are_one_sentence(name: str, value: str) -> None:
    with pytest.raises(BadInputError, match=f"{name} is '{value}'"):
        RdgGsConfig(**{name: value})


# -- new Gaussians ----------------------------------------------------------------------------------------------------

REGION = 16  # pixels
FEW = {
    "prior": "refined", "guidance": "off", "pseudo_weight": 0.0, "start_gaussians": 200, "max_gaussians": 600,
    "grow_gradient": 1.0, "densify_from": 0.05, "densify_until": 0.6, "densify_every": 20, "gaussian_dropout": 0.0,
    "sh_degree": 0, "scale_lr": 5e-3, "quat_lr": 1e-3, "sh_lr": 2.5e-3, "confidence_rates": False,
    "background": (0.0, 0.0, 0.0),  # where too few are there is an error to see
}  # fmt: skip


def test_new_gaussians_come_where_few_are_and_errors_are_large() -> None:
    model, dataset, config = model_for(SCENE, **FEW | {"steps": 200, "sampling_share": 0.3})
    trainer, correlations = Trainer(model, dataset, config), []
    sampler = model.densifier
    sampled = sampler._sampled

    def looked_at(step: Step, view: int, table: Table, error: Tensor) -> NewPoints:
        new = sampled(step, view, table, error)
        old, added = (region_counts(projected(x.detach(), SCENE.cameras[view])[0]) for x in (table["means"], new.xyz))
        wrong = torch.nn.functional.avg_pool2d(error[None], REGION)[0].flatten()
        correlations.append(spearmanr(added.numpy(), (ranks(wrong) * ranks(-old)).numpy()).statistic)
        return new

    sampler._sampled = looked_at
    for _ in range(80):
        trainer.advance()
    assert len(correlations) == 3
    assert sum(correlations) / 3 > 0.3


def test_adaptive_sampling_reaches_a_picture_in_fewer_steps() -> None:
    reached = {}
    for sampling in ("off", "adaptive"):
        model, dataset, config = model_for(SCENE, **FEW | {"steps": 180, "sampling": sampling, "sampling_share": 0.2})
        losses: list[float] = []
        fit(model, dataset, config, callbacks=[lambda step, model, figures, to=losses: to.append(figures["loss"])])
        reached[sampling] = losses
    goal = sum(reached["off"][-6:]) / 6
    steps = next(k for k in range(6, 180) if sum(reached["adaptive"][k - 6 : k]) / 6 <= goal)
    assert steps <= 150


def test_new_gaussians_keep_to_their_budget_and_are_not_refuted() -> None:
    model, dataset, config = model_for(SCENE, **FEW | {"steps": 60, "growth": 1.2})
    fit(model, dataset, config)
    assert 200 < model.table.rows <= 240
    sampler, number = model.densifier, 1
    camera, true = SCENE.cameras[number], SCENE.depths[number]
    surface = transform_points(camera.world_from_cam, unproject(true, camera.K)[8:-8, 8:-8].reshape(-1, 3))
    before = transform_points(camera.world_from_cam, unproject(0.5 * true, camera.K)[8:-8, 8:-8].reshape(-1, 3))
    assert float(sampler._refuted(surface, number).float().mean()) < 0.1
    assert float(sampler._refuted(before, number).float().mean()) > 0.5


def region_counts(pixels: Tensor) -> Tensor:
    """Number of places [N, 2] in each region of a picture of 96 x 64, row by row."""
    column, row = (pixels / REGION).floor().long().unbind(-1)
    inside = (column >= 0) & (column < 6) & (row >= 0) & (row < 4)
    return torch.bincount((row * 6 + column)[inside], minlength=24).float()


def ranks(values: Tensor) -> Tensor:
    return torch.from_numpy(rankdata(values.numpy()))


def test_unpooling_sets_gaussians_halfway_to_far_neighbours() -> None:
    means = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [100, 0, 0]])
    log_scales = torch.full((5, 3), 3.0)
    table = Table(
        {
            "means": means, "quats": torch.randn(5, 4), "log_scales": log_scales, "sh": torch.ones(5, 4, 3),
            "opacity_logits": torch.arange(5.0),
        }
    )  # fmt: skip
    assert unpool(table, 1.0, room=100) == 3  # only the last is alone
    halfway = table["means"][5:].detach()
    assert {tuple(x) for x in halfway.tolist()} <= {(50.5, 0, 0), (50, 0, 0), (50, 0.5, 0), (50, 0, 0.5)}
    assert bool((table["sh"][5:] == 0).all())
    assert bool((table["opacity_logits"][5:] < 4).all())  # of the neighbour
    assert unpool(table, 1.0, room=0) == 0
    assert unpool(table, 50.0, room=100) == 0
