"""One camera's picture of a splat."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..scene.cameras import Cameras
from ..scene.gaussians import Gaussians
from .rasterization import rasterization


@dataclass(frozen=True)
class Rendering:
    """Picture of a splat in one camera: colour, alpha and depth."""

    rgb: Tensor  # [H, W, 3] display-referred sRGB, not clamped above
    alpha: Tensor  # [H, W] in [0, 1)
    depth: Tensor  # [H, W] accumulated z, world units
    expected_depth: Tensor  # [H, W] depth / alpha, 0 where nothing is


NEAR_PLANE = 0.01  # as in gsplat; a scene's unit is such that its cameras are about 1 apart
NEAR_SHARE = 0.003  # of a scene's spread, where its unit makes everything smaller than that


def near_plane(means: Tensor) -> float:
    """Depth at which drawing begins, for Gaussians at means [N, 3]: less than usual where the whole scene is tiny."""
    spread = float(means.detach().std(dim=0, correction=0).norm()) if len(means) else 0.0
    return min(NEAR_PLANE, NEAR_SHARE * spread) if 0 < spread < float("inf") else NEAR_PLANE


def render(
    gaussians: Gaussians,
    camera: Cameras,  # one camera, batch shape []
    *,
    background: Tensor | None = None,  # [3]
    sh_degree: int | None = None,
    antialiased: bool = False,
) -> Rendering:
    """Draw a splat in one camera, differentiably. `sh_degree` leaves the higher coefficients out.

    >>> one = Gaussians(
    ...     means=torch.tensor([[0.0, 0.0, 5.0]]),
    ...     quats=torch.tensor([[1.0, 0, 0, 0]]),
    ...     log_scales=torch.full((1, 3), 0.5).log(),
    ...     opacity_logits=torch.tensor([2.0]),
    ...     sh=torch.ones(1, 1, 3),
    ... )
    >>> drawn = render(one, Cameras.pinhole(torch.eye(4), 50.0, 64, 48), background=torch.zeros(3))
    >>> drawn.rgb.shape, round(float(drawn.expected_depth[24, 32]), 3)
    (torch.Size([48, 64, 3]), 5.0)
    """
    colors, alphas, _ = rasterization(
        gaussians.means,
        gaussians.quats,
        gaussians.scales,
        gaussians.opacities,
        gaussians.sh,
        camera.cam_from_world[None].to(gaussians.means),
        camera.K[None].to(gaussians.means),
        int(camera.width),
        int(camera.height),
        sh_degree=gaussians.sh_degree if sh_degree is None else sh_degree,
        packed=False,
        backgrounds=None if background is None else background[None].to(gaussians.means),
        near_plane=near_plane(gaussians.means),
        render_mode="RGB+D",
        rasterize_mode="antialiased" if antialiased else "classic",
    )
    rgb, depth, alpha = colors[0, ..., :3], colors[0, ..., 3], alphas[0, ..., 0]
    expected = torch.where(alpha > 0, depth / alpha.clamp_min(1e-10), torch.zeros_like(depth))
    return Rendering(rgb, alpha, depth, expected)
