"""The depth of the surface that a splat shows, for fusing it: the mean of what lies about the median, not of all.

The expected depth of a pixel that sees a bit of the foreground and a bit of what lies behind is between them, where
nothing is. Here the weights of the Gaussians in a pixel are told apart by depth, in bins that grow evenly; the two
neighbouring bins about the median that hold most give the depth, and their share says whether there is one surface.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..scene.cameras import Cameras
from ..scene.gaussians import Gaussians
from ..scene.geometry import transform_points
from .rasterization import rasterization
from .rendering import near_plane

BINS = 16
_NARROWEST = 1.03  # from one bin to the next, where the scene has hardly any depth
_OUTER = 0.01  # share of the Gaussians in view that the first and the last bin may hold besides


@dataclass(frozen=True)
class SurfaceDepth:
    """Depth in one camera."""

    depth: Tensor  # [H, W] z in the camera, 0 where alpha is 0
    alpha: Tensor  # [H, W] in [0, 1)
    share: Tensor  # [H, W] of alpha that is about that depth, in [0, 1]


@torch.no_grad()
def surface_depth(gaussians: Gaussians, camera: Cameras, *, antialiased: bool = False) -> SurfaceDepth:
    """The depth at which a pinhole camera [] sees the surface of a splat."""
    z = transform_points(camera.cam_from_world.to(gaussians.means), gaussians.means)[:, 2].contiguous()
    near = near_plane(gaussians.means)
    edges = _edges(z[z > near])
    which = torch.bucketize(z, edges)  # 0 .. BINS - 1
    channels = torch.zeros(len(gaussians), 2 * BINS, device=z.device)
    rows = torch.arange(len(z), device=z.device)
    channels[rows, which] = 1
    channels[rows, BINS + which] = z
    drawn, alphas, _ = rasterization(
        gaussians.means,
        gaussians.quats,
        gaussians.scales,
        gaussians.opacities,
        channels,
        camera.cam_from_world[None].to(gaussians.means),
        camera.K[None].to(gaussians.means),
        int(camera.width),
        int(camera.height),
        packed=False,
        near_plane=near,
        rasterize_mode="antialiased" if antialiased else "classic",
    )
    alpha = alphas[0, ..., 0]
    weights, moments = drawn[0, ..., :BINS], drawn[0, ..., BINS:]
    median = (weights.cumsum(-1) < 0.5 * alpha[..., None]).sum(-1).clamp(max=BINS - 1)
    pairs = weights[..., 1:] + weights[..., :-1]  # pair k is of bins k and k + 1
    before, after = (median - 1).clamp(min=0), median.clamp(max=BINS - 2)

    def of_pair(values: Tensor, pair: Tensor) -> Tensor:
        return values.gather(-1, pair[..., None])[..., 0]

    pair = torch.where(of_pair(pairs, before) > of_pair(pairs, after), before, after)
    mass = of_pair(pairs, pair)
    depth = of_pair(moments[..., 1:] + moments[..., :-1], pair) / mass.clamp_min(1e-10)
    seen = (alpha > 0) & (mass > 0)
    return SurfaceDepth(torch.where(seen, depth, 0), alpha, torch.where(seen, mass / alpha.clamp_min(1e-10), 0))


def _edges(z: Tensor) -> Tensor:
    """BINS - 1 depths, each the same factor beyond the one before, through the bulk of the depths."""
    if len(z) == 0:
        return torch.linspace(1, 2, BINS - 1, device=z.device)
    order = z.log().sort().values
    low, high = (float(order[int(share * (len(z) - 1))]) for share in (_OUTER, 1 - _OUTER))
    widening = max(0.0, BINS * torch.tensor(_NARROWEST).log().item() - (high - low)) / 2
    return torch.linspace(low - widening, high + widening, BINS + 1, device=z.device)[1:-1].exp()
