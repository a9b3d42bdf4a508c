"""Evidence of a relative rotation in the places of two photographs: what would lie on what, if it were true.

A network that reads a pose off a photograph's vector has to know the object. What two photographs say about a given
rotation it can be told: whether matched places come to lie on each other, whether what is seen from one side lies
within the outline seen from the other, and whether places that would then be the same look the same. That holds for
any object, so the discriminator is given these numbers beside the pose itself. They take no part in what the places
learn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .place_matching import Places, centres

NUMBERS = 9
MATCHES = 48  # the surest of a pair that are looked at
ANCHOR = 3.0  # weight of "the crops have the same middle" beside that of the matches
NEAR, FAR = 0.15, 0.4  # half sides of the crop at which a match counts half
DEEP = 0.3  # half sides between depths of what is taken for the same surface
MOST_ALIKE = 4.0  # limit of a place's log-odds to be another one
MOST_PERSPECTIVE = 0.6
TENTHS = 10.0  # or the first steps of a training would hardly change what they weigh
ROUNDS = 2  # of reweighting, for the shift between the crops' middles


@dataclass(frozen=True)
class PoseEvidence:
    """Knowledge of the places of V pairs of photographs. The first photograph is the reference."""

    points: Tensor  # [V, 2, places, 3] of the reference and of the other, each in its camera's axes
    solid: Tensor  # [V, 2, places] probability that a place shows the object
    alike: Tensor  # [V, places of the other, places of the reference] log-odds that both show the same
    matched: Tensor  # [V, 2, k, 3] points of the surest matches
    weight: Tensor  # [V, k] their probabilities
    perspective: Tensor  # [V, 2] by how much a photograph shrinks with each half side of depth, relatively

    @classmethod
    @torch.no_grad()
    def of(cls, places: Places) -> PoseEvidence:
        """The evidence of B * (N - 1) pairs: each photograph with the first one of its set."""
        sure = places.sure.flatten(0, 1).float()  # [V, places, places]
        count = sure.shape[-1]
        points, solid = (_with_reference(v.float()) for v in (places.points, places.solid.sigmoid()))
        weight, chosen = sure.flatten(1).topk(min(MATCHES, count * count), dim=1)
        other = torch.div(chosen, count, rounding_mode="floor")
        index = torch.stack([chosen - other * count, other], 1)[..., None].expand(-1, -1, -1, 3)
        alike = (places.similar - places.nowhere).flatten(0, 1).float().clamp(-MOST_ALIKE, MOST_ALIKE)
        return cls(points, solid, alike, points.gather(2, index), weight, _perspective(points, solid))

    def __getitem__(self, rows: Tensor | slice) -> PoseEvidence:
        return PoseEvidence(*(value[rows] for value in vars(self).values()))

    @classmethod
    def cat(cls, parts: list[PoseEvidence]) -> PoseEvidence:
        return cls(*(torch.cat(values) for values in zip(*(vars(part).values() for part in parts), strict=True)))

    @torch.no_grad()
    def numbers(
        self,
        rotation: Tensor,  # [V, m, 3, 3] from the reference's axes to the other's
    ) -> Tensor:
        """Numbers [V, m, 9], all but the third in tenths: those of right and of wrong poses then differ by about one.

        Of the matches: the shares that come to lie near and farther off, and their weight. Of all places, from the
        reference to the other and back: the share that falls on the object, the share that would be visible there,
        and how alike those are.
        """
        shift, numbers = self._of_matches(rotation)
        back = rotation.transpose(-1, -2)
        numbers += self._of_places(rotation, shift, 0)
        numbers += self._of_places(back, -(back @ shift[..., None])[..., 0], 1)
        scale = torch.full((NUMBERS,), TENTHS, device=rotation.device)
        scale[2] = 1
        return torch.stack(numbers, -1) * scale

    def _of_matches(self, rotation: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The shift [V, m, 3] that fits the matches best, and numbers [V, m]."""
        to = self.matched[:, 1].transpose(-1, -2)[:, None]  # [V, 1, 3, k]
        apart = to - rotation @ self.matched[:, 0].transpose(-1, -2)[:, None]
        shift = self._shift(apart)
        off = (apart - shift).square().sum(-2)
        total = self.weight.sum(-1)[:, None]
        shares = [
            (self.weight[:, None] / (1 + off / limit**2) ** 2).sum(-1) / total.clamp_min(1e-6) for limit in (NEAR, FAR)
        ]
        return shift[..., 0], [*shares, total.log1p().expand_as(off[..., 0]) / 3]

    def _shift(self, apart: Tensor) -> Tensor:
        """Robust mean [V, m, 3, 1] of the matches' differences [V, m, 3, k]."""
        weight = self.weight[:, None].expand_as(apart[..., 0, :])
        for _ in range(ROUNDS):
            weight = self._agreeing(apart, _mean(apart, weight))
        return _mean(apart, weight)

    def _agreeing(self, apart: Tensor, shift: Tensor) -> Tensor:
        """Weights [V, m, k] of the matches, less of those that are off."""
        return self.weight[:, None] / (1 + (apart - shift).square().sum(-2) / FAR**2) ** 2

    def _of_places(self, rotation: Tensor, shift: Tensor, source: int) -> list[Tensor]:
        """Numbers [V, m] of one photograph's places, moved to the other."""
        there = self.points[:, 1 - source]
        count = there.shape[1]
        grid = math.isqrt(count)
        own = _every_other(grid, there.device)
        points, solid = self.points[:, source, own], self.solid[:, source, own][:, None]
        moved = rotation @ points.transpose(-1, -2)[:, None] + shift[..., None]  # [V, m, 3, places]
        nearness = 1 / (1 + self.perspective[:, 1 - source, None, None] * moved[..., 2, :]).clamp_min(0.2)
        cell = ((moved[..., :2, :] * nearness[..., None, :] + 1) * (grid / 2)).floor()
        inside = ((cell >= 0) & (cell < grid)).all(-2)
        cell = cell.clamp(0, grid - 1).long()
        at = (cell[..., 1, :] * grid + cell[..., 0, :]).flatten(1)  # [V, m * places]
        hit = self.solid[:, 1 - source].gather(1, at).view_as(inside) * inside * solid
        depth = there[..., 2].gather(1, at).view_as(inside)
        seen = hit * torch.exp(-(((depth - moved[..., 2, :]) / DEEP) ** 2))
        own = own.repeat(rotation.shape[1])
        pair = at * count + own if source == 0 else own * count + at
        alike = self.alike.flatten(1).gather(1, pair).view_as(inside) / MOST_ALIKE
        mass = solid.sum(-1).clamp_min(1e-3)
        return [hit.sum(-1) / mass, seen.sum(-1) / mass, 2 * (seen * alike).sum(-1) / mass]


