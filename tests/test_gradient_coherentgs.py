"""Gradients of CoherentGS's losses against finite differences, in double precision."""

from __future__ import annotations

import torch
from fewview.recon.methods.coherentgs.coherence_losses import coarse_l1, disparity_variation
from fewview.recon.methods.coherentgs.pixel_lattice import Match
from torch import Tensor


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_gradient_of_the_variation() -> None:
    depth, layer = (1 + 3 * random(5, 6)).requires_grad_(), (3 * random(5, 6, seed=1)).long()
    assert torch.autograd.gradcheck(lambda z: disparity_variation(z, layer, 5, 0.4), depth)


def test_gradient_of_coarse_pictures() -> None:
    image, target = random(8, 8, 3).requires_grad_(), random(8, 8, 3, seed=1)
    assert torch.autograd.gradcheck(lambda x: coarse_l1(x, target, 3), image)


def test_gradient_of_the_distance_of_matches() -> None:
    here, there = random(4, 5, 3).requires_grad_(), random(4, 5, 3, seed=1).requires_grad_()
    match = Match(0, 1, torch.tensor([0, 3, 7, 12]), 0.7 + 3 * random(4, 2, seed=2))
    assert torch.autograd.gradcheck(match.distance, (here, there))
