"""Sparse fusion: both sets of queries attend to each other, and each says what it is once more."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .config import SparseFusionConfig
from .heads import BoxHeads, Prediction
from .layers import DecoderLayer, SelfAttention, position_mlp, projection


class SparseFusion(nn.Module):
    """One attention layer over all queries; one position embedding serves queries and keys."""

    def __init__(self, config: SparseFusionConfig) -> None:
        super().__init__()
        d = config.hidden_channels
        self.lidar_projection = projection(d)
        self.image_projection = projection(d)
        position = position_mlp(2, d, norm=True)
        attention = SelfAttention(d, config.attention_heads, config.dropout)
        self.decoder = DecoderLayer(d, config.ffn_channels, config.dropout, None, attention, position, position)
        self.heads = BoxHeads(d, config.head_channels)

    def forward(
        self,
        lidar: Tensor,  # [B, N, C]
        lidar_positions: Tensor,  # [B, N, 2] BEV cells
        image: Tensor,  # [B, M, C]
        image_positions: Tensor,  # [B, M, 2] BEV cells
    ) -> Prediction:
        """Of all N + M queries, the LiDAR's first."""
        queries = torch.cat([self.lidar_projection(lidar), self.image_projection(image)], dim=1)
        positions = torch.cat([lidar_positions, image_positions], dim=1).detach()
        return self.heads(self.decoder(queries, positions, queries, positions), positions)
