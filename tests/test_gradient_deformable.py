"""Gradients of deformable attention against finite differences."""

from __future__ import annotations

import torch
from fewview.detect.sparsefusion.deformable import DeformableAttention, sample_levels
from support.threads import one_torch_thread as one_torch_thread


def test_gradients_of_sampling():
    g = torch.Generator().manual_seed(1)
    shapes = [(3, 4), (2, 3)]
    values = torch.randn(1, 18, 2, 2, generator=g, dtype=torch.float64, requires_grad=True)
    # Bilinear samples have kinks where a place crosses a cell's centre; these are away from them by the step of 1e-6.
    places = (torch.rand(1, 2, 2, 2, 2, 2, generator=g, dtype=torch.float64) * 0.9 + 0.05).requires_grad_()
    weights = torch.rand(1, 2, 2, 2, 2, generator=g, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v, p, w: sample_levels(v, shapes, p, w), (values, places, weights))


def test_gradients_of_the_layer_with_padding():
    torch.manual_seed(2)
    layer = DeformableAttention(4, 2, 2).double()
    torch.nn.init.normal_(layer.sampling_offsets.weight, std=0.3)
    torch.nn.init.normal_(layer.attention_weights.weight)
    shapes = [(3, 4), (2, 3)]
    query = torch.randn(1, 3, 4, dtype=torch.float64, requires_grad=True)
    values = torch.randn(1, 18, 4, dtype=torch.float64, requires_grad=True)
    references = torch.rand(1, 3, 2, dtype=torch.float64)
    padding = torch.arange(18)[None] % 5 == 0

    def run(q: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return layer(q, v, references, shapes, padding)

    assert torch.autograd.gradcheck(run, (query, values))
    run(query, values).sum().backward()
    assert values.grad is not None
    assert not values.grad[0, padding[0]].any()  # padding says nothing and learns nothing


def test_a_new_layer_looks_around_its_reference():
    """As Deformable DETR starts: head k into direction k, point p p + 1 cells away, equal weights."""
    layer = DeformableAttention(8, 4, 1)
    offsets = layer.sampling_offsets(torch.zeros(1, 1, 8)).view(4, 1, 4, 2)
    expected = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    for p in range(4):
        torch.testing.assert_close(offsets[:, 0, p], expected * (p + 1), atol=1e-5, rtol=0)
    assert not layer.attention_weights(torch.randn(1, 1, 8)).any()
