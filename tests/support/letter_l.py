"""An L of Gaussians: a scene that looks different from every side and in every turn."""

from __future__ import annotations

import torch
from fewview.scene.gaussians import SH_C0, Gaussians
from fewview.scene.geometry import rotation_from_quat
from fewview.scene.spherical_harmonics import sh_basis
from fewview.scene.splat import Axis
from torch import Tensor

Y_DOWN, Y_UP = (0.0, -1.0, 0.0), (0.0, 1.0, 0.0)


def letter_l(up: Axis | None) -> Gaussians:
    """An L of 12 long Gaussians, 2 tall along `up`, its foot along +x; the colour depends on the direction.

    Three sets of harmonics are shared, so that the palette that some writers of SOG make for so few keeps all.
    """
    tall = torch.tensor(Y_DOWN if up is None else up, dtype=torch.float32)
    right = torch.tensor([1.0, 0, 0])
    stem = torch.linspace(0, 2, 8)[:, None] * tall
    foot = torch.linspace(0.3, 1.2, 4)[:, None] * right
    means = torch.cat([stem, foot]) + 0.2 * torch.linalg.cross(right, tall) * torch.linspace(-1, 1, 12)[:, None]
    count = len(means)
    rng = torch.Generator().manual_seed(7)
    sh = 0.3 * torch.randn(3, 16, 3, generator=rng).repeat_interleave(count // 3, dim=0)
    sh[:, 0] = (torch.linspace(0.1, 0.9, count)[:, None] * torch.tensor([1.0, 0.4, 0.7]) - 0.5) / SH_C0
    quats = torch.nn.functional.normalize(torch.randn(count, 4, generator=rng), dim=-1)
    sizes = torch.tensor([0.3, 0.1, 0.05]).log().repeat(count, 1)
    return Gaussians(means, quats, sizes, torch.linspace(-1, 3, count), sh)


def in_order_of_red(g: Gaussians) -> Gaussians:
    """Formats change the order; each Gaussian has a red of its own."""
    return g[g.sh[:, 0, 0].argsort()]


def covariances(g: Gaussians) -> Tensor:
    axes = rotation_from_quat(g.quats.double()) * g.scales.double()[:, None]
    return axes @ axes.mT


def colours(g: Gaussians, directions: Tensor) -> Tensor:
    """[N, D, 3] of the Gaussians seen along directions [D, 3]."""
    return 0.5 + torch.einsum("dk,nkc->ndc", sh_basis(g.sh_degree, directions.double()), g.sh.double())
