"""Fusion of photographs: each is compared with the reference place by place, then all of them attend to each other.

The paper fuses one vector for each photograph. Such a vector has to name the object's pose by itself, which takes
thousands of objects to learn; where places of two photographs match is evidence that any object gives. With `grid=1`
there is one place, and this is the paper's fusion.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import AdenConfig

DESCRIPTOR_OCTAVES = 8
MATCH_SHARPNESS = 5.0  # start of the learned factor of cosines before the softmax


def encode_octaves(
    values: Tensor,  # [..., D]
    octaves: int,
) -> Tensor:
    """Sines and cosines [..., D * octaves * 2] of the values times 2^k, k = 0, 1, ... (NeRF's positional encoding)."""
    factors = 2.0 ** torch.arange(octaves, dtype=values.dtype, device=values.device)
    angles = (values[..., None] * factors).flatten(-2)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def _layer(width: int, heads: int) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(
        width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )


class ViewFusion(nn.Module):
    """Vectors of photographs 1 ... N-1 as seen from photograph 0."""

    def __init__(self, config: AdenConfig, channels: int) -> None:
        super().__init__()
        places, width = config.grid**2, config.width
        self.match_heads, self.places = config.match_heads, places
        self.norm = nn.LayerNorm(channels)
        self.project = nn.Linear(channels, width)
        self.place = nn.Parameter(torch.randn(places, width) * 0.02)
        self.describe = nn.Linear(6 * DESCRIPTOR_OCTAVES, width)
        self.match = nn.Linear(channels, width)
        self.sharpness = nn.Parameter(torch.full((config.match_heads,), math.log(MATCH_SHARPNESS)))
        self.from_match = nn.Linear(config.match_heads * places, width)
        self.from_matched = nn.Linear(width, width)
        self.layers = nn.ModuleList(_layer(width, config.heads) for _ in range(config.pair_layers))
        self.pool = nn.Linear(width, config.heads)
        self.view = nn.Sequential(nn.LayerNorm(width * config.heads), nn.Linear(width * config.heads, config.fused))
        self.is_reference = nn.Parameter(torch.randn(config.fused) * 0.02)
        self.between = nn.ModuleList(_layer(config.fused, config.heads) for _ in range(config.fusion_layers))
        self.last = nn.LayerNorm(config.fused)

    def forward(
        self,
        tokens: Tensor,  # [B, N, grid * grid, channels] of the backbone
        descriptors: Tensor,  # [B, N, 3] of the crops
    ) -> Tensor:
        """Fused vectors [B, N - 1, fused]. Permuting photographs 1 ... N-1 permutes them."""
        x = self.norm(tokens.float())
        own = self.project(x) + self.place + self.describe(encode_octaves(descriptors, DESCRIPTOR_OCTAVES))[:, :, None]
        match = F.normalize(self.match(x).unflatten(-1, (self.match_heads, -1)), dim=-1)
        # The reference is compared with itself, too: it is one of the photographs that attend to each other.
        similar = torch.einsum("bnphd,bqhd->bnhpq", match, match[:, 0])
        similar = similar * self.sharpness.exp()[:, None, None]
        matched = torch.einsum("bnpq,bqw->bnpw", similar.mean(2).softmax(-1), own[:, 0])
        rows = similar.permute(0, 1, 3, 2, 4).flatten(-2)  # [B, N, places, heads * places]
        x = (own + self.from_match(rows / math.sqrt(self.places)) + self.from_matched(matched)).flatten(0, 1)
        for layer in self.layers:
            x = layer(x)
        weights = self.pool(x).softmax(1)  # [B * N, places, heads]
        vectors = self.view(torch.einsum("npw,nph->nhw", x, weights).flatten(1)).unflatten(0, tokens.shape[:2])
        vectors = torch.cat([vectors[:, :1] + self.is_reference, vectors[:, 1:]], dim=1)
        for layer in self.between:
            vectors = layer(vectors)
        return self.last(vectors[:, 1:])
