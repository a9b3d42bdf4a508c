"""Control points near each Gaussian, and how much each counts for it (SC-GS, section 3.1, as released)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .... import _native

FLOOR = 1e-7  # of a weight before all are made to sum to one


def nearest_points(queries: Tensor, candidates: Tensor, count: int) -> Tensor:
    """Numbers int32 [N, count] of the candidates [M, D] nearest to each query [N, D], nearest first."""
    queries, candidates = queries.detach(), candidates.detach()
    count = min(count, len(candidates))
    if queries.device.type != "cpu" or queries.dtype != torch.float32:
        return reference_nearest_points(queries, candidates, count)
    index = torch.empty(len(queries), count, dtype=torch.int32)
    _native.nearest_points(queries.contiguous().numpy(), candidates.contiguous().numpy(), index.numpy())
    return index


def reference_nearest_points(queries: Tensor, candidates: Tensor, count: int) -> Tensor:
    """`nearest_points` in plain PyTorch."""
    d2 = (queries[:, None] - candidates[None]).square().sum(-1)
    return d2.topk(count, largest=False, sorted=True).indices.int()


def node_weights(
    means: Tensor,  # [N, 3]
    mean_hyper: Tensor,  # [N, H]
    nodes: Tensor,  # [M, 3]
    node_hyper: Tensor,  # [M, H]
    log_radius: Tensor,  # [M]
    strength_logits: Tensor,  # [M]
    index: Tensor,  # int32 [N, K]
) -> Tensor:
    """Weights [N, K] of the control points `index`, which sum to one for each Gaussian.

    A Gaussian of the distance in 3 + H dimensions, as wide as the control point's radius and as strong as the sigmoid
    of its logit. Positions get no gradient, all else does.
    """
    inputs = (means.detach(), mean_hyper, nodes.detach(), node_hyper, log_radius, strength_logits, index)
    if means.device.type != "cpu" or means.dtype != torch.float32:
        return reference_node_weights(*inputs)
    weights: Tensor = _NodeWeights.apply(*inputs)
    return weights


def reference_node_weights(
    means: Tensor,
    mean_hyper: Tensor,
    nodes: Tensor,
    node_hyper: Tensor,
    log_radius: Tensor,
    strength_logits: Tensor,
    index: Tensor,
) -> Tensor:
    """`node_weights` in plain PyTorch."""
    near = index.long()
    d2 = (means[:, None] - nodes[near]).square().sum(-1) + (mean_hyper[:, None] - node_hyper[near]).square().sum(-1)
    weights = (-d2 / (2 * (2 * log_radius[near]).exp())).exp() * strength_logits[near].sigmoid() + FLOOR
    return weights / weights.sum(-1, keepdim=True)


class _NodeWeights(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> Tensor:
        *floats, index = (t.detach().contiguous() for t in inputs)
        weights = torch.empty(index.shape)
        _native.node_weights(*(t.numpy() for t in (*floats, index, weights)))
        ctx.save_for_backward(*floats, index, weights)
        return weights

    @staticmethod
    def backward(ctx: Any, v_weights: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]  # one output
        _, mean_hyper, _, node_hyper, log_radius, strength_logits, _, _ = ctx.saved_tensors
        gradients = [torch.empty_like(t) for t in (mean_hyper, node_hyper, log_radius, strength_logits)]
        arrays = (*ctx.saved_tensors, v_weights.contiguous(), *gradients)
        _native.node_weights_backward(*(t.numpy() for t in arrays))
        v_mean_hyper, v_node_hyper, v_log_radius, v_strength_logits = gradients
        return None, v_mean_hyper, None, v_node_hyper, v_log_radius, v_strength_logits, None
