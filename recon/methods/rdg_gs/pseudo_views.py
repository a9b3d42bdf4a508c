"""Views that nobody took: between two photographs, with the depth that both of these believe in (FSGS, section 3.3)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ....scene.cameras import Cameras
from ....scene.geometry import se3_from, so3_exp, so3_log
from .prior_depth import PriorDepth
from .reprojection import warped_inverse_depth

ASIDE = 0.1  # of the way between the two cameras: how far the place may lie beside it, one standard deviation
BOTH_AGREE = 0.05  # relative difference of depth


def pseudo_camera(
    cameras: Cameras,  # [V >= 2]
    generator: torch.Generator,
) -> tuple[Cameras, tuple[int, int]]:
    """A camera [] on the way from a random one to its nearest neighbour, and the numbers of the two."""
    device = cameras.cam_from_world.device
    first = int(torch.randint(len(cameras), (1,), generator=generator, device=device))
    centers = cameras.centers
    away = (centers - centers[first]).norm(dim=-1)
    away[first] = torch.inf
    second = int(away.argmin())
    share = torch.rand((), generator=generator, device=device)
    aside = torch.randn(3, generator=generator, device=device) * ASIDE * away[second]
    center = centers[first] + share * (centers[second] - centers[first]) + aside
    turned = cameras.cam_from_world[[first, second], :3, :3]
    rotation = so3_exp(share * so3_log(turned[1] @ turned[0].T)) @ turned[0]
    between = cameras[first if float(share) < 0.5 else second]
    return replace(between, cam_from_world=se3_from(rotation, -(rotation @ center))), (first, second)


def pseudo_depth(prior: PriorDepth, camera: Cameras, views: tuple[int, int]) -> Tensor:
    """Inverse depth [H, W] of a camera [] from two views' maps, 0 where it is not known.

    Where both views show something, they have to agree; the nearer one may hide the other only by being alone.
    """
    first, second = (warped_inverse_depth(prior.inverse[v], prior.cameras[v], camera) for v in views)
    both = (first > 0) & (second > 0)
    near, far = torch.maximum(first, second), torch.minimum(first, second)
    agree = near - far < BOTH_AGREE * near
    return torch.where(both, torch.where(agree, 0.5 * (near + far), 0), near)
