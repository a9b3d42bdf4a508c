"""The objective of global alignment on the native kernel; `reference_alignment` has its definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .... import _native
from .alignment_variables import Observations, Variables


def alignment_loss(
    variables: Variables,
    observations: Observations,
) -> Tensor:
    """The loss of `reference_alignment.alignment_loss`, float32 on the CPU: every pointmap is read once.

    In the camera's frame the residual of a side is depth * ray - (A x + b), so the kernel gives the gradients of
    one 3 x 4 matrix for each side; those of poses and edges follow from them here, on small tensors.
    """
    rotations, translations = variables.pose()
    scales, edge_rotations, edge_translations = variables.edge()
    views = torch.tensor(observations.view_of_side)
    edges = torch.arange(len(observations.edges)).repeat_interleave(2)
    cam_from_world = rotations[views].transpose(1, 2)
    world_from_side = torch.cat([edge_rotations, edge_translations[..., None]], dim=-1) * scales[:, None, None]
    moved = world_from_side[edges] - torch.nn.functional.pad(translations[views][..., None], (3, 0))
    loss: Tensor = _Loss.apply(
        observations, variables.centers_px, variables.focal_px(), variables.log_depth, cam_from_world @ moved
    )
    return loss


class _Loss(torch.autograd.Function):
    """Loss and gradients in one call; the backward pass only scales them."""

    @staticmethod
    def forward(
        ctx: Any,
        observations: Observations,
        centers_px: Tensor,  # [N, 2]
        focal_px: Tensor,  # [N, 2]
        log_depth: Tensor,  # [P]
        cam_from_side: Tensor,  # [S, 3, 4]
    ) -> Tensor:
        gradients = [torch.empty_like(t, memory_format=torch.contiguous_format) for t in (focal_px, log_depth)]
        gradients.append(torch.empty(cam_from_side.shape))
        loss = _native.alignment_loss(
            [p.numpy() for p in observations.points],
            [w.numpy() for w in observations.weights],
            np.array(observations.view_of_side, np.int32),
            observations.share.numpy(),
            np.array(observations.sizes, np.int32),
            torch.cat([focal_px, centers_px], dim=1).detach().numpy(),
            log_depth.detach().numpy(),
            cam_from_side.detach().contiguous().numpy(),
            *(g.numpy() for g in gradients),
        )
        ctx.save_for_backward(*gradients)
        return torch.tensor(loss)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        (scale,) = outer
        return None, None, *(scale * gradient for gradient in ctx.saved_tensors)
