"""The transformer between voxels and words, one sentence after another: nothing is padded, nothing computed in vain."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .backbone import VoxelNorm
from .config import TSP3DConfig


class PositionEmbedding(nn.Module):
    """Metric positions [N, 3] of voxels to features [N, C].

    The release pads scenes of a batch to equal lengths, and the padding enters the statistics of its norm in training;
    here there is no padding.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(3, channels), VoxelNorm(channels), nn.Linear(channels, channels)

    def forward(self, positions: Tensor) -> Tensor:
        found: Tensor = self.last(self.norm(self.first(positions)).relu())
        return found


class _FeedForward(nn.Module):
    """Linear, ReLU, linear, with the residual and a norm after it."""

    def __init__(self, channels: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(channels, hidden), nn.Linear(hidden, channels)
        self.norm, self.drop = nn.LayerNorm(channels), nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.norm(x + self.drop(self.last(self.drop(self.first(x).relu()))))
        return found


class _Attention(nn.Module):
    """Multi-head attention with the residual and a norm after it."""

    def __init__(self, channels: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(channels, heads, dropout, batch_first=True)
        self.norm, self.drop = nn.LayerNorm(channels), nn.Dropout(dropout)

    def forward(self, x: Tensor, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """All [1, n, C]; `x` is what the result is added to."""
        found, _ = self.attention(query, key, value, need_weights=False)
        out: Tensor = self.norm(x + self.drop(found))
        return out


class FusionLayer(nn.Module):
    """Self-attention of voxels, then of words; then each looks at the other, both from the same features."""

    def __init__(self, config: TSP3DConfig) -> None:
        super().__init__()
        c, heads, drop = config.channels, config.attention_heads, config.dropout
        self.voxels_self, self.words_self = _Attention(c, heads, drop), _Attention(c, heads, drop)
        # The release copies modules, so that both directions start from the same weights.
        self.words_to_voxels = _Attention(c, heads, drop)
        self.voxels_to_words = copy.deepcopy(self.words_to_voxels)
        self.words_ffn = _FeedForward(c, config.ffn_channels, drop)
        self.voxels_ffn = copy.deepcopy(self.words_ffn)

    def forward(self, voxels: Tensor, places: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        """voxels and their position embedding [1, N, C], words [1, L, C] -> both updated."""
        return self.with_words(self.among_voxels(voxels, places), places, words)

    def among_voxels(self, voxels: Tensor, places: Tensor) -> Tensor:
        """The part of the layer that comes before any word."""
        placed = voxels + places
        found: Tensor = self.voxels_self(voxels, placed, placed, voxels)
        return found

    def with_words(self, voxels: Tensor, places: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        words = self.words_self(words, words, words, words)
        looked = self.voxels_to_words(voxels, voxels + places, words, words)
        words = self.words_to_voxels(words, words, voxels, voxels)
        return self.voxels_ffn(looked), self.words_ffn(words)


class Fusion(nn.Module):
    """Layers that start from equal weights, over each sentence of a batch and its scan on their own."""

    def __init__(self, config: TSP3DConfig) -> None:
        super().__init__()
        layer = FusionLayer(config)
        self.layers = nn.ModuleList([layer, *(copy.deepcopy(layer) for _ in range(config.attention_layers - 1))])

    def forward(
        self, features: Tensor, places: Tensor, rows: list[Tensor], words: list[Tensor], scan_of_sentence: Sequence[int]
    ) -> tuple[Tensor, list[Tensor]]:
        """features and places [N, C]; for each scan its rows [n_b] of both, for each sentence its words [L_s, C].

        Gives the features of the voxels of its scan for each sentence, one after another, and the words, both updated.
        A scan without voxels leaves words as they are. What comes before any word is computed once for each scan.
        """
        first: FusionLayer = self.layers[0]  # type: ignore[assignment]
        scans = [(features[own][None], places[own][None]) for own in rows]
        seen = [first.among_voxels(x, place) if x.shape[1] else x for x, place in scans]
        out, said = [], []
        for scan, text in zip(scan_of_sentence, words, strict=True):
            x, place = seen[scan], scans[scan][1]
            if not x.shape[1]:
                out.append(x[0])
                said.append(text)
                continue
            x, t = first.with_words(x, place, text[None])
            for layer in self.layers[1:]:
                x, t = layer(x, place, t)
            out.append(x[0])
            said.append(t[0])
        return torch.cat(out).to(features.dtype), said
