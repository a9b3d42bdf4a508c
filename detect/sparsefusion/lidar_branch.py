"""The LiDAR branch: queries chosen from the BEV map, and one decoder layer over all of it (TransFusion-L)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from ..common.heatmaps import local_maxima, top_queries
from ..tasks.driving_task import CLASS_NAMES
from .config import SparseFusionConfig
from .heads import BoxHeads, Prediction
from .heatmap_targets import SMALL_CLASSES
from .layers import DecoderLayer, SelfAttention, cell_centers, gather_tokens, position_mlp


@dataclass(frozen=True)
class LidarQueries:
    features: Tensor  # [B, N, C]
    positions: Tensor  # [B, N, 2] BEV cells
    classes: Tensor  # [B, N] of the heatmap
    scores: Tensor  # [B, N] of the heatmap, after its NMS


class LidarBranch(nn.Module):
    def __init__(self, config: SparseFusionConfig) -> None:
        super().__init__()
        d, self.count = config.hidden_channels, config.lidar_queries
        self.shared_conv = nn.Conv2d(2 * config.bev_neck_channels, d, 3, padding=1)
        self.class_encoding = nn.Linear(len(CLASS_NAMES), d)
        self.decoder = DecoderLayer(
            d,
            config.ffn_channels,
            config.dropout,
            SelfAttention(d, config.attention_heads, config.dropout),
            SelfAttention(d, config.attention_heads, config.dropout),
            position_mlp(2, d, norm=True),
            position_mlp(2, d, norm=True),
        )
        self.heads = BoxHeads(d, config.head_channels)

    def choose(
        self,
        bev: Tensor,  # [B, C, H, W] after shared_conv
        heatmap: Tensor,  # [B, 10, H, W] logits
    ) -> LidarQueries:
        """The highest local maxima. Features are those of the LiDAR alone, whatever the heatmap was made from."""
        scores = local_maxima(heatmap.detach().float().sigmoid(), SMALL_CLASSES)
        classes, cells, best = top_queries(scores.flatten(2), self.count)
        centers = cell_centers(bev.shape[3], bev.shape[2], bev.device)
        one_hot = F.one_hot(classes, len(CLASS_NAMES)).to(bev.dtype)
        features = gather_tokens(bev.flatten(2).transpose(1, 2), cells) + self.class_encoding(one_hot)
        return LidarQueries(features, centers[cells], classes, best)

    def forward(self, bev: Tensor, queries: LidarQueries) -> tuple[Tensor, Prediction]:
        """(query features [B, N, C], prediction)"""
        centers = cell_centers(bev.shape[3], bev.shape[2], bev.device)[None].expand(len(bev), -1, -1)
        tokens = bev.flatten(2).transpose(1, 2)
        features = self.decoder(queries.features, queries.positions, tokens, centers)
        return features, self.heads(features, queries.positions)


def lidar_heatmap_head(config: SparseFusionConfig) -> nn.Sequential:
    """The heatmap of the LiDAR alone, in use where there is no semantic transfer."""
    d = config.hidden_channels
    first = nn.Conv2d(d, d, 3, padding=1, bias=False)
    return nn.Sequential(first, nn.BatchNorm2d(d), nn.ReLU(), nn.Conv2d(d, len(CLASS_NAMES), 3, padding=1))
