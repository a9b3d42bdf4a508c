"""`carry`: where control points take the Gaussians near them (linear blend skinning; SC-GS, equation 4)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .. import _native
from .geometry import rotation_from_quat


def carry(
    means: Tensor,  # [N, 3]
    points: Tensor,  # [M, 3] canonical control points
    turns: Tensor,  # [M, 4] wxyz, not necessarily unit
    shifts: Tensor,  # [M, 3]
    values: Tensor,  # [M, C] anything else to blend
    index: Tensor,  # [N, K] int32
    weights: Tensor,  # [N, K]
) -> tuple[Tensor, Tensor]:
    """(places [N, 3], blended values [N, C]), differentiable in all but `index`.

    A mean m goes to m + sum_k w_k (R_k (m - p_k) + p_k + d_k - m). On the CPU in float32 a native kernel does it, else
    the reference implementation.
    """
    if means.device.type != "cpu" or means.dtype != torch.float32:
        return reference_carry(means, points, turns, shifts, values, index, weights)
    transforms = torch.cat([rotation_from_quat(turns), shifts[..., None]], dim=-1).flatten(1)
    moved, blend = _Carry.apply(means, points, transforms, values, weights, index)
    return moved, blend


def reference_carry(
    means: Tensor, points: Tensor, turns: Tensor, shifts: Tensor, values: Tensor, index: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """`carry` in plain PyTorch."""
    near = index.long()
    offsets = means[:, None] - points[near]
    places = (rotation_from_quat(turns)[near] @ offsets[..., None])[..., 0] + points[near] + shifts[near]
    moved = means + (weights[..., None] * (places - means[:, None])).sum(1)
    return moved, (weights[..., None] * values[near]).sum(1)


def blended_turns(turns: Tensor, index: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums [N, 4] of rotations [M, 4] wxyz; what the weights leave to one is no rotation at all."""
    near = torch.nn.functional.normalize(turns, dim=-1)[index.long()]
    near = torch.where((near * near[:, :1]).sum(-1, keepdim=True) < 0, -near, near)  # q and -q are one rotation
    left = near.new_tensor([1.0, 0, 0, 0]) * (1 - weights.sum(-1, keepdim=True)).clamp_min(0)
    return (weights[..., None] * near).sum(1) + torch.where(near[:, 0, :1] < 0, -left, left)


class _Carry(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        means, points, transforms, values, weights, index = (t.detach().contiguous() for t in inputs)
        moved, blend = torch.empty_like(means), means.new_empty(len(means), values.shape[1])
        arrays = (means, points, transforms, values, index, weights, moved, blend)
        _native.carry(*(t.numpy() for t in arrays))
        ctx.save_for_backward(means, points, transforms, values, weights, index)
        return moved, blend

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        means, points, transforms, values, weights, index = ctx.saved_tensors
        inputs = (means, points, transforms, values, index, weights, *(g.contiguous() for g in gradients))
        outputs = tuple(torch.empty_like(t) for t in (means, points, transforms, values, weights))
        _native.carry_backward(*(t.numpy() for t in (*inputs, *outputs)))
        return (*outputs, None)
