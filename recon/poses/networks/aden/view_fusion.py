"""Fusion of photographs: each is compared with the reference place by place, then all of them attend to each other.

The paper fuses one vector for each photograph. Such a vector has to name the object's pose by itself, which takes
thousands of objects to learn; where places of two photographs match is evidence that any object gives. So the tokens of
the backbone are matched as they are, in both directions, and what is learned reads a pose off the field of matches and
the layout of both photographs. With `grid=1` there is one place, and this is the paper's fusion.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .....scene.geometry import rotation_from_quat
from .config import TURN, AdenConfig
from .place_matching import PlaceMatcher, Places, centres, turn_of_matches

DESCRIPTOR_OCTAVES = 4
MATCH_SHARPNESS = 15.0  # start of the learned factor of cosines before the softmax
MATCHES = 2  # by the finer and by the coarser part of the channels
NUMBERS = 4  # that a match gives for each place: where to (2), how surely, how sharply


def encode_octaves(
    values: Tensor,  # [..., D]
    octaves: int,
) -> Tensor:
    """Sines and cosines [..., 2 * D * octaves] of the values times 2^k, k = 0, 1, ... (NeRF's positional encoding).

    The lowest octaves come first, sines and cosines of each together.
    """
    factors = 2.0 ** torch.arange(octaves, dtype=values.dtype, device=values.device)
    angles = values[..., None, :] * factors[:, None]
    return torch.stack([angles.sin(), angles.cos()], dim=-2).flatten(-3)


class ViewFusion(nn.Module):
    """Vectors of photographs 1 ... N-1 as seen from photograph 0."""

    mean: Tensor
    spread: Tensor

    def __init__(self, config: AdenConfig, channels: int) -> None:
        super().__init__()
        places, self.matcher = config.grid**2, None
        if config.trunk:
            self.matcher = PlaceMatcher(config.grid, channels, config.trunk, config.attention)
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("spread", torch.ones(channels))
        self.grid = config.grid
        self.sharpness = nn.Parameter(torch.full((MATCHES,), math.log(MATCH_SHARPNESS)))
        self.look = nn.Linear(config.trunk or channels, config.look)
        self.describe = nn.Linear(2 * 6 * DESCRIPTOR_OCTAVES, config.hidden)
        fields = 1 if config.trunk else MATCHES
        self.read_match = nn.Linear(2 * places * fields * NUMBERS, config.hidden)
        self.read_turn = nn.Linear(9 + TURN, config.hidden) if config.trunk else None
        self.read_look = nn.Linear(2 * places * config.look, config.hidden)
        self.drop = nn.Dropout(config.dropout_percent / 100)
        self.view = nn.Sequential(
            nn.GELU(), nn.LayerNorm(config.hidden), nn.Linear(config.hidden, config.hidden), nn.GELU(),
            nn.LayerNorm(config.hidden), nn.Linear(config.hidden, config.fused),
        )  # fmt: skip
        self.is_reference = nn.Parameter(torch.randn(config.fused) * 0.02)
        self.between = nn.ModuleList(
            nn.TransformerEncoderLayer(
                config.fused, config.heads, 2 * config.fused, 0.0, "gelu", batch_first=True, norm_first=True
            )
            for _ in range(config.fusion_layers)
        )
        self.last = nn.LayerNorm(config.fused)

    @torch.no_grad()
    def set_statistics(self, tokens: Tensor) -> None:
        """Set mean and spread of the channels to those of some tokens [..., channels]."""
        rows = tokens.flatten(0, -2).float()
        self.mean.copy_(rows.mean(0))
        self.spread.copy_(rows.std(0).clamp_min(1e-3))

    def forward(
        self,
        tokens: Tensor,  # [B, N, grid * grid, channels] of the backbone
        descriptors: Tensor,  # [B, N, 3] of the crops
    ) -> Tensor:
        """Vectors [B, N - 1, vector]. Permuting photographs 1 ... N-1 permutes them."""
        return self.with_places(tokens, descriptors)[0]

    def with_places(self, tokens: Tensor, descriptors: Tensor) -> tuple[Tensor, Places | None]:
        """The same, and the matches that they were read from."""
        return self.compare(self.features(tokens), descriptors)

    def features(self, tokens: Tensor) -> Tensor:
        """Features [B, N, places, width] of each photograph by itself, which every pair of it shares.

        In mixed precision these and what pairs see in each other alone are of 16 bits; they are most of the work.
        """
        x = (tokens.float() - self.mean) / self.spread
        return x if self.matcher is None else self.matcher.features(x).float()

    def compare(
        self,
        x: Tensor,  # [B, N, places, width] of `features`
        descriptors: Tensor,  # [B, N, 3] of the crops
    ) -> tuple[Tensor, Places | None]:
        """Vectors [B, N - 1, vector], and the matches that they were read from."""
        at, places = centres(self.grid).to(x), None
        if self.matcher is not None:
            pairs = self.matcher.pairs(x).float()
            with torch.autocast(x.device.type, enabled=False):
                places = self.matcher(x, pairs, at)
        with torch.autocast(x.device.type, enabled=False):
            return self._vectors(x, descriptors, places, at), places

    def _vectors(self, x: Tensor, descriptors: Tensor, places: Places | None, at: Tensor) -> Tensor:
        turn = None
        if places is not None:
            turn = F.pad(turn_of_matches(places, at), (0, 0, 1, 0))
            turn[:, 0, 0] = 1
        look = self.drop(self.look(x).flatten(2))  # [B, N, places * look]
        pair = torch.stack([look, look[:, :1].expand_as(look)], 2).flatten(2)
        box = torch.stack([descriptors, descriptors[:, :1].expand_as(descriptors)], 2).flatten(2)
        field = self.drop(self._matches(x, at) if places is None else _field(places, at))
        read = self.read_match(field) + self.read_look(pair) + self.describe(encode_octaves(box, DESCRIPTOR_OCTAVES))
        if turn is not None and self.read_turn is not None:
            read = read + self.read_turn(torch.cat([rotation_from_quat(turn[..., :4]).flatten(-2), turn], -1))
        vectors = self.view(read)
        vectors = torch.cat([vectors[:, :1] + self.is_reference, vectors[:, 1:]], dim=1)
        for layer in self.between:
            vectors = layer(vectors)
        fused = self.last(vectors[:, 1:])
        return fused if turn is None else torch.cat([fused, turn[:, 1:]], -1)

    def _matches(
        self,
        x: Tensor,  # [B, N, places, channels]
        at: Tensor,  # [places, 2]
    ) -> Tensor:
        """The fields of matches with the reference, both ways, of each photograph [B, N, ...]; it has one itself."""
        found = []
        half = x.shape[-1] // 2
        for sharpness, part in zip(self.sharpness.exp(), (x[..., :half], x[..., half:]), strict=True):
            unit = F.normalize(part, dim=-1)
            similar = sharpness * unit @ unit[:, :1].transpose(-1, -2)  # [B, N, places, places of the reference]
            there, back = similar.softmax(-1), similar.softmax(-2)
            sure = there * back  # of a pair of places that choose each other
            for forth, axis in ((there, -1), (back.transpose(-1, -2), -2)):
                to = forth @ at - at
                sharp = (forth * forth).sum(-1, keepdim=True)
                found.append(torch.cat([to, sure.sum(axis)[..., None].sqrt(), sharp], dim=-1).flatten(2))
        return torch.cat(found, dim=-1)


@torch.no_grad()
def _field(places: Places, at: Tensor) -> Tensor:
    """The field of learned matches with the reference, both ways, of each photograph [B, N, ...]; none of its own.

    Matches learn from their own truth alone: what reads them adds nothing to it, and would cost as much again.
    """
    sure, found = places.sure, []
    for share, axis in (
        ((places.similar - places.total_there).exp(), -1),
        ((places.similar - places.total_back).exp().transpose(-1, -2), -2),
    ):
        mass = share.sum(-1, keepdim=True)
        to = (share @ at) - at * mass
        found.append(torch.cat([to, mass, sure.sum(axis)[..., None].clamp_min(1e-9).sqrt()], -1).flatten(2))
    return F.pad(torch.cat(found, dim=-1), (0, 0, 1, 0))
