"""Projection of one scene into its cameras: the native kernel where it can, plain PyTorch where it cannot."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..scene.errors import BadInputError
from . import native_rasterization as native
from . import reference_rasterization as reference
from .reference_lenses import LENSES

ANY_OPACITY = 1.01  # above 1 the extent of a Gaussian is EXTENT_SIGMAS, as gsplat takes it without opacities
_UPPER = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))  # rows and columns of [.., 6]
_PLACE = (0, 1, 2, 1, 3, 4, 2, 4, 5)  # of the nine entries in the six


def project_scene(
    *,
    means: Tensor,  # [N, 3]
    quats: Tensor | None = None,  # [N, 4]
    scales: Tensor | None = None,  # [N, 3]
    covars: Tensor | None = None,  # [N, 3, 3] instead of quats and scales
    opacities: Tensor,  # [N]
    viewmats: Tensor,  # [C, 4, 4] cam_from_world
    Ks: Tensor,  # [C, 3, 3]
    options: native.ProjectOptions,
    camera_model: str = "pinhole",
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """radii int32 [C, N, 2], means2d [C, N, 2], depths [C, N], conics [C, N, 3], compensations [C, N]; differentiable.

    The native kernel has pinhole cameras and float32 Gaussians of quats and scales on the CPU. Orthographic and fisheye
    cameras, covariances, and the rest, go through the reference implementation, which costs several times as much.
    """
    if camera_model == "pinhole" and covars is None and means.is_cpu and means.dtype == torch.float32:
        assert quats is not None
        assert scales is not None
        return native.project(means, quats, scales, opacities, viewmats, Ks, options)
    if covars is not None:
        quats, scales = means.new_zeros(len(means), 4), torch.zeros_like(means)
    assert quats is not None
    assert scales is not None
    return reference.project(
        means, quats, scales, opacities, viewmats, Ks, options.width, options.height, near_plane=options.near_plane,
        far_plane=options.far_plane, radius_clip=options.radius_clip, eps2d=options.eps2d,
        antialiased=options.antialiased, camera_model=camera_model, covars=covars,
    )  # fmt: skip


def check_camera_model(camera_model: str) -> None:
    """Raises BadInputError for a model that is not drawn here; f-theta is one."""
    if camera_model not in LENSES:
        raise BadInputError(
            f"camera_model={camera_model!r} is not supported on the CPU; expected one of {', '.join(LENSES)}."
        )


def upper_triangle(matrices: Tensor) -> Tensor:
    """The six numbers [..., 6] (xx, xy, xz, yy, yz, zz) of symmetric matrices [..., 3, 3]; gradients go to these."""
    rows, columns = zip(*_UPPER, strict=True)
    return matrices[..., rows, columns]


def symmetric_matrices(upper: Tensor) -> Tensor:
    """Matrices [..., 3, 3] of their upper triangles [..., 6]."""
    return upper[..., _PLACE].unflatten(-1, (3, 3))


class _GradientOfRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: list[Tensor]) -> Tensor:
        ctx.rows = rows
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> Any:  # type: ignore[override]
        (rows,) = ctx.rows
        return torch.sparse_coo_tensor(rows[None], v[rows], v.shape, is_coalesced=True, check_invariants=False), None


def with_sparse_gradient(
    x: Tensor,  # [N, ...]
    rows: list[Tensor],  # filled with the one tensor of rows [M], ascending, before the backward pass
) -> Tensor:
    """The same values; the gradient comes back as a sparse COO tensor with the rows `rows`."""
    return _GradientOfRows.apply(x, rows)  # type: ignore[no-any-return, no-untyped-call]
