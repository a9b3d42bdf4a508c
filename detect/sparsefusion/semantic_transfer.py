"""Semantic transfer: what the cameras see helps to find objects in the LiDAR's bird's-eye view."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..tasks.driving_task import CLASS_NAMES
from .camera_branch import ImageFeatures
from .coder import metres_from_cells
from .config import SparseFusionConfig
from .deformable import DeformableAttention
from .driving_batch import Views
from .geometric_transfer import LEVELS
from .layers import ChannelLayerNorm, DecoderLayer, SelfAttention, cell_centers, logit, position_mlp, projection
from .voxelize import EMPTY_MIDDLE_M

MIN_DEPTH_M = 1e-5


class SemanticTransfer(nn.Module):
    """BEV cells that hold points look into the images in which they lie; then comes the heatmap of the BEV.

    One view after the other: the attention among all cells of a view is what needs the memory.
    """

    def __init__(self, config: SparseFusionConfig) -> None:
        super().__init__()
        self.config = config
        d = config.hidden_channels
        self.lidar_projection = projection(d)
        self.image_projection = projection(d)
        self.decoder = DecoderLayer(
            d,
            config.ffn_channels,
            config.dropout,
            SelfAttention(d, config.attention_heads, config.dropout),
            DeformableAttention(d, config.attention_heads, LEVELS),
            position_mlp(3, d, norm=False),
            position_mlp(2, d, norm=False),
        )
        self.reduce_conv = nn.Sequential(nn.Conv2d(d + 1, d, 3, padding=1), ChannelLayerNorm(d), nn.ReLU())
        self.heatmap_head = nn.Conv2d(d, len(CLASS_NAMES), 3, padding=1)

    def forward(
        self,
        bev: Tensor,  # [B, C, H, W]
        low_m: Tensor,  # [B, H, W] lowest point of each cell
        high_m: Tensor,  # [B, H, W]
        features: ImageFeatures,
        views: Views,
    ) -> Tensor:
        """Heatmap logits [B, 10, H, W]"""
        tokens = self.lidar_projection(bev.flatten(2).transpose(1, 2))
        images = self.image_projection(features.tokens)
        middle = ((low_m + high_m) / 2).flatten(1)
        xy = metres_from_cells(cell_centers(bev.shape[3], bev.shape[2], bev.device), self.config)
        enriched, seen = [], []
        for b in range(len(bev)):
            cells = (middle[b] > EMPTY_MIDDLE_M).nonzero().flatten()
            points = torch.cat([xy[cells], middle[b, cells, None]], dim=1)
            combined, sees = self._sample(b, tokens[b], cells, points, images[b], features, views)
            enriched.append(combined)
            seen.append(sees)
        rows = torch.cat([torch.stack(enriched), torch.stack(seen)[..., None].to(bev.dtype)], dim=-1)
        return self.heatmap_head(self.reduce_conv(rows.transpose(1, 2).unflatten(2, bev.shape[2:])))

    def _sample(
        self,
        sample: int,
        tokens: Tensor,  # [H * W, C]
        cells: Tensor,  # [K] that hold points
        points: Tensor,  # [K, 3]
        images: Tensor,  # [V, S, C] projected
        features: ImageFeatures,
        views: Views,
    ) -> tuple[Tensor, Tensor]:
        """(tokens [H * W, C], bool [H * W] whether a camera sees the cell) of one sample."""
        pixels, depths, inside = views.project(sample, points, MIN_DEPTH_M)
        uv = pixels / pixels.new_tensor([views.width_px, views.height_px])
        best = torch.full_like(tokens, -torch.inf)
        seen = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
        for v in range(len(uv)):
            rows = inside[v].nonzero().flatten()
            if not len(rows):
                continue
            here = cells[rows]
            found = self._look(
                tokens[here], uv[v, rows], depths[v, rows], images[v], features, features.padding[sample, v]
            )
            best = best.index_copy(0, here, torch.maximum(best[here], found.to(best.dtype)))
            seen[here] = True
        return torch.where(seen[:, None], best, tokens), seen

    def _look(
        self,
        tokens: Tensor,  # [K, C]
        uv: Tensor,  # [K, 2] in 0..1
        depths: Tensor,  # [K]
        image: Tensor,  # [S, C] projected
        features: ImageFeatures,
        padding: Tensor,  # [S]
    ) -> Tensor:
        """[K, C]: the cells of one view after attention to each other and to the image."""
        shapes = features.shapes
        grid = (2 * uv - 1)[None, :, None]
        sampled = None
        for (h, w), part in zip(shapes, image.split([h * w for h, w in shapes]), strict=True):
            level = part.T.reshape(1, -1, h, w)
            value = F.grid_sample(level, grid.to(level.dtype), padding_mode="border", align_corners=False)[0, :, :, 0].T
            sampled = value if sampled is None else torch.maximum(sampled, value)
        assert sampled is not None
        positions = torch.cat([logit(uv), depths[:, None].log()], dim=1)

        def attend(query: Tensor, values: Tensor) -> Tensor:
            found: Tensor = self.decoder.cross_attn(query, values, uv[None], shapes, padding[None])
            return found

        query = (tokens + sampled)[None]
        result: Tensor = self.decoder(query, positions[None], image[None], features.positions[None], attend=attend)
        return result[0]
