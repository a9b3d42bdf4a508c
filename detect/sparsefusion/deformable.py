"""Multi-scale deformable attention (Zhu et al., Deformable DETR, ICLR 2021, equation 3) in plain PyTorch."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

POINTS = 4  # sampled by each head on each level


class DeformableAttention(nn.Module):
    """Each query looks at a few places near its reference point, which it chooses itself, on every level."""

    starts_itself = True

    def __init__(self, channels: int, heads: int, levels: int, points: int = POINTS) -> None:
        super().__init__()
        self.heads, self.levels, self.points = heads, levels, points
        self.sampling_offsets = nn.Linear(channels, heads * levels * points * 2)
        self.attention_weights = nn.Linear(channels, heads * levels * points)
        self.value_proj = nn.Linear(channels, channels)
        self.output_proj = nn.Linear(channels, channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Head k looks into direction k, point p p + 1 cells away, all with equal weight."""
        angle = torch.arange(self.heads) * (2 * math.pi / self.heads)
        direction = torch.stack([angle.cos(), angle.sin()], dim=-1)
        direction = direction / direction.abs().amax(dim=-1, keepdim=True)
        reach = torch.arange(1, self.points + 1)[None, None, :, None]
        start = direction[:, None, None] * reach.expand(self.heads, self.levels, -1, 1)
        with torch.no_grad():
            nn.init.zeros_(self.sampling_offsets.weight)
            self.sampling_offsets.bias.copy_(start.flatten())
            nn.init.zeros_(self.attention_weights.weight)
            nn.init.zeros_(self.attention_weights.bias)
            for layer in (self.value_proj, self.output_proj):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(
        self,
        query: Tensor,  # [B, N, C]
        values: Tensor,  # [B, sum of h * w, C], the levels one after the other
        references: Tensor,  # [B, N, 2] x, y in 0..1
        shapes: list[tuple[int, int]],  # (h, w) of each level
        padding: Tensor | None = None,  # [B, sum of h * w] bool: counts as zero
    ) -> Tensor:
        """[B, N, C]"""
        batch, n, channels = query.shape
        values = self.value_proj(values)
        if padding is not None:
            values = values.masked_fill(padding[..., None], 0)
        values = values.unflatten(-1, (self.heads, -1))
        size = torch.tensor([[w, h] for h, w in shapes], dtype=query.dtype, device=query.device)
        offsets = self.sampling_offsets(query).view(batch, n, self.heads, self.levels, self.points, 2)
        places = references[:, :, None, None, None] + offsets / size[:, None]
        weights = self.attention_weights(query).view(batch, n, self.heads, -1).softmax(dim=-1)
        weights = weights.view(batch, n, self.heads, self.levels, self.points)
        return self.output_proj(sample_levels(values, shapes, places, weights).reshape(batch, n, channels))


def sample_levels(
    values: Tensor,  # [B, S, heads, D]
    shapes: list[tuple[int, int]],
    places: Tensor,  # [B, N, heads, levels, points, 2] in 0..1
    weights: Tensor,  # [B, N, heads, levels, points]
) -> Tensor:
    """[B, N, heads, D]: weighted bilinear samples; outside of a level is zero, cell centres are at + 0.5."""
    total = None
    batch, _, heads, _ = values.shape
    parts = values.split([h * w for h, w in shapes], dim=1)
    for level, ((h, w), part) in enumerate(zip(shapes, parts, strict=True)):
        image = part.permute(0, 2, 3, 1).reshape(batch * heads, -1, h, w)
        grid = (2 * places[:, :, :, level] - 1).permute(0, 2, 1, 3, 4).flatten(0, 1)
        samples = F.grid_sample(image, grid.to(image.dtype), align_corners=False)  # [B * heads, D, N, points]
        weight = weights[:, :, :, level].permute(0, 2, 1, 3).flatten(0, 1)[:, None]
        summed = (samples * weight).sum(dim=-1)
        total = summed if total is None else total + summed
    assert total is not None
    return total.unflatten(0, (batch, heads)).permute(0, 3, 1, 2)


def plain_sample_levels(values: Tensor, shapes: list[tuple[int, int]], places: Tensor, weights: Tensor) -> Tensor:
    """The definition of `sample_levels`, sample by sample in loops; for tests."""
    batch, n, heads, levels, points, _ = places.shape
    out = torch.zeros(batch, n, heads, values.shape[-1], dtype=values.dtype)
    starts = [0]
    for h, w in shapes:
        starts.append(starts[-1] + h * w)
    for b, q, k, level, p in torch.cartesian_prod(
        *(torch.arange(s) for s in (batch, n, heads, levels, points))
    ).tolist():
        h, w = shapes[level]
        x, y = places[b, q, k, level, p, 0] * w - 0.5, places[b, q, k, level, p, 1] * h - 0.5
        for column in (math.floor(x), math.floor(x) + 1):
            for row in (math.floor(y), math.floor(y) + 1):
                if 0 <= column < w and 0 <= row < h:
                    share = (1 - (x - column).abs()) * (1 - (y - row).abs())
                    value = values[b, starts[level] + row * w + column, k]
                    out[b, q, k] += weights[b, q, k, level, p] * share * value
    return out
