"""Gradients of the depth losses, against finite differences in double precision."""

from __future__ import annotations

import pytest
import torch
from fewview.recon.methods.rdg_gs.depth_losses import (
    correlation_loss,
    edge_loss,
    local_correlation_loss,
    released_correlation_loss,
)
from fewview.recon.methods.rdg_gs.relative_depth import (
    cell_depth,
    depth_correlation,
    feature_correlation,
    order_loss,
    relative_loss,
    scale_of,
)
from torch import Tensor

G = torch.Generator().manual_seed(0)
DEPTH = 0.3 + torch.rand(16, 24, generator=G, dtype=torch.float64)
PRIOR = 0.3 + torch.rand(16, 24, generator=G, dtype=torch.float64)
ALL = torch.ones(16, 24, dtype=torch.bool)
FEATURES = torch.nn.functional.normalize(torch.randn(6, 4, generator=G, dtype=torch.float64), dim=1)
PAIRS = ~torch.eye(6, dtype=torch.bool)
APART = torch.rand(6, 6, generator=G) < 0.7


def relative(inverse: Tensor, features: Tensor = FEATURES) -> Tensor:
    cells = cell_depth(inverse, scale_of(inverse, ALL))
    return relative_loss(depth_correlation(cells, cells), feature_correlation(features, features, PAIRS), PAIRS, APART)


def order(inverse: Tensor) -> Tensor:
    cells, prior = (cell_depth(m, scale_of(m, ALL)).mean for m in (inverse, PRIOR))
    return order_loss(cells, cells, prior, prior, PAIRS)


LOSSES = {
    "relative": relative,
    "order": order,
    "pearson": lambda x: correlation_loss(x.flatten(), PRIOR.flatten()),
    "released": lambda x: released_correlation_loss(x.flatten(), PRIOR.flatten()),
    "local": lambda x: local_correlation_loss(x, PRIOR, ALL, 5, (1, 2)),
    "edges": lambda x: edge_loss(x, PRIOR, DEPTH > 0.6),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_finite_differences(name: str) -> None:
    x = DEPTH.clone().requires_grad_()
    loss = LOSSES[name](x)
    (gradient,) = torch.autograd.grad(loss, x)
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    h = 1e-6
    with torch.no_grad():
        slope = (LOSSES[name](x + h * direction) - LOSSES[name](x - h * direction)) / (2 * h)
    # Differences of 1e-6 leave about 1e-9; medians and hinges are kinks that a random direction does not meet.
    assert float((gradient * direction).sum()) == pytest.approx(float(slope), rel=1e-5, abs=1e-8)


def test_relative_guidance_moves_depth_and_not_features() -> None:
    x, features = DEPTH.clone().requires_grad_(), FEATURES.clone().requires_grad_()
    relative(x, features).backward()
    assert features.grad is None
    assert x.grad is not None
    assert float(x.grad.abs().max()) > 0


@pytest.mark.parametrize("name", ["relative", "order", "pearson", "local"])
def test_nothing_pulls_towards_another_scale_or_offset(name: str) -> None:
    x = DEPTH.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(LOSSES[name](x), x)
    size = float(gradient.norm())
    for change in (x.detach(), torch.ones_like(x)):
        assert abs(float((gradient * change).sum())) < 1e-10 * size * float(change.norm())
