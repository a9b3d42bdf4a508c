"""The camera branch: queries chosen from image heatmaps, and one decoder layer for each view."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..common.heatmaps import local_maxima, top_queries
from ..tasks.driving_task import CLASS_NAMES
from .config import SparseFusionConfig
from .deformable import DeformableAttention
from .driving_batch import Views
from .geometric_transfer import LEVELS
from .heads import ImageHeads, Prediction, normalised_positions
from .heatmap_targets import IMAGE_STRIDES
from .layers import ChannelLayerNorm, DecoderLayer, SelfAttention, cell_centers, gather_tokens, position_mlp


@dataclass(frozen=True)
class ImageFeatures:
    """Maps of four levels, and the same as tokens: S = sum of h * w, the finest level first."""

    levels: list[Tensor]  # [B, V, C, h, w] each
    tokens: Tensor  # [B, V, S, C]
    positions: Tensor  # [S, 2] logits of u, v in 0..1
    padding: Tensor  # [B, V, S] bool: shows no part of the world

    @property
    def shapes(self) -> list[tuple[int, int]]:
        return [(int(x.shape[-2]), int(x.shape[-1])) for x in self.levels]


def image_features(levels: list[Tensor], views: Views) -> ImageFeatures:
    """From maps [B, V, C, h, w]."""
    positions = []
    for x in levels:
        height, width = int(x.shape[-2]), int(x.shape[-1])
        positions.append(normalised_positions(cell_centers(width, height, x.device), width, height))
    return ImageFeatures(
        levels,
        torch.cat([x.flatten(3) for x in levels], dim=-1).transpose(2, 3),
        torch.cat(positions),
        torch.cat([views.padding(stride).flatten(2) for stride in IMAGE_STRIDES], dim=-1),
    )


@dataclass(frozen=True)
class ImageQueries:
    features: Tensor  # [B, N, C]
    positions: Tensor  # [B, N, 2] logits of u, v in 0..1
    views: Tensor  # [B, N] int64
    classes: Tensor  # [B, N] of the heatmap
    scores: Tensor  # [B, N] of the heatmap, after its NMS


class CameraBranch(nn.Module):
    def __init__(self, config: SparseFusionConfig) -> None:
        super().__init__()
        d, self.count = config.hidden_channels, config.image_queries
        self.level_pos = nn.Parameter(torch.empty(LEVELS, d))
        self.heatmap_heads = nn.ModuleList(_heatmap_head(d) for _ in range(LEVELS))
        self.class_encoding = nn.Linear(len(CLASS_NAMES), d)
        self.decoder = DecoderLayer(
            d,
            config.ffn_channels,
            config.dropout,
            SelfAttention(d, config.attention_heads, config.dropout),
            DeformableAttention(d, config.attention_heads, LEVELS),
            position_mlp(2, d, norm=False),
            position_mlp(2, d, norm=False),
        )
        self.heads = ImageHeads(d, config.head_channels)

    def with_levels(self, levels: list[Tensor]) -> list[Tensor]:
        """Maps [N, C, h, w] with the learned vector of their level added."""
        return [x + vector[:, None, None] for x, vector in zip(levels, self.level_pos, strict=True)]

    def heatmaps(self, features: ImageFeatures) -> list[Tensor]:
        """Logits [B, V, 10, h, w] for each level."""
        heads = zip(self.heatmap_heads, features.levels, strict=True)
        return [head(x.flatten(0, 1)).unflatten(0, x.shape[:2]) for head, x in heads]

    def choose(self, features: ImageFeatures, heatmaps: list[Tensor]) -> ImageQueries:
        """The highest local maxima over classes, views and levels; those of views that show nothing score 0."""
        scores = [local_maxima(heat.detach().float().sigmoid()).flatten(3) for heat in heatmaps]
        shown = ~features.padding.all(dim=-1)  # [B, V]
        stacked = (torch.cat(scores, dim=-1) * shown[:, :, None, None]).transpose(1, 2).flatten(2)  # [B, 10, V * S]
        classes, places, best = top_queries(stacked, self.count)
        size = len(features.positions)
        one_hot = F.one_hot(classes, len(CLASS_NAMES)).to(features.tokens.dtype)
        tokens = gather_tokens(features.tokens.flatten(1, 2), places) + self.class_encoding(one_hot)
        return ImageQueries(tokens, features.positions[places % size], places // size, classes, best)

    def forward(self, features: ImageFeatures, queries: ImageQueries) -> tuple[Tensor, Prediction, Tensor]:
        """(query features [B, N, C], prediction, new positions [B, N, 2] as logits)"""
        decoded = self._decode(features, queries)
        prediction, positions = self.heads(decoded, queries.positions)
        return decoded, prediction, positions

    def _decode(self, features: ImageFeatures, queries: ImageQueries) -> Tensor:
        """Queries see those of their own view only, so views are samples of their own, padded to one length.

        As in the released code the only query of a view comes out as zeros.
        """
        decoded = torch.zeros_like(queries.features)
        n_views = features.tokens.shape[1]
        member = F.one_hot(queries.views, n_views).transpose(1, 2).bool()  # [B, V, N]
        counts = member.sum(dim=-1)
        b, v = (counts > 1).nonzero(as_tuple=True)
        if not len(b):
            return decoded
        longest = int(counts.max())
        # Members first, in their order; then others, which are masked.
        index = (~member[b, v]).to(torch.uint8).argsort(dim=1, stable=True)[:, :longest]
        absent = torch.arange(longest, device=index.device) >= counts[b, v, None]
        shapes, padding = features.shapes, features.padding[b, v]
        positions = queries.positions[b[:, None], index]

        def attend(query: Tensor, values: Tensor) -> Tensor:
            found: Tensor = self.decoder.cross_attn(query, values, positions.sigmoid(), shapes, padding)
            return found

        result = self.decoder(
            queries.features[b[:, None], index],
            positions,
            features.tokens[b, v],
            features.positions[None],
            query_padding=absent,
            attend=attend,
        )
        group, place = (~absent).nonzero(as_tuple=True)
        return decoded.index_put((b[group], index[group, place]), result[group, place].to(decoded.dtype))


def _heatmap_head(d: int) -> nn.Sequential:
    norm = [nn.Conv2d(d, d, 3, padding=1), ChannelLayerNorm(d), nn.ReLU()]
    return nn.Sequential(*norm, nn.Conv2d(d, len(CLASS_NAMES), 3, padding=1))
