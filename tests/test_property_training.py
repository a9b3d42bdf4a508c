"""Training on tiny photographs of a known splat."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from fewview.recon.methods.gaussian_splatting.config import GaussianSplattingConfig
from fewview.recon.methods.gaussian_splatting.model import GaussianSplatting, gaussians_from_points, initialise
from fewview.recon.optimise.dataset import Dataset, View
from fewview.recon.optimise.trainer import fit
from fewview.scene.cameras import Cameras
from fewview.scene.errors import BadInputError, FewviewError
from fewview.scene.geometry import rotation_angle, se3_exp
from support.training import HEIGHT, WIDTH, photograph, same_bits, tiny_dataset, truth, with_cameras

CONFIG = GaussianSplattingConfig(steps=30, sh_degree=1, max_gaussians=60, densify_every=5, random_points=40)


def _mean_error(gaussians, dataset: Dataset, background=(0.0, 0.0, 0.0)) -> float:
    back = torch.tensor(background)
    errors = []
    for i in dataset.train:
        rgb, alpha = photograph(gaussians, dataset.cameras, i)
        errors.append((rgb + (1 - alpha[..., None]) * back - dataset.view(i).target(back)).abs().mean())
    return float(torch.stack(errors).mean())


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"densification": "none"},
        {"densification": "mcmc", "initial_opacity": 0.5, "opacity_weight": 0.01, "scale_weight": 0.01},
        {"sparse_adam": True},
        {"antialiased": True},
        {"coarse_levels": 1},
        {"opacity_resets": 1, "prune_scale": 0.5},
    ],
    ids=lambda changes: ",".join(changes) or "default",
)
def test_training_halves_the_error(changes):
    dataset = tiny_dataset()
    config = replace(CONFIG, opacity_lr=0.1, scale_lr=0.02, sh_lr=0.05, steps=60, **changes)
    model = initialise(dataset, config)
    with torch.no_grad():
        before = _mean_error(model.splat(), dataset)
    result = fit(model, dataset, config)
    assert result.step == 60
    assert not result.interrupted
    # Five seeds leave 0.19 to 0.50 of the error, the most where opacities are reset on the way.
    assert _mean_error(result.splat.gaussians, dataset) < 0.6 * before
    assert result.splat.gaussians.sh_degree == 1


@pytest.mark.parametrize("densification", ["default", "mcmc"])
def test_two_runs_give_the_same_bits(densification):
    config = replace(CONFIG, densification=densification, random_background=True, refine_poses=True)
    results = []
    for _ in range(2):
        dataset = tiny_dataset()
        torch.manual_seed(int(torch.randint(1000, ())))  # the global generator must not matter
        results.append(fit(initialise(dataset, config), dataset, config))
    assert same_bits(results[0].splat.gaussians, results[1].splat.gaussians)
    assert torch.equal(results[0].cameras.cam_from_world, results[1].cameras.cam_from_world)


def test_another_seed_gives_another_result():
    dataset = tiny_dataset()
    a, b = (fit(initialise(dataset, c), dataset, c) for c in (CONFIG, replace(CONFIG, seed=1)))
    assert not same_bits(a.splat.gaussians, b.splat.gaussians)


@pytest.mark.parametrize("background", ["black", "white", "random"])
def test_transparent_photographs_are_composited(background):
    dataset = tiny_dataset(rgba=True)
    color = (1.0, 1.0, 1.0) if background == "white" else (0.0, 0.0, 0.0)
    config = replace(
        CONFIG, steps=80, background=color, random_background=background == "random", opacity_lr=0.1, sh_lr=0.05
    )
    model = initialise(dataset, config)
    with torch.no_grad():
        before = _mean_error(model.splat(), dataset, color)
    result = fit(model, dataset, config)
    # About half is left, whatever the seed; photographs composited onto the wrong colour end with five times as much as
    # there was.
    assert _mean_error(result.splat.gaussians, dataset, color) < 0.65 * before


def test_masked_pixels_do_not_count():
    dataset = tiny_dataset()
    mask = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    mask[:, : WIDTH // 2] = True
    damaged = []
    for view in dataset.views:
        pixels = view.pixels.clone()
        pixels[:, WIDTH // 2 :] = 255
        damaged.append((View(pixels, mask, view.K), View(view.pixels, mask, view.K)))
    results = []
    for which in (0, 1):
        masked = replace(dataset, views=tuple(pair[which] for pair in damaged))
        results.append(fit(initialise(masked, CONFIG), masked, CONFIG).splat.gaussians)
    assert same_bits(*results)


def test_random_points_lie_in_front_of_the_cameras_that_see_them():
    dataset = tiny_dataset(with_points=False)
    config = replace(CONFIG, random_points=200, max_gaussians=150)
    model = initialise(dataset, config)
    means = model.table["means"].detach()
    assert means.shape == (150, 3)
    cameras = dataset.cameras
    in_cam = torch.einsum("vij,nj->vni", cameras.cam_from_world[:, :3, :3], means)
    in_cam = in_cam + cameras.cam_from_world[:, None, :3, 3]
    pixel = torch.einsum("vij,vnj->vni", cameras.K, in_cam)
    uv = pixel[..., :2] / pixel[..., 2:]
    inside = (in_cam[..., 2] > 0) & (uv >= -1e-3).all(-1) & (uv[..., 0] <= WIDTH + 1e-3) & (uv[..., 1] <= HEIGHT + 1e-3)
    assert inside.any(dim=0).all()
    # The scene is a ball of radius about 1 at distance 3; random points must surround it.
    assert in_cam[..., 2].median() == pytest.approx(2.5, abs=1.0)


def test_training_from_random_points_reduces_the_error():
    dataset = tiny_dataset(with_points=False)
    config = replace(CONFIG, steps=60, opacity_lr=0.1, scale_lr=0.02, sh_lr=0.02, random_points=60)
    model = initialise(dataset, config)
    with torch.no_grad():
        before = _mean_error(model.splat(), dataset)
    # Which points are drawn depends on the seed and on the platform's random numbers: eight draws leave 0.50 to 0.56.
    assert _mean_error(fit(model, dataset, config).splat.gaussians, dataset) < 0.75 * before


@pytest.mark.parametrize("frozen", [True, False], ids=["Gaussians frozen", "everything moves"])
def test_pose_refinement_recovers_a_moved_camera(frozen):
    dataset = tiny_dataset(views=4)
    true_cameras = dataset.cameras
    twists = torch.zeros(4, 6)
    twists[2] = torch.tensor([0.02, -0.03, 0.02, 0.05, -0.04, 0.06])
    moved = replace(true_cameras, cam_from_world=se3_exp(twists) @ true_cameras.cam_from_world)
    dataset = with_cameras(dataset, moved)
    still = dict.fromkeys(["means_lr", "means_lr_final", "quat_lr", "scale_lr", "opacity_lr", "sh_lr"], 0.0)
    config = GaussianSplattingConfig(
        steps=480, sh_degree=0, densification="none", refine_poses=True, pose_rotation_lr=3e-3,
        pose_translation_lr=3e-3, **(still if frozen else {}),
    )  # fmt: skip
    model = GaussianSplatting(truth(), config, dataset.scene_scale)
    result = fit(model, dataset, config)

    def errors(cameras: Cameras) -> tuple[float, float]:
        offset = cameras.cam_from_world[2] @ true_cameras.cam_from_world[2].inverse()
        return float(rotation_angle(offset[:3, :3])), float(offset[:3, 3].norm())

    before, after = errors(moved), errors(result.cameras)
    # 120 updates of this camera by at most 0.003 each. Gaussians that move, too, follow the wrong camera a little.
    share = 0.25 if frozen else 0.5
    assert after[0] < share * before[0]
    assert after[1] < share * before[1]


def test_the_mcmc_preset_trains_within_its_budget():
    dataset = tiny_dataset()
    config = GaussianSplattingConfig.mcmc(steps=40, max_gaussians=50, densify_every=5, scale_weight=0.0)
    assert (config.densification, config.initial_opacity, config.scale_weight) == ("mcmc", 0.5, 0.0)
    assert len(fit(initialise(dataset, config), dataset, config).splat.gaussians) == 50


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(BadInputError, match="sh_degree is 7"):
        GaussianSplattingConfig(sh_degree=7)
    with pytest.raises(BadInputError, match=r"dssim_weight is 1\.5"):
        GaussianSplattingConfig(dssim_weight=1.5)
    with pytest.raises(BadInputError, match="steps is 0"):
        GaussianSplattingConfig(steps=0)
    with pytest.raises(BadInputError, match="1 to max_gaussians = 5"):
        GaussianSplatting(truth(), GaussianSplattingConfig(max_gaussians=5), 1.0)


def test_a_loss_that_is_no_number_stops_the_run():
    dataset = tiny_dataset()
    model = initialise(dataset, CONFIG)
    model.table["sh"].detach().fill_(float("nan"))
    with pytest.raises(FewviewError, match="The loss became nan at step 1"):
        fit(model, dataset, CONFIG)


def test_threads_are_given_back():
    dataset = tiny_dataset()
    config = replace(CONFIG, steps=1)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        seen: list[int] = []
        watch = lambda step, model, figures: seen.append(torch.get_num_threads())  # noqa: E731
        fit(initialise(dataset, config), dataset, config, callbacks=[watch])
        assert seen == [1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_method_with_row_rates_and_a_fixed_count_is_only_a_model():
    """A pose-free method brings just this: confident points move less, none comes or goes, its own loss, and depth."""
    dataset = tiny_dataset()
    config = replace(CONFIG, densification="none", sh_degree=0, refine_poses=True)
    start = gaussians_from_points(dataset.points, config, dataset.scene_scale)
    row_scale = torch.ones(len(start))
    row_scale[:12] = 0
    seen = []

    class Confident(GaussianSplatting):
        def loss(self, step):
            depth = step.draw(step.views[0], depth=True).depth
            seen.append(depth.shape)
            return super().loss(step) | {"depth": 1e-3 * depth.mean()}

    model = Confident(start, config, dataset.scene_scale, means_row_scale=row_scale)
    result = fit(model, dataset, config)
    assert seen[0] == (HEIGHT, WIDTH)
    assert len(result.splat.gaussians) == len(start)
    moved = (result.splat.gaussians.means != start.means).any(dim=-1)
    assert not moved[:12].any()
    assert moved[12:].float().mean() > 0.9  # a few may be hidden in every view