def _mean(apart: Tensor, weight: Tensor) -> Tensor:
    weight = weight[..., None, :]
    return (apart * weight).sum(-1, keepdim=True) / (weight.sum(-1, keepdim=True) + ANCHOR)


def _with_reference(values: Tensor) -> Tensor:
    """[B, N, places, ...] as pairs [B * (N - 1), 2, places, ...] of the first one and another."""
    others = values[:, 1:]
    return torch.stack([values[:, :1].expand_as(others), others], 2).flatten(0, 1)


def _perspective(points: Tensor, solid: Tensor) -> Tensor:
    """[V, 2] from points [V, 2, places, 3] that the places show: a place at `at` shows at * (1 + perspective * z)."""
    at = centres(math.isqrt(points.shape[-2])).to(points)
    lever = points[..., 2:] * at * solid[..., None]
    off = ((points[..., :2] - at) * lever * solid[..., None]).sum((-2, -1))
    return (off / lever.square().sum((-2, -1)).clamp_min(1e-3)).clamp(0, MOST_PERSPECTIVE)


def _every_other(grid: int, device: torch.device) -> Tensor:
    """Half of the places, as on a chessboard: their neighbours say much the same."""
    row, column = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
    return torch.nonzero(((row + column) % 2 == 0).flatten())[:, 0].to(device)
