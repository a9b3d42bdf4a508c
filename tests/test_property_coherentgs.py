"""CoherentGS on small scenes: Gaussians stay on their rays, move together, and keep what the method promises."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from fewview.recon.evidence import DepthMap, Stereo
from fewview.recon.evidence.dense_flow import AGREES
from fewview.recon.evidence.flow_by_depth import flow_by_depth
from fewview.recon.evidence.monocular_depth import MonocularDepth
from fewview.recon.methods.coherentgs.config import (
    DEPTH_CAPACITY,
    OPACITY_CAPACITY,
    CoherentConfig,
    capacity,
    configure,
    initial_opacity,
)
from fewview.recon.methods.coherentgs.model import DEPTH, OPACITY, Coherent
from fewview.recon.methods.coherentgs.prepared_views import prepared_views
from fewview.recon.methods.method_contract import Inputs
from fewview.recon.optimise.trainer import Trainer, fit
from fewview.render import render
from fewview.scene.errors import BadInputError
from support.coherent_scenes import coherent, depths_of, evidence_of
from support.few_views import masked, transparent, wall_and_ball
from support.stereo_scenes import Plane, Sphere, row_of_cameras, stereo_scene
from support.training import capture_of, same_bits, tiny_dataset

LAYERED = stereo_scene([Plane((0.0, 0.0, 1.0), 6.0), Sphere((0.3, 0.0, 2.6), 0.5)], row_of_cameras(3, 48, 36, 0.4))
FAST = {"depth_lr": 3e-3, "depth_lr_low": 1e-3, "opacity_lr": 1e-3, "opacity_lr_low": 1e-3}


def test_every_pixel_has_a_gaussian_from_first_to_last() -> None:
    model, dataset, config = coherent(alignment="inverse", steps=6)
    counts: list[int] = []
    result = fit(model, dataset, config, callbacks=[lambda step, m, figures: counts.append(len(m.splat()))])
    assert counts == [3 * 48 * 36] * 6
    assert len(result.splat) == 3 * 48 * 36


def test_gaussians_project_onto_their_pixels_after_training() -> None:
    model, dataset, config = coherent(alignment="inverse", steps=12, **FAST)
    before = [z.clone() for z in depths_of(model)]
    means = fit(model, dataset, config).splat.gaussians.means.reshape(3, 36, 48, 3)
    assert any(float((a - b).abs().max()) > 1e-3 for a, b in zip(before, depths_of(model), strict=True))
    x, y = torch.meshgrid(torch.arange(48) + 0.5, torch.arange(36) + 0.5, indexing="xy")
    for view in range(3):
        camera = dataset.cameras[view]
        in_camera = means[view] @ camera.cam_from_world[:3, :3].T + camera.cam_from_world[:3, 3]
        pixel = in_camera @ camera.K.T
        pixel = pixel[..., :2] / pixel[..., 2:]
        assert float((pixel - torch.stack([x, y], dim=-1)).abs().max()) < 0.01


def test_decoders_begin_at_the_aligned_depth_and_the_first_opacity() -> None:
    model, _, _ = coherent(alignment="inverse", initial_opacity=0.35, depth_capacity=2)
    with torch.no_grad():
        depths, logits = model._decoded()
    for now, aligned in zip(depths, model._aligned(), strict=True):
        torch.testing.assert_close(now, aligned.flatten(), rtol=0, atol=0.02)  # of 50
    torch.testing.assert_close(torch.cat(logits).sigmoid(), torch.full((3 * 48 * 36,), 0.35), atol=0.01, rtol=0)


def test_alignment_finds_scale_and_offset() -> None:
    """Depth to a scale and an offset of its own in each view, as the stage has it: both come back."""
    model, dataset, config = coherent(
        LAYERED, alignment="learned", alignment_steps=0.95, steps=420, alignment_scale_lr=0.3, alignment_offset_lr=0.3
    )
    true = [z / model.prepared.unit for z in LAYERED.depths]
    scales, offsets = torch.tensor([0.6, 0.9, 1.3]), torch.tensor([0.5, -0.3, 0.2])
    model.depths = [(z - o) / s for z, s, o in zip(true, scales, offsets, strict=True)]
    trainer = Trainer(model, dataset, config)
    losses = []
    while trainer.step < config.first_part:
        losses.append(trainer.advance())
    assert sum(losses[:3]) > 5 * sum(losses[-3:])
    for found, wanted in zip(model._aligned(), true, strict=True):
        torch.testing.assert_close(found.detach(), wanted, rtol=0.03, atol=0.03)
    torch.testing.assert_close(model.alignment["scale"].detach(), scales, rtol=0.05, atol=0.02)
    torch.testing.assert_close(model.alignment["offset"].detach(), offsets, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("scales", [(1.0, 1.0, 1.0), (0.4, 2.0, 7.0)])
def test_inverse_alignment_finds_the_true_depth(scales: tuple[float, ...]) -> None:
    dataset, monocular, flow = evidence_of(LAYERED, scales=scales, offsets=(0.3, 0.0, 0.1))
    prepared = prepared_views(dataset, monocular, flow, CoherentConfig(alignment="inverse"))
    for depth, true in zip(prepared.depths, LAYERED.depths, strict=True):
        error = (prepared.unit * depth / true - 1).abs()
        assert float(error.median()) < 0.01


def test_the_nearest_surface_is_four_thirds_of_a_unit_away() -> None:
    dataset, monocular, flow = evidence_of(LAYERED)
    for factor in (1.0, 0.01, 300.0):
        moved = dataset.cameras.cam_from_world.clone()
        moved[:, :3, 3] *= factor
        scaled = replace(dataset, cameras=replace(dataset.cameras, cam_from_world=moved))
        prepared = prepared_views(scaled, monocular, flow, CoherentConfig(alignment="inverse"))
        nearest = factor * min(float(z.min()) for z in LAYERED.depths)
        assert prepared.unit == pytest.approx(0.75 * nearest, rel=0.05)


def test_layers_part_every_view_and_agree_with_depth() -> None:
    prepared = coherent(LAYERED)[0].prepared
    for layer, shown, depth in zip(prepared.layers, prepared.shown_layers, LAYERED.depths, strict=True):
        one_hot = torch.stack([layer == k for k in range(5)])
        assert bool((one_hot.sum(0) == 1).all())
        assert shown.shape == depth.shape
        assert float(depth[shown == shown.max()].mean()) < float(depth[shown == 0].mean())


def test_depth_moves_smoothly_within_layers_and_may_jump_between() -> None:
    model, dataset, config = coherent(LAYERED, alignment="inverse", steps=60, **FAST)
    fit(model, dataset, config)
    within, between = [], []
    with torch.no_grad():
        moved = [a - b for a, b in zip(model._whole(model._decoded()[0]), model._aligned(), strict=True)]
    for change, layer in zip(moved, model.prepared.layers, strict=True):
        same = layer[:, 1:] == layer[:, :-1]
        apart = change.diff(dim=1).abs()
        within.append(apart[same])
        between.append(apart[~same])
    assert float(torch.cat(within).mean()) < 0.3 * float(torch.cat(between).mean())


def test_sizes_are_those_of_pixels_at_every_reset() -> None:
    model, dataset, config = coherent(alignment="inverse", steps=26, reset_every=5, scale_lr=0.05, **FAST)
    trainer = Trainer(model, dataset, config)
    bound = config.bound_steps
    assert bound == 16
    focal_px, height = float(dataset.cameras.K[0, 1, 1]), 36
    tangent = height / 2 / focal_px
    while trainer.step < config.steps:
        depth = torch.cat([z.flatten() for z in depths_of(model)])
        trainer.advance()
        if (trainer.step - 1) % 5 == 0 and trainer.step <= bound:
            sizes = model.pixels["log_scales"].detach().exp()
            torch.testing.assert_close(sizes, (1.2 * tangent * depth / height)[:, None].expand(-1, 3))
    sizes = model.pixels["log_scales"].detach().exp()
    assert float((sizes / (1.2 * tangent * depths_of(model)[0].mean() / height)).std()) > 0  # free now
    assert not torch.equal(sizes[:, 0], sizes[:, 1])


@pytest.mark.parametrize(("color_lr", "stays"), [(0.0, True), (5e-3, False)])
def test_base_colours_stay_as_released(color_lr: float, stays: bool) -> None:
    model, dataset, config = coherent(alignment="inverse", steps=12, color_lr=color_lr)
    before = model.pixels["sh"].detach().clone()
    fit(model, dataset, config)
    after = model.pixels["sh"].detach()
    assert after.shape[1] == 16
    assert torch.equal(before[:, 0], after[:, 0]) is stays
    assert bool((after[:, 1:] != 0).any())


def test_the_degree_rises_once_sizes_are_free() -> None:
    config = CoherentConfig()
    released = {0: 0, 7999: 0, 8000: 1, 8999: 1, 9000: 2, 10_000: 3, 12_999: 3}
    assert {done: config.degree_at(done) for done in released} == released
    assert (config.first_part, config.second_part, config.bound_steps) == (1000, 13_000, 8000)


def test_a_new_side_shows_holes_and_round_gaussians() -> None:
    """A step aside, the wall behind the ball was seen by nobody: nothing is drawn there, and nothing is drawn out."""
    scene = stereo_scene([Plane((0.0, 0.0, 1.0), 6.0), Sphere((0.0, 0.0, 2.0), 0.5)], row_of_cameras(2, 64, 48, 0.05))
    dataset, monocular, flow = evidence_of(scene)
    config = CoherentConfig(steps=20, alignment="inverse", depth_capacity=1, opacity_capacity=1, checkpoint_every_s=0.0)
    model = Coherent(prepared_views(dataset, monocular, flow, config), config, "cpu")
    splat = fit(model, dataset, config).splat
    side = row_of_cameras(2, 64, 48, 1.0)[1]
    seen, own = (render(splat.gaussians, camera).alpha for camera in (side, dataset.cameras[0]))
    assert float(own.min()) > 0.5
    middle = seen[:, 16:48]  # away from what lies beyond the photographs' borders
    assert 0.01 < float((middle < 0.1).float().mean()) < 0.5
    scales = splat.gaussians.scales
    assert float((scales.amax(1) / scales.amin(1)).mean()) < 1.05
    filled = CoherentConfig.quick(steps=20, spacing_px=1, unseen="filled", alignment="inverse")
    model = Coherent(prepared_views(dataset, monocular, flow, filled), filled, "cpu")
    guessed = render(model.result().gaussians, side).alpha
    assert float((guessed[:, 16:48] < 0.1).float().mean()) < 0.3 * float((middle < 0.1).float().mean())
    assert len(model.result()) > len(model.splat()) == 2 * 64 * 48


def test_perfect_evidence_has_no_flow_loss_and_its_mask_holes_only_at_edges() -> None:
    scene = wall_and_ball(2, 96, 72, 0.3)
    dataset, monocular, flow = evidence_of(scene)
    model = Coherent(
        prepared_views(dataset, monocular, flow, CoherentConfig(alignment="inverse")), CoherentConfig(), "cpu"
    )
    exact = [z / model.prepared.unit for z in scene.depths]
    wrong = [1.1 * z for z in exact]
    assert float(model._flow_distance(0, exact)) < 0.05 * float(model._flow_distance(0, wrong))
    agrees = flow.fields[0, 1].agrees
    depth = scene.depths[0]
    # Far from the border and from the ball's outline everything agrees.
    edge = torch.zeros_like(agrees)
    steps = depth.diff(dim=1).abs() > 0.2
    edge[:, 1:] |= steps
    near = torch.nn.functional.max_pool2d(edge.float()[None], 25, 1, 12)[0] > 0
    inner = torch.zeros_like(agrees)
    inner[12:-12, 24:-24] = True
    assert bool(agrees[inner & ~near].all())
    assert bool((~agrees)[inner & near].any())
    assert AGREES == 0.5


def test_masked_and_transparent_pixels_have_no_gaussian() -> None:
    scene = wall_and_ball(3)
    dataset, monocular, flow = evidence_of(scene)
    left = torch.zeros(36, 48, dtype=torch.bool)
    left[:, :24] = True
    some = transparent(masked(dataset, 0, left), 1, ~left)
    config = CoherentConfig(steps=4, alignment="inverse", depth_capacity=1, opacity_capacity=1, checkpoint_every_s=0.0)
    model = Coherent(prepared_views(some, monocular, flow, config), config, "cpu")
    assert len(model.splat()) == (24 + 24 + 48) * 36
    fit(model, some, config)


def test_gaussians_may_stand_for_squares_of_pixels() -> None:
    model, dataset, config = coherent(alignment="inverse", spacing_px=2, steps=4)
    assert len(fit(model, dataset, config).splat) == 3 * 24 * 18


def test_free_residuals_have_no_decoder() -> None:
    model, dataset, config = coherent(alignment="inverse", decoder="free", steps=6, **FAST)
    assert model.modules == {}
    before = depths_of(model)
    fit(model, dataset, config)
    assert any(not torch.equal(a, b) for a, b in zip(before, depths_of(model), strict=True))


def test_the_opacity_range_and_the_depth_range_bound_what_decoders_say() -> None:
    model, _, _ = coherent(alignment="inverse", depth_range=0.5, opacity_range=2.0)
    with torch.no_grad():
        for name in (DEPTH, OPACITY):
            model.modules[name].last.bias.fill_(100.0)
        depths, logits = model._decoded()
    torch.testing.assert_close(torch.cat(depths), torch.cat([z.flatten() for z in model._aligned()]) + 0.5)
    torch.testing.assert_close(torch.cat(logits), torch.full((3 * 48 * 36,), 2.0), atol=1e-5, rtol=0)


def inputs(views: int) -> Inputs:
    dataset = tiny_dataset(views)
    return Inputs(dataset, capture_of(dataset))


@pytest.mark.parametrize(
    ("views", "depth", "opacity"), [(2, 10, 6), (3, 15, 10), (4, 18, 12), (5, 21, 14), (9, 33, 22)]
)
def test_values_follow_the_number_of_photographs(views: int, depth: int, opacity: int) -> None:
    assert (capacity(DEPTH_CAPACITY, views), capacity(OPACITY_CAPACITY, views)) == (depth, opacity)
    chosen = configure(inputs(views), {"preset": "released"})
    assert (chosen.depth_capacity, chosen.opacity_capacity) == (depth, opacity)
    assert chosen.initial_opacity == initial_opacity(views)
    opaque = 1 - (1 - initial_opacity(views)) ** views
    if views >= 4:
        assert opaque == pytest.approx(1 - 0.65**4)


def test_presets_are_the_released_the_papers_and_the_quick_values() -> None:
    released, paper, quick = (configure(inputs(3), {"preset": p}) for p in ("released", "paper", "quick"))
    assert (released.color_lr, released.layered_from, released.flow_weight) == (0.0, 0.35, 0.01)
    assert (paper.color_lr, paper.layered_from, paper.flow_weight) == (5e-4, 0.0, 0.1)
    assert (paper.layered_share(0), released.layered_share(0)) == (0.0, 0.35)
    assert paper.layered_share(paper.second_part) == released.layered_share(released.second_part) == 1.0
    assert quick.steps < 2000
    photographs = torch.stack([view.pixels.float() for view in inputs(3).dataset.views])
    torch.testing.assert_close(torch.tensor(quick.background), photographs.mean((0, 1, 2)) / 255, atol=1e-4, rtol=0)
    assert released.background == (1.0, 1.0, 1.0)
    with pytest.raises(BadInputError, match="preset is 'slow'"):
        configure(inputs(3), {"preset": "slow"})
    assert configure(inputs(3), {}) == replace(quick, preset="auto")
    assert configure(inputs(3), {"steps": 77}).steps == 77


def test_the_seed_makes_the_decoders() -> None:
    a, b, c = (coherent(alignment="inverse", seed=s)[0].splat().detach() for s in (0, 0, 1))
    assert same_bits(a, b)
    assert not same_bits(a, c)


def test_views_of_different_sizes_have_their_own_lattices() -> None:
    scene, cropped = wall_and_ball(3), 40
    dataset, _, _ = evidence_of(scene)
    views, cameras = list(dataset.views), replace(dataset.cameras, width=torch.tensor([48, 48, cropped]))
    views[2] = replace(views[2], pixels=views[2].pixels[:, :cropped].contiguous())
    smaller = replace(dataset, views=tuple(views), cameras=cameras)
    depths = [d if v < 2 else d[:, :cropped].contiguous() for v, d in enumerate(scene.depths)]
    flow = flow_by_depth(Stereo(cameras, tuple(DepthMap(d, torch.full_like(d, 5.0)) for d in depths)))
    monocular = MonocularDepth(tuple(1 / d for d in depths))
    config = CoherentConfig(steps=4, alignment="inverse", depth_capacity=1, opacity_capacity=1, checkpoint_every_s=0.0)
    model = Coherent(prepared_views(smaller, monocular, flow, config), config, "cpu")
    assert len(fit(model, smaller, config).splat) == 2 * 48 * 36 + cropped * 36
