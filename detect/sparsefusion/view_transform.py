"""View transformation: image queries become queries in the LiDAR's frame (disentangled object representation)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .coder import cells_from_metres, lidar_attributes, lift_centers
from .config import SparseFusionConfig
from .driving_batch import Views
from .heads import BoxHeads, Prediction
from .layers import DecoderLayer, SelfAttention, TokenBatchNorm, logit, position_mlp, projection

CAMERA_NUMBERS = 16  # nine of the rotation, three of the translation, fx, fy, cx, cy
BEV_MARGIN = 1 / 15  # of the BEV's side: lifted centres may lie this far outside (12 of 180 cells)
Z_RANGE_M = (-10.0, 10.0)


class CameraGate(nn.Module):
    """Weights of channels from the query's camera (squeeze and excitation)."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.bn = TokenBatchNorm(CAMERA_NUMBERS)
        self.mlp = nn.Sequential(nn.Linear(CAMERA_NUMBERS, d), nn.ReLU(), nn.Linear(d, d), nn.ReLU(), nn.Linear(d, d))

    def forward(self, queries: Tensor, camera: Tensor) -> Tensor:
        return queries * self.mlp(self.bn(camera)).sigmoid()


class ViewTransform(nn.Module):
    def __init__(self, config: SparseFusionConfig) -> None:
        super().__init__()
        self.config = config
        d = config.hidden_channels
        self.camera_gate = CameraGate(d)
        self.view_projection = projection(d)
        self.decoder = DecoderLayer(
            d,
            config.ffn_channels,
            config.dropout,
            None,
            SelfAttention(d, config.attention_heads, config.dropout),
            position_mlp(9, d, norm=False),
            position_mlp(9, d, norm=False),
        )
        self.heads = BoxHeads(d, config.head_channels)

    def forward(
        self,
        queries: Tensor,  # [B, N, C]
        query_views: Tensor,  # [B, N]
        image_positions: Tensor,  # [B, N, 2] logits of u, v after the image stage
        codes: Tensor,  # [B, N, 10] of the image stage
        views: Views,
    ) -> tuple[Tensor, Prediction]:
        """(query features [B, N, C], prediction whose centres are the queries' new BEV positions)"""
        codes, image_positions = codes.detach(), image_positions.detach()
        sample = torch.arange(len(queries), device=queries.device)[:, None]
        pose, K = views.cam_from_lidar[sample, query_views], views.K[sample, query_views]
        queries = self.view_projection(self.camera_gate(queries, camera_numbers(pose, K)))
        _, center = lift_centers(codes, pose, K, views.width_px, views.height_px)
        _, rotation, velocity = lidar_attributes(codes, pose)
        bev = cells_from_metres(center[..., :2], self.config)
        position = self._position_code(bev, center[..., 2:], rotation, velocity, image_positions)
        queries = self.decoder(queries, position, queries, position)
        return queries, self.heads(queries, bev)

    def _position_code(self, bev: Tensor, z: Tensor, rotation: Tensor, velocity: Tensor, image: Tensor) -> Tensor:
        """[B, N, 9]"""
        size = bev.new_tensor(self.config.bev_size)
        low, high = Z_RANGE_M
        parts = [
            logit((bev + BEV_MARGIN * size) / ((1 + 2 * BEV_MARGIN) * size)),
            logit((z - low) / (high - low)),
            logit((rotation + 1) / 2),
            velocity,
            image,
        ]
        return torch.cat(parts, dim=-1)


def camera_numbers(pose: Tensor, K: Tensor) -> Tensor:
    """[..., 16] of cam_from_lidar [..., 4, 4] and K [..., 3, 3]."""
    focal = torch.stack([K[..., 0, 0], K[..., 1, 1], K[..., 0, 2], K[..., 1, 2]], dim=-1)
    return torch.cat([pose[..., :3, :3].flatten(-2), pose[..., :3, 3], focal], dim=-1)
