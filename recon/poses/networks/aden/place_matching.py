"""Matches between places of two photographs, learned from what surface each place shows, and the turn that they give.

The backbone's tokens know what they look like; here each place also learns a descriptor that is the same from other
sides, and where its surface lies about the object's middle. Both have their own truth in training, place by place,
which teaches far more in a pair than its one pose does. Matched places with known depths give the relative rotation in
closed form (Kabsch 1976), made robust by reweighting, so that what reads the matches has only to learn when to trust
it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .....scene.geometry import quat_from_rotation

DESCRIPTOR = 48  # numbers of a place that are compared
START_SHARPNESS = 12.0  # of the learned factor of cosines before the softmax
ROUNDS = 4  # of reweighting
RESIDUAL = 0.25  # half sides of the crop at which a match counts half
HEADS = 2  # of attention between the places of a photograph
QUALITY = 4  # numbers that say how good a turn is
SAME_SURFACE = 0.17  # object's radii between the points of two places that are a match
SPREAD = 0.07  # of a match over the places around it


@dataclass(frozen=True)
class Places:
    """Learned numbers of each place of N photographs, and their matches with the first of them."""

    points: Tensor  # [B, N, places, 3] about the object's middle in the camera's axes, half sides of the crop
    solid: Tensor  # [B, N, places] logits that a place shows the object
    similar: Tensor  # [B, N - 1, places, places of the first photograph] logits of the others' matches
    total_there: Tensor  # [B, N - 1, places, 1] log-sum-exp over the first photograph's places and "nowhere"
    total_back: Tensor  # [B, N - 1, 1, places of the first photograph] the same over this one's
    nowhere: Tensor  # [] logit of no match at all

    @cached_property
    @torch.no_grad()
    def sure(self) -> Tensor:
        """Probability [B, N - 1, places, places] that two places choose each other; without gradient."""
        return (2 * self.similar - self.total_there - self.total_back).exp()


def centres(grid: int) -> Tensor:
    """Middles [grid * grid, 2] of a crop's places, x and y in [-1, 1], row by row."""
    line = (torch.arange(grid) + 0.5) / grid * 2 - 1
    return torch.stack(torch.meshgrid(line, line, indexing="ij"), -1).flatten(0, 1).flip(-1)


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(4, width)
        self.across = nn.Conv2d(width, width, 3, padding=1)
        self.within = nn.Conv2d(width, width, 1)
        nn.init.zeros_(self.within.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.within(F.gelu(self.across(self.norm(x))))


class _Attention(nn.Module):
    """A layer of attention from places to places. Before training it changes nothing.

    Written out, as PyTorch's fused attention takes three times as long on processors for so few and narrow rows.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.then = nn.LayerNorm(width), nn.LayerNorm(width)
        self.ask, self.tell = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.give = nn.Linear(width, width)
        narrow = nn.Linear(2 * width, width)
        self.within = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), narrow)
        for last in (self.give, narrow):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(
        self,
        x: Tensor,  # [V, places, width]
        seen: Tensor,  # [V, places, width] of the places that are looked at
    ) -> Tensor:
        """Features [V, places, width] after a look at others."""
        asked = self.ask(self.norm(x)).unflatten(-1, (HEADS, -1)).transpose(1, 2)
        key, value = self.tell(self.norm(seen)).unflatten(-1, (2 * HEADS, -1)).transpose(1, 2).chunk(2, dim=1)
        share = (asked / math.sqrt(key.shape[-1]) @ key.transpose(-1, -2)).softmax(-1).to(value.dtype)
        x = x + self.give((share @ value).transpose(1, 2).flatten(2))
        return x + self.within(self.then(x))


class PlaceMatcher(nn.Module):
    """Descriptors and points of places, and their matches."""

    def __init__(self, grid: int, channels: int, width: int, attention: int = 0, blocks: int = 3) -> None:
        super().__init__()
        self.grid = grid
        self.enter = nn.Sequential(nn.Linear(channels, width), nn.GELU(), nn.Linear(width, width))
        self.blocks = nn.Sequential(*(_Block(width) for _ in range(blocks)))
        # A place's depth and side are known from the whole outline, what it is like from what else there is to choose.
        self.where = nn.Parameter(torch.zeros(grid**2, width))
        self.whole = nn.ModuleList(_Attention(width) for _ in range(attention))
        self.across = nn.ModuleList(_Attention(width) for _ in range(attention))
        self.leave = nn.LayerNorm(width)
        self.describe = nn.Linear(width, DESCRIPTOR)
        self.locate = nn.Linear(width, 4)  # offset from where the place is in the crop, and whether it is of the object
        self.sharpness = nn.Parameter(torch.tensor(math.log(START_SHARPNESS)))
        self.nowhere = nn.Parameter(torch.tensor(4.0))

    def features(
        self,
        x: Tensor,  # [B, N, places, channels] of unit spread
    ) -> Tensor:
        """Features [B, N, places, width] of each photograph by itself."""
        h = self.enter(x).flatten(0, 1).transpose(1, 2).unflatten(2, (self.grid, self.grid))
        h = self.blocks(h).flatten(2).transpose(1, 2) + self.where
        for layer in self.whole:
            h = layer(h, h)
        return self.leave(h).view(*x.shape[:3], -1)

    def pairs(
        self,
        h: Tensor,  # [B, N, places, width] of `features`
    ) -> Tensor:
        """Features [2, B, N - 1, places, width] of the first photograph and another, each after a look at the other."""
        both = torch.stack([h[:, :1].expand_as(h[:, 1:]), h[:, 1:]])
        shape, both = both.shape, both.flatten(0, 2)
        for layer in self.across:
            both = layer(both, both.roll(len(both) // 2, 0))
        return both.view(shape)

    def forward(
        self,
        h: Tensor,  # [B, N, places, width] of `features`
        pairs: Tensor,  # [2, B, N - 1, places, width]
        at: Tensor,  # [places, 2] middles of the places in the crop, in [-1, 1]
    ) -> Places:
        located = self.locate(h)
        points = located[..., :3] + F.pad(at, (0, 1))
        first, other = F.normalize(self.describe(pairs), dim=-1)
        similar = (self.sharpness.exp() * other) @ first.transpose(-1, -2)
        # A place that is not of the object is nobody's match. Matches must not teach what is of the object: most places
        # have no match, and would be taken for background.
        solid = F.logsigmoid(located[..., 3].detach())
        similar = similar + (solid[:, 1:, :, None] + solid[:, :1, None])
        there = torch.logaddexp(similar.logsumexp(-1, keepdim=True), self.nowhere)
        back = torch.logaddexp(similar.logsumexp(-2, keepdim=True), self.nowhere)
        return Places(points, located[..., 3], similar, there, back, self.nowhere)


@torch.no_grad()
def turn_of_matches(places: Places, at: Tensor) -> Tensor:
    """Quaternion with w >= 0, and four numbers of its quality, [B, N - 1, 8]: the turn from the first camera's axes.

    The quality: log of the matches' weight, share of it that agrees, their root mean square residual, and how far they
    are from a line (which would leave a turn about it open).
    """
    sure = places.sure
    best = sure.argmax(-1)
    # Around the best place only: the mean of two far ones is neither.
    near = (at[:, None] - at[None]).abs().amax(-1) < 3.0 / math.isqrt(len(at))
    window = sure * near[best]
    mass = window.sum(-1).clamp_min(1e-6)
    target = window @ places.points[:, :1] / mass[..., None]  # [B, N - 1, places, 3] of the first camera
    source = places.points[:, 1:]
    w = mass
    rotation = torch.eye(3).to(w).expand(*w.shape[:2], 3, 3)
    for _ in range(ROUNDS):
        total = w.sum(-1, keepdim=True).clamp_min(1e-6)
        a = source - ((source * w[..., None]).sum(-2) / total)[..., None, :]
        b = target - ((target * w[..., None]).sum(-2) / total)[..., None, :]
        rotation, singular = _kabsch(a, b, w / total)
        residual = (a - b @ rotation.transpose(-1, -2)).norm(dim=-1)
        w = mass / (1 + (residual / RESIDUAL) ** 2) ** 2
    total = mass.sum(-1)
    agreeing = (mass * (residual < RESIDUAL)).sum(-1) / total
    rms = ((residual.square() * w).sum(-1) / w.sum(-1).clamp_min(1e-6)).sqrt()
    quality = torch.stack([total.log() / 3, agreeing, rms * 4, singular[..., 1].clamp_min(0).sqrt()], -1)
    quats = quat_from_rotation(rotation)
    quats = quats * torch.where(quats[..., :1] < 0, -1.0, 1.0)
    return torch.cat([quats, quality], -1)


def _kabsch(a: Tensor, b: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Rotations [..., 3, 3] that take points b to a [..., P, 3], weights [..., P]; and the singular values [..., 3]."""
    u, singular, vt = torch.linalg.svd((a * w[..., None]).transpose(-1, -2) @ b + 1e-9 * torch.eye(3).to(a))
    mirror = torch.ones_like(singular)
    mirror[..., 2] = torch.linalg.det(u @ vt).sign()
    return (u * mirror[..., None, :]) @ vt, singular


def match_losses(
    places: Places,
    surface: Tensor,  # [B, N, places, 3] points of the object's world that the places show; NaN for none
    points: Tensor,  # [B, N, places, 3] the same as `Places.points`
) -> dict[str, Tensor]:
    """Cross-entropies of the matches, error of the points, and of what is taken for the object."""
    solid = ~surface[..., 0].isnan()
    found = {"solid": 0.5 * F.binary_cross_entropy_with_logits(places.solid, solid.float())}
    off = F.smooth_l1_loss(places.points[solid], points[solid], beta=0.1, reduction="none")
    found["points"] = off.sum(-1).mean()
    filled = surface.nan_to_num(1e3)
    apart = torch.cdist(filled[:, 1:], filled[:, :1].expand_as(filled[:, 1:]))
    share = torch.exp(-(apart**2) / (2 * SPREAD**2)) * (apart < SAME_SURFACE)
    share = share * solid[:, 1:, :, None] * solid[:, :1, None, :]
    there = _entropy(places, places.total_there[..., 0], share, -1)[solid[:, 1:]].mean()
    back = _entropy(places, places.total_back[..., 0, :], share, -2)[solid[:, :1].expand_as(solid[:, 1:])].mean()
    return found | {"matches": 0.5 * (there + back)}


def _entropy(places: Places, total: Tensor, share: Tensor, axis: int) -> Tensor:
    """Cross-entropies [B, N - 1, places] with the true matches, or with "nowhere" where there are none."""
    mass = share.sum(axis)
    matched = (share * places.similar).sum(axis) / mass.clamp_min(1e-6)
    return total - torch.where(mass > 1e-3, matched, places.nowhere)
