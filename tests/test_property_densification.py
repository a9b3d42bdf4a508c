"""Densification keeps its budget and takes every row of the optimiser with it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from fewview.recon.methods.gaussian_splatting.model import GaussianSplattingConfig, initialise
from fewview.recon.optimise.adam import Adam, Parameters
from fewview.recon.optimise.adaptive_density_control import AdaptiveDensity, Rounds
from fewview.recon.optimise.contract import Drawn
from fewview.recon.optimise.trainer import _Trainer
from fewview.scene.geometry import rotation_from_quat
from support.training import tiny_dataset, truth

CONFIG = GaussianSplattingConfig(
    steps=40, sh_degree=1, densify_from=0.1, densify_until=0.8, densify_every=4, max_gaussians=57, grow_gradient=1e-5
)


@pytest.mark.parametrize("densification", ["default", "mcmc"])
def test_rows_follow_and_the_budget_holds(densification):
    dataset = tiny_dataset()
    config = replace(CONFIG, densification=densification)
    model = initialise(dataset, config)
    trainer = _Trainer(model, dataset, config, run=None)
    counts = []
    for _ in range(config.steps):
        trainer.advance()
        n = model.groups["means"].tensor.shape[0]
        counts.append(n)
        for name, group in model.groups.items():
            assert group.tensor.shape[0] == n
            assert trainer.optimizer.exp_avg[name].shape == group.tensor.shape
            assert trainer.optimizer.exp_avg_sq[name].shape == group.tensor.shape
            assert group.tensor.is_leaf
            assert bool(group.tensor.isfinite().all())
    assert max(counts) == config.max_gaussians
    assert counts[31:] == [counts[31]] * 9  # nothing is added after densify_until


def test_more_points_than_the_budget_are_thinned():
    dataset = tiny_dataset()
    model = initialise(dataset, replace(CONFIG, max_gaussians=10))
    assert model.groups["means"].tensor.shape[0] == 10


def _adaptive(count: int, **changes) -> AdaptiveDensity:
    values = {
        "count": count, "budget": 100, "extent": 1.0, "grow_gradient": 0.5, "split_scale": 0.1, "prune_opacity": 0.005,
        "prune_scale": 0.0, "opacity_resets": 0, "device": torch.device("cpu"),
    }  # fmt: skip
    return AdaptiveDensity(Rounds(0, 10, 1), **(values | changes))


def _optimizer(log_scales: torch.Tensor, logits: torch.Tensor) -> Adam:
    n = len(logits)
    scene = truth(count=n)
    return Adam(
        {
            "means": Parameters(scene.means),
            "quats": Parameters(scene.quats),
            "log_scales": Parameters(log_scales),
            "opacity_logits": Parameters(logits),
            "sh": Parameters(torch.arange(n * 3.0).reshape(n, 1, 3)),
        }
    )


def _drawn(gradient: torch.Tensor) -> Drawn:
    """A step whose screen gradient has length `gradient` [N] in half-widths of a 20 x 10 image; 0 is unseen."""
    n = len(gradient)
    means2d = torch.zeros(1, n, 2, requires_grad=True)
    means2d.grad = torch.stack([gradient * 0.6 / 10, gradient * 0.8 / 5], dim=-1)[None]
    info = {"means2d": means2d, "radii": (gradient > 0)[None, :, None].expand(1, n, 2).int(), "width": 20, "height": 10}
    nothing = torch.zeros(0)
    return Drawn(0, truth(count=1), nothing, nothing, nothing, nothing, None, info)


def test_small_ones_are_copied_large_ones_split_transparent_ones_dropped():
    small, large = [-4.0] * 3, [-1.0, -2.0, -3.0]
    log_scales = torch.tensor([small, large, small, large, small])
    logits = torch.tensor([1.0, 2.0, -8.0, 3.0, 4.0])
    optimizer = _optimizer(log_scales, logits)
    means, quats = optimizer.groups["means"].tensor.detach(), optimizer.groups["quats"].tensor.detach()
    # Gaussian 2 is transparent, 3 pulls too little, 4 does not pull.
    _adaptive(5).after_step(0, _drawn(torch.tensor([0.6, 0.7, 0.9, 0.4, 0.0])), optimizer, 0.1, torch.Generator())
    result = {n: g.tensor.detach() for n, g in optimizer.groups.items()}
    order = [0, 3, 4, 0, 1, 1]  # kept, then the copy, then the two children
    assert torch.equal(result["sh"][:, 0, 0], torch.tensor([3.0 * i for i in order]))
    assert torch.equal(result["opacity_logits"], logits[order])
    assert torch.equal(result["means"][:4], means[[0, 3, 4, 0]])
    torch.testing.assert_close(result["log_scales"][4:], log_scales[[1, 1]] - torch.tensor(1.6).log())
    # The children lie where their parent's density is: within five of its standard deviations.
    local = (result["means"][4:] - means[1]) @ rotation_from_quat(quats[1])
    assert (local.abs() < 5 * log_scales[1].exp()).all()
    assert (local != 0).all()


def test_the_budget_goes_to_the_strongest():
    n = 6
    optimizer = _optimizer(torch.full((n, 3), -4.0), torch.ones(n))
    gradient = torch.tensor([0.6, 0.9, 0.7, 0.8, 0.55, 0.0])
    _adaptive(n, budget=8).after_step(0, _drawn(gradient), optimizer, 0.1, torch.Generator())
    assert torch.equal(optimizer.groups["sh"].tensor[n:, 0, 0].detach(), torch.tensor([3.0, 9.0]))  # of 1 and 3


def test_large_ones_are_pruned_only_when_told():
    log_scales = torch.tensor([[-4.0] * 3, [0.5] * 3])
    for prune_scale, left in ((0.0, 2), (1.0, 1)):
        optimizer = _optimizer(log_scales, torch.ones(2))
        density = _adaptive(2, prune_scale=prune_scale)
        density.after_step(0, _drawn(torch.zeros(2)), optimizer, 0.1, torch.Generator())
        assert optimizer.groups["means"].tensor.shape[0] == left


def test_never_are_all_pruned():
    optimizer = _optimizer(torch.full((3, 3), -4.0), torch.full((3,), -9.0))
    _adaptive(3).after_step(0, _drawn(torch.zeros(3)), optimizer, 0.1, torch.Generator())
    assert optimizer.groups["means"].tensor.shape[0] == 3


def test_opacity_resets_happen_and_forget_the_moments():
    optimizer = _optimizer(torch.full((3, 3), -4.0), torch.tensor([2.0, 0.0, -5.0]))
    optimizer.exp_avg["opacity_logits"].fill_(1.0)
    density = _adaptive(3, opacity_resets=1)
    assert density.reset_steps == {5}
    density.after_step(4, _drawn(torch.zeros(3)), optimizer, 0.1, torch.Generator())
    opacities = optimizer.groups["opacity_logits"].tensor.detach().sigmoid()
    torch.testing.assert_close(opacities, torch.tensor([0.01, 0.01, torch.tensor(-5.0).sigmoid()]))
    assert not optimizer.exp_avg["opacity_logits"].any()


def test_the_count_of_mcmc_follows_its_path():
    config = replace(CONFIG, densification="mcmc", steps=1000, max_gaussians=6400)
    dataset = tiny_dataset()
    sampling = initialise(dataset, config).densifier
    assert sampling.target_count(0) == 24
    assert sampling.target_count(449) == round((24 * 6400) ** 0.5)  # half way between 100 and 800
    assert sampling.target_count(799) == sampling.target_count(999) == 6400
