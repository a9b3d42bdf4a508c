"""`compute_relocation`: opacity and scale of Gaussians that share a place, by gsplat's name."""

from __future__ import annotations

from torch import Tensor

from ..recon.optimise.mcmc_strategy import relocation
from ..scene.errors import BadInputError


def compute_relocation(
    opacities: Tensor,  # [N]
    scales: Tensor,  # [N, 3]
    ratios: Tensor,  # [N] how many Gaussians stand where one stood
    binoms: Tensor,  # [n_max, n_max]; only its size is looked at
) -> tuple[Tensor, Tensor]:
    """New opacities [N] and scales [N, 3] (equation 9 of 3DGS-MCMC, Kheradmand et al. 2024).

    Ratios are limited to 1 .. n_max as in gsplat 1.5.3. The sum is done in float64 without the table of binomials,
    so it stays right where gsplat's float32 sum of terms of both signs loses its digits (from a ratio of about 20).
    """
    if scales.shape != (*opacities.shape, 3) or ratios.shape != opacities.shape or opacities.ndim != 1:
        raise BadInputError(
            "opacities, scales, ratios: expected [N], [N, 3] and [N], found "
            f"{tuple(opacities.shape)}, {tuple(scales.shape)} and {tuple(ratios.shape)}."
        )
    shared, factor = relocation(opacities, ratios.clamp(1, len(binoms)))
    return shared, scales * factor[:, None]
