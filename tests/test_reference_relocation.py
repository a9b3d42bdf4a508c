"""MCMC's relocation: equation 9 in exact arithmetic, and the picture that it must not change."""

from __future__ import annotations

from decimal import Decimal, localcontext
from math import comb

import pytest
import torch
from fewview.recon.optimise.mcmc_strategy import add_copies, relocate_dead, relocation
from fewview.recon.optimise.table import Table
from fewview.scene.gaussians import Gaussians
from support.training import photograph, ring, truth


def exact_relocation(opacity: float, copies: int) -> tuple[float, float]:
    """Equation 9 of 3DGS-MCMC as it is printed, in 80 digits."""
    with localcontext() as context:
        context.prec = 80
        old = Decimal(opacity)
        new = 1 - (1 - old) ** (Decimal(1) / copies)
        total = Decimal(0)
        for i in range(1, copies + 1):
            for k in range(i):
                total += comb(i - 1, k) * (-1) ** k * new ** (k + 1) / Decimal(k + 1).sqrt()
        return float(new), float(old / total)


@pytest.mark.parametrize("copies", [1, 2, 3, 10, 51, 100])
@pytest.mark.parametrize("opacity", [0.006, 0.1, 0.5, 0.95, 0.9999])
def test_relocation_equals_the_binomial_sum(opacity, copies):
    opacity = float(torch.tensor(opacity))  # what float32 makes of it, so that both start from the same number
    new, factor = relocation(torch.tensor([opacity]), torch.tensor([copies]))
    expected_new, expected_factor = exact_relocation(opacity, copies)
    # The result is rounded to float32 once, 6e-8 relative; the computation is in float64.
    assert float(new) == pytest.approx(expected_new, rel=1e-7)
    assert float(factor) == pytest.approx(expected_factor, rel=1e-7)


def _table(g: Gaussians) -> Table:
    names = ("means", "quats", "log_scales", "opacity_logits", "sh")
    return Table({n: getattr(g, n) for n in names})


def _gaussians(table: Table) -> Gaussians:
    return Gaussians(**{n: tensor.detach() for n, tensor in table.items()})


@pytest.mark.parametrize("what", ["relocate", "add"])
def test_the_picture_stays(what):
    scene = truth(seed=4)
    cameras = ring(3)
    logits = scene.opacity_logits.clone()
    if what == "relocate":
        logits[::4] = -7.0  # dead: opacity 0.0009
    scene = Gaussians(scene.means, scene.quats, scene.log_scales, logits, scene.sh)
    table = _table(scene)
    generator = torch.Generator().manual_seed(0)
    if what == "relocate":
        assert relocate_dead(table, 0.005, generator) == (logits == -7).sum()
        assert (table["opacity_logits"] > -7).all()
    else:
        assert add_copies(table, 36, 0.005, generator) == 36 - len(scene)
        assert table.rows == 36
    shared = _gaussians(table)
    unshared = scene[torch.cdist(shared.means, scene.means).argmin(dim=1)]  # plain copies, in the same places

    def change(gaussians: Gaussians) -> float:
        pairs = [(photograph(gaussians, cameras, i)[0], photograph(scene, cameras, i)[0]) for i in range(3)]
        return float(torch.stack([(after - before).abs().mean() for after, before in pairs]).mean())

    # Equation 9 keeps each Gaussian's integral exactly, its profile only nearly. Which ones are copied is drawn, and
    # how much the picture changes with it, by a factor of four; whatever is drawn, plain copies change it 5 to 8 times
    # as much.
    assert change(shared) < 0.3 * change(unshared)
