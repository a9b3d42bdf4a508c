"""Small parts that all stages share: tokens are [B, N, C], maps are [B, C, H, W]."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LOGIT_LIMIT = 1e-5  # positions are kept this far from 0 and 1 before their logit


def logit(x: Tensor) -> Tensor:
    """The inverse of the sigmoid, finite everywhere."""
    x = x.clamp(0, 1)
    return (x.clamp_min(LOGIT_LIMIT) / (1 - x).clamp_min(LOGIT_LIMIT)).log()


class TokenBatchNorm(nn.BatchNorm1d):
    """Batch norm over all tokens of all samples."""

    def forward(self, tokens: Tensor) -> Tensor:
        return super().forward(tokens.flatten(0, 1)).view_as(tokens)


class ChannelLayerNorm(nn.LayerNorm):
    """Layer norm over the channels of a map."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, maps: Tensor) -> Tensor:
        return super().forward(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def position_mlp(inputs: int, channels: int, norm: bool) -> nn.Sequential:
    """A position to an embedding; the LiDAR side has a batch norm in it, the image side none."""
    middle = [TokenBatchNorm(channels)] if norm else []
    return nn.Sequential(nn.Linear(inputs, channels), *middle, nn.ReLU(), nn.Linear(channels, channels))


def projection(channels: int) -> nn.Sequential:
    """Tokens of one modality into the space that both share."""
    return nn.Sequential(nn.Linear(channels, channels), nn.LayerNorm(channels))


class SelfAttention(nn.MultiheadAttention):
    """Multi-head attention whose weights nobody asks for, which lets PyTorch take its fused kernels."""

    def __init__(self, channels: int, heads: int, dropout: float) -> None:
        super().__init__(channels, heads, dropout=dropout, batch_first=True)

    def forward(self, query: Tensor, key: Tensor, padding: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """[B, N, C]; keys are values, and `padding` [B, M] marks those that do not count."""
        return super().forward(query, key, key, key_padding_mask=padding, need_weights=False)[0]


class DecoderLayer(nn.Module):
    """Post-norm transformer layer. Positions are added to queries, keys and also values, as in TransFusion.

    Without `self_attn` it has one attention only. `cross_attn(query, key)` takes tokens with their positions added.
    """

    def __init__(
        self,
        channels: int,
        ffn_channels: int,
        dropout: float,
        self_attn: SelfAttention | None,
        cross_attn: nn.Module,
        query_position: nn.Module,
        key_position: nn.Module,
    ) -> None:
        super().__init__()
        self.query_position, self.key_position = query_position, key_position
        self.cross_attn = cross_attn
        self.self_attn = self_attn
        self.norm1 = None if self_attn is None else nn.LayerNorm(channels)
        self.norm2, self.norm3 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.linear1, self.linear2 = nn.Linear(channels, ffn_channels), nn.Linear(ffn_channels, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        query: Tensor,  # [B, N, C]
        query_positions: Tensor,  # [B, N, P]
        key: Tensor,  # [B, M, C]
        key_positions: Tensor,  # [B or 1, M, P']
        query_padding: Tensor | None = None,  # [B, N] bool
        attend: Callable[[Tensor, Tensor], Tensor] | None = None,  # in place of `cross_attn`, to pass more to it
    ) -> Tensor:
        """[B, N, C]"""
        position = self.query_position(query_positions)
        if self.self_attn is not None and self.norm1 is not None:
            placed = query + position
            query = self.norm1(query + self.dropout(self.self_attn(placed, placed, query_padding)))
        found = (attend or self.cross_attn)(query + position, key + self.key_position(key_positions))
        query = self.norm2(query + self.dropout(found))
        hidden = self.dropout(F.relu(self.linear1(query)))
        return self.norm3(query + self.dropout(self.linear2(hidden)))


def conv_norm(inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Convolution, batch norm and ReLU as the BEV backbone has them (SECOND's epsilon and momentum)."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return conv, nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01), nn.ReLU(inplace=True)


def initialise_head(module: nn.Module) -> None:
    """Xavier for every weight of more than one dimension, then the deformable attention's own start again.

    The focal loss's usual prior (a bias of -2.19) is defined in the released code and never set; so it is here.
    """
    for parameter in module.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
    for part in module.modules():
        start = getattr(part, "reset_parameters", None)
        if start is not None and getattr(part, "starts_itself", False):
            start()


def gather_tokens(tokens: Tensor, index: Tensor) -> Tensor:
    """[B, K, C] of tokens [B, N, C] at index [B, K]."""
    return tokens.gather(1, index[..., None].expand(-1, -1, tokens.shape[-1]))


def cell_centers(width: int, height: int, device: torch.device) -> Tensor:
    """[height * width, 2] x, y of the cells of a map, row by row, in cells."""
    y, x = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
    return torch.stack([x, y], dim=-1).reshape(-1, 2) + 0.5
