"""`quat_scale_to_covar_preci`: covariances and precisions of Gaussians, by gsplat's name."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..render.projection import upper_triangle
from ..scene.errors import BadInputError
from ..scene.geometry import rotation_from_quat


def quat_scale_to_covar_preci(
    quats: Tensor,  # [..., 4] wxyz, normalised here
    scales: Tensor,  # [..., 3]
    compute_covar: bool = True,
    compute_preci: bool = True,
    triu: bool = False,
) -> tuple[Tensor | None, Tensor | None]:
    """Covariances R S S R^T and their inverses [..., 3, 3], or with `triu` their upper triangles [..., 6].

    What is not asked for is None. Arguments and results of gsplat 1.5.3; differentiable, plain PyTorch. A sparse
    gradient, as `fully_fused_projection` gives with `sparse_grad`, goes on as a dense one.
    """
    if quats.shape[:-1] != scales.shape[:-1] or quats.shape[-1] != 4 or scales.shape[-1] != 3:
        raise BadInputError(
            f"quats, scales: expected [..., 4] and [..., 3], found {tuple(quats.shape)} and {tuple(scales.shape)}."
        )
    rotations = rotation_from_quat(quats)

    def squared(factors: Tensor) -> Tensor:
        half = rotations * factors[..., None, :]
        full = half @ half.transpose(-1, -2)
        return _DenseGradient.apply(upper_triangle(full) if triu else full)  # type: ignore[no-any-return, no-untyped-call]

    return squared(scales) if compute_covar else None, squared(1 / scales) if compute_preci else None


class _DenseGradient(torch.autograd.Function):
    """The same values; a sparse gradient becomes a dense one, which a hook on a tensor may not make of it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> Tensor:  # type: ignore[override]
        return v.to_dense() if v.is_sparse else v
