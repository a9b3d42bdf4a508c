"""`spherical_harmonics`: colours from coefficients, by gsplat's name."""

from __future__ import annotations

import torch
from torch import Tensor

from ..render import reference_rasterization as reference
from ..scene.errors import BadInputError


def spherical_harmonics(
    degrees_to_use: int,
    dirs: Tensor,  # [..., 3] from the camera to the Gaussian, any length
    coeffs: Tensor,  # [..., K, 3]
    masks: Tensor | None = None,  # [...] bool, false: nothing is computed
) -> Tensor:
    """The function [..., 3] of the first (degrees_to_use + 1)^2 coefficients; 0 where a mask is false.

    Without the 0.5 that colours add. Arguments and results of gsplat 1.5.3; differentiable, plain PyTorch.
    """
    leading = tuple(dirs.shape[:-1])
    if not 0 <= degrees_to_use <= 4 or coeffs.ndim < 2 or (degrees_to_use + 1) ** 2 > coeffs.shape[-2]:
        raise BadInputError(
            f"degrees_to_use: expected 0 to 4 with (degrees_to_use + 1)^2 <= K of coeffs [..., K, 3], "
            f"found {degrees_to_use} for {tuple(coeffs.shape)}."
        )
    if coeffs.shape[:-2] != leading or coeffs.shape[-1] != 3 or (masks is not None and tuple(masks.shape) != leading):
        raise BadInputError(
            f"coeffs, masks: expected {(*leading, 'K', 3)} and {leading} beside dirs {tuple(dirs.shape)}, "
            f"found {tuple(coeffs.shape)} and {None if masks is None else tuple(masks.shape)}."
        )
    if masks is None:
        return reference.spherical_harmonics(degrees_to_use, dirs, coeffs)
    seen = masks.nonzero(as_tuple=True)
    values = reference.spherical_harmonics(degrees_to_use, dirs[seen], coeffs[seen])
    return torch.zeros_like(dirs).index_put(seen, values)
