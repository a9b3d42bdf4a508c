"""Picking: the surface that a ray through the scene meets first."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..gaussians import Gaussians
from ..geometry import rotation_from_quat

PIXEL_RAD = 1e-3  # a Gaussian counts as at least this wide: about a pixel of a picture, as every renderer widens them
_REACH = 3.0  # standard deviations; beyond, no Gaussian adds 1/255 to what its opacity allows (exp(-4.5) = 0.011)


@dataclass(frozen=True)
class Pick:
    index: int  # of the Gaussian that shows most along the ray up to the surface
    point: Tensor  # [3] float64 on the ray, where the surface is


def pick(
    gaussians: Gaussians,
    origin: Tensor,  # [3] world
    direction: Tensor,  # [3] world, any length
) -> Pick | None:
    """The surface that a ray meets: where half of the light that comes along it has been taken away.

    Each Gaussian takes opacity * exp(-d^2 / 2) of the light, d its Mahalanobis distance from the ray. Where the splat
    is thinner than that the Gaussian which shows most is taken; None where nothing adds 1/255.
    """
    origin, direction = origin.double(), normalize(direction.double(), dim=-1)
    near = _along(gaussians, origin, direction)
    if len(near) == 0:
        return None
    distance, alpha = _responses(gaussians[near], origin, direction)
    order = torch.argsort(torch.where(alpha >= 1 / 255, distance, torch.inf))
    order = order[: int((alpha >= 1 / 255).sum())]
    if len(order) == 0:
        return None
    distance, alpha = distance[order], alpha[order].clamp(max=0.999)
    left = torch.cumprod(1 - alpha, 0)
    weight = alpha * torch.cat([torch.ones(1, dtype=left.dtype), left[:-1]])
    surface = int((left > 0.5).sum())  # the first that leaves no more than half
    shown = int(weight[: surface + 1].argmax()) if surface < len(order) else int(weight.argmax())
    return Pick(int(near[order[shown]]), origin + distance[shown] * direction)


def _along(gaussians: Gaussians, origin: Tensor, direction: Tensor) -> Tensor:
    """Indices of the Gaussians in front of the origin that reach the ray."""
    offset = gaussians.means - origin.to(gaussians.means)
    ahead = offset @ direction.to(offset)
    beside = (offset.square().sum(-1) - ahead.square()).clamp_min(0).sqrt()
    reach = _REACH * (gaussians.log_scales.amax(-1).exp() + PIXEL_RAD * ahead)
    return ((ahead > 0) & (beside <= reach) & (gaussians.opacities >= 1 / 255)).nonzero()[:, 0]


def _responses(gaussians: Gaussians, origin: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """(distance along the ray [N] where each Gaussian is strongest, share of the light that it takes [N])."""
    offset = gaussians.means.double() - origin
    box_from_world = rotation_from_quat(gaussians.quats.double()).transpose(-1, -2)
    widened = PIXEL_RAD * (offset @ direction)[:, None]
    sigma = (gaussians.scales.double().square() + widened.square()).sqrt()
    to_mean = (box_from_world @ offset[..., None])[..., 0] / sigma
    ray = (box_from_world @ direction) / sigma
    distance = (to_mean * ray).sum(-1) / ray.square().sum(-1)
    beside = (to_mean - distance[:, None] * ray).square().sum(-1)
    alpha = gaussians.opacities.double() * (-0.5 * beside).exp()
    return distance, torch.where(torch.isfinite(distance) & (distance > 0), alpha.nan_to_num(0.0), 0.0)
