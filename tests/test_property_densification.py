"""Densification keeps its budget and takes every row of the optimiser with it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from fewview.recon.methods.gaussian_splatting.config import GaussianSplattingConfig
from fewview.recon.methods.gaussian_splatting.model import initialise
from fewview.recon.optimise.adaptive_density_control import AdaptiveDensityControl
from fewview.recon.optimise.rounds import Rounds
from fewview.recon.optimise.step import Render
from fewview.recon.optimise.table import Table
from fewview.recon.optimise.trainer import Trainer
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
    trainer = Trainer(model, dataset, config)
    counts = []
    for _ in range(config.steps):
        trainer.advance()
        n = model.table.rows
        counts.append(n)
        for column in model.table.columns.values():
            assert column.tensor.shape[0] == n
            assert column.exp_avg.shape == column.tensor.shape
            assert column.exp_avg_sq.shape == column.tensor.shape
            assert column.tensor.is_leaf
            assert bool(column.tensor.isfinite().all())
    assert max(counts) == config.max_gaussians
    assert counts[31:] == [counts[31]] * 9  # nothing is added after densify_until


def test_more_points_than_the_budget_are_thinned():
    dataset = tiny_dataset()
    model = initialise(dataset, replace(CONFIG, max_gaussians=10))
    assert model.table.rows == 10


def _adaptive(count: int, **changes) -> AdaptiveDensityControl:
    values = {
        "count": count, "budget": 100, "scene_scale": 1.0, "grow_gradient": 0.5, "split_scale": 0.1,
        "prune_opacity": 0.005, "prune_scale": 0.0, "opacity_resets": 0, "device": torch.device("cpu"),
    }  # fmt: skip
    return AdaptiveDensityControl(Rounds(0, 10, 1), **(values | changes))


def _table(log_scales: torch.Tensor, logits: torch.Tensor) -> Table:
    n = len(logits)
    scene = truth(count=n)
    return Table(
        {
            "means": scene.means,
            "quats": scene.quats,
            "log_scales": log_scales,
            "opacity_logits": logits,
            "sh": torch.arange(n * 3.0).reshape(n, 1, 3),
        }
    )


@dataclass
class _OneStep:
    """The part of a step that densification looks at."""

    index: int
    renders: dict[int, Render]
    level: int = 0  # how often the photographs are halved
    generator: torch.Generator = field(default_factory=torch.Generator)


def _step(index: int, gradient: torch.Tensor) -> Any:
    """A step whose screen gradient has length `gradient` [N] in half-widths of a 20 x 10 image; 0 is unseen."""
    n = len(gradient)
    means2d = torch.zeros(1, n, 2, requires_grad=True)
    means2d.grad = torch.stack([gradient * 0.6 / 10, gradient * 0.8 / 5], dim=-1)[None]
    info = {"means2d": means2d, "radii": (gradient > 0)[None, :, None].expand(1, n, 2).int(), "width": 20, "height": 10}
    nothing = torch.zeros(0)
    render = Render(truth(count=1), nothing, nothing, nothing, nothing, None, None, info)
    return _OneStep(index, {0: render})


def test_small_ones_are_copied_large_ones_split_transparent_ones_dropped():
    small, large = [-4.0] * 3, [-1.0, -2.0, -3.0]
    log_scales = torch.tensor([small, large, small, large, small])
    logits = torch.tensor([1.0, 2.0, -8.0, 3.0, 4.0])
    table = _table(log_scales, logits)
    means, quats = table["means"].detach(), table["quats"].detach()
    # Gaussian 2 is transparent, 3 pulls too little, 4 does not pull.
    _adaptive(5).after_step(_step(0, torch.tensor([0.6, 0.7, 0.9, 0.4, 0.0])), table, 0.1)
    result = {n: tensor.detach() for n, tensor in table.items()}
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
    table = _table(torch.full((n, 3), -4.0), torch.ones(n))
    gradient = torch.tensor([0.6, 0.9, 0.7, 0.8, 0.55, 0.0])
    _adaptive(n, budget=8).after_step(_step(0, gradient), table, 0.1)
    assert torch.equal(table["sh"][n:, 0, 0].detach(), torch.tensor([3.0, 9.0]))  # of 1 and 3


@pytest.mark.parametrize(("by_size", "level", "end"), [(False, 2, 16), (True, 0, 16), (True, 1, 10), (True, 2, 8)])
def test_small_photographs_get_a_share_of_the_budget(by_size: bool, level: int, end: int) -> None:
    """All of 8 Gaussians want to grow; a budget of 40 is 10 at half size and 2 at a quarter, where none goes for it."""
    table = _table(torch.full((8, 3), -4.0), torch.ones(8))
    step = replace(_step(0, torch.full((8,), 0.6)), level=level)
    _adaptive(8, budget=40, budget_by_size=by_size).after_step(step, table, 0.1)
    assert table.rows == end


def test_large_ones_are_pruned_only_when_told():
    log_scales = torch.tensor([[-4.0] * 3, [0.5] * 3])
    for prune_scale, left in ((0.0, 2), (1.0, 1)):
        table = _table(log_scales, torch.ones(2))
        density = _adaptive(2, prune_scale=prune_scale)
        density.after_step(_step(0, torch.zeros(2)), table, 0.1)
        assert table.rows == left


def test_never_are_all_pruned():
    table = _table(torch.full((3, 3), -4.0), torch.full((3,), -9.0))
    _adaptive(3).after_step(_step(0, torch.zeros(3)), table, 0.1)
    assert table.rows == 3


def test_opacity_resets_happen_and_forget_the_moments():
    table = _table(torch.full((3, 3), -4.0), torch.tensor([2.0, 0.0, -5.0]))
    table.columns["opacity_logits"].exp_avg.fill_(1.0)
    density = _adaptive(3, opacity_resets=1)
    assert density.reset_steps == {5}
    density.after_step(_step(4, torch.zeros(3)), table, 0.1)
    opacities = table["opacity_logits"].detach().sigmoid()
    torch.testing.assert_close(opacities, torch.tensor([0.01, 0.01, torch.tensor(-5.0).sigmoid()]))
    assert not table.columns["opacity_logits"].exp_avg.any()


def test_the_count_of_mcmc_follows_its_path():
    config = replace(CONFIG, densification="mcmc", steps=1000, max_gaussians=6400)
    dataset = tiny_dataset()
    sampling = initialise(dataset, config).densifier
    assert sampling.target_count(0) == 24
    assert sampling.target_count(449) == round((24 * 6400) ** 0.5)  # half way between 100 and 800
    assert sampling.target_count(799) == sampling.target_count(999) == 6400
