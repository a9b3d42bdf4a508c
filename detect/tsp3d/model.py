"""`TSP3DModel`: backbone, text-guided pruning, completion-based addition, one box for each voxel that is left."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..sparse import SparseConvTensor, find_rows
from ..sparse.coordinates import CoordinateSet
from ..text.text_encoders import CHANNELS, LearntWords, load_text_encoder
from .backbone import Backbone, ConvNorm, GrowingConv, VoxelConv, VoxelNorm
from .config import TSP3DConfig
from .scene_batch import Batch
from .text_fusion import Fusion, PositionEmbedding
from .voxel_choice import (
    at_most,
    features_at,
    grown_scores,
    in_scans,
    kept_or_best,
    top_voxels,
    voxels_of_sentences,
)

PRIOR = 0.01  # probability that a voxel is right, before training
MOST_ENCODED = 8192  # sentences whose features are kept, tens of kilobytes each
EVALUATION_SEED = 1184  # of the draw of candidates to be added; that of the points of a scan in the release


@dataclass(frozen=True)
class Scored:
    """Voxels [N, 4] (sentence, x, y, z) with a logit [N] each."""

    voxels: Tensor
    logits: Tensor


@dataclass(frozen=True)
class Output:
    """Boxes of voxels, and what the losses need besides."""

    voxels: Tensor  # [N, 4] int32: the sentence, then x, y, z in steps of `voxel_m`
    offsets: Tensor  # [N, 3] metres from the voxel's lower corner to the box's centre
    log_sizes: Tensor  # [N, 3]
    logits: Tensor  # [N] of the class
    keep: tuple[Scored, ...]  # of the coarse and the middle level; a HIGH logit means to drop the voxel
    completion: Scored | None  # candidates to be added; a high logit means to add
    sentences: int
    counts: dict[str, int] = field(default_factory=dict)  # voxels by stage
    stages: dict[str, Tensor] = field(default_factory=dict)  # voxels [n, 4] that each pruning left, in evaluation


class TSP3DModel(nn.Module):
    """The network. The text encoder is frozen and no part of its state, unless it is learnt with the rest."""

    def __init__(self, config: TSP3DConfig) -> None:
        super().__init__()
        self.config = config
        c = config.channels
        self.backbone = Backbone(config)
        self.words = LearntWords() if config.text == "words" else None
        self._encoder: list[nn.Module] = []  # the frozen one: not registered, loaded when it is needed
        self._encoded: dict[tuple[tuple[int, ...], bool], Tensor] = {}  # its features of sentences
        self.text_projection = nn.Sequential(
            nn.Linear(CHANNELS[config.text], c), nn.LayerNorm(c, 1e-12), nn.Dropout(config.dropout)
        )
        self.position = PositionEmbedding(c)
        self.coarse_fusion, self.middle_fusion = Fusion(config), Fusion(config)
        self.coarse_keep, self.middle_keep = nn.Linear(c, 1), nn.Linear(c, 1)
        self.lateral = nn.ModuleList(ConvNorm(VoxelConv(c, c, 3)) for _ in range(3))
        self.up_coarse, self.up_middle = ConvNorm(GrowingConv(c, c)), ConvNorm(GrowingConv(c, c))
        self.completion_fusion = Fusion(config) if config.completion else None
        self.completion_score = nn.Linear(c, 1) if config.completion else None
        self.out = ConvNorm(VoxelConv(c, c, 3))
        self.join, self.join_norm = nn.Linear(2 * c, c, bias=False), VoxelNorm(c)
        self.box, self.score = nn.Linear(c, 6), nn.Linear(c, 1)
        # The release defines these first values and never uses them. Without them sizes start anywhere, and where boxes
        # do not overlap the distance-IoU loss falls when they grow.
        for head in (self.box, self.score):
            nn.init.normal_(head.weight, std=0.01)
        nn.init.zeros_(self.box.bias)
        nn.init.constant_(self.score.bias, -math.log((1 - PRIOR) / PRIOR))

    def use_text_encoder(self, encoder: nn.Module) -> None:
        """Take this frozen encoder instead of the one that the config names."""
        self._encoder = [encoder.requires_grad_(False)]
        self._encoded = {}

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Any:
        for encoder in self._encoder:
            encoder._apply(fn)
        self._encoded = {}
        return super()._apply(fn, recurse)

    def encode(self, tokens: Tensor, lengths: tuple[int, ...]) -> list[Tensor]:
        """tokens int64 [B, L], of which each sentence has so many -> its words [L_b, C]."""
        longest = max(lengths)
        tokens = tokens[:, :longest]
        present = torch.arange(longest, device=tokens.device) < torch.tensor(lengths, device=tokens.device)[:, None]
        if self.words is not None:
            features = self.words(tokens, present)
            return [self.text_projection(features[i, :length]) for i, length in enumerate(lengths)]
        if not self._encoder:
            self._encoder = [load_text_encoder(self.config.text, self.config.text_folder).to(tokens.device)]
        if self.training and self.config.text_dropout:
            with torch.no_grad():
                features = self._encoder[0].train()(tokens, present)
            return [self.text_projection(features[i, :length]) for i, length in enumerate(lengths)]
        return [self.text_projection(self._frozen(tokens[i, :length])) for i, length in enumerate(lengths)]

    @torch.no_grad()
    def _frozen(self, tokens: Tensor) -> Tensor:
        """The frozen encoder's features [L, C] of a sentence, computed once.

        Alone, not beside the other sentences of a batch, so that what was asked before does not change a bit of it.
        """
        key = (tuple(tokens.tolist()), torch.is_autocast_enabled(tokens.device.type))
        if key not in self._encoded:
            while len(self._encoded) >= MOST_ENCODED:
                del self._encoded[next(iter(self._encoded))]
            present = torch.ones(1, len(tokens), dtype=torch.bool, device=tokens.device)
            self._encoded[key] = self._encoder[0].eval()(tokens[None], present)[0]
        return self._encoded[key]

    def forward(self, batch: Batch) -> Output:
        config = self.config
        counts: dict[str, int] = {}
        stages: dict[str, Tensor] = {}
        words = self.encode(batch.tokens, batch.lengths)
        fine, middle, coarse = self.backbone(SparseConvTensor(batch.features, batch.voxels, None, batch.scans))
        counts |= {"fine": len(fine), "middle": len(middle), "coarse": len(coarse)}
        scans = batch.scan_of_sentence  # from here on batch items are sentences

        x = at_most(coarse, config.coarse_cap) if self.training else coarse
        x, words = self._fused(self.coarse_fusion, x, words, scans)
        coarse_logits = self.coarse_keep(x.features)[:, 0]
        keep = [Scored(x.indices, coarse_logits)]
        x = self.lateral[2](x)
        kept, x = self._grown(
            self.up_coarse, x, coarse_logits, middle, scans, config.coarse_threshold, (config.middle_top,) * 2
        )
        if config.pruning:
            stages["coarse"], counts["coarse kept"] = kept.indices, len(kept)
        x = x.replace_feature(x.features + features_at(middle, in_scans(x.indices, scans)))
        if self.training:
            x = at_most(x, config.middle_cap)
        counts["middle seen"] = len(x)
        x, words = self._fused(self.middle_fusion, x, words, tuple(range(batch.sentences)))
        middle_logits = self.middle_keep(x.features)[:, 0]
        keep.append(Scored(x.indices, middle_logits))
        x = self.lateral[1](x)
        kept, grown = self._grown(
            self.up_middle, x, middle_logits, fine, scans, config.middle_threshold, config.fine_top_range
        )
        if config.pruning:
            stages["middle"], counts["middle kept"] = kept.indices, len(kept)
        x = grown.replace_feature(grown.features + features_at(fine, in_scans(grown.indices, scans)))
        counts["grown"] = len(x)
        completion = None
        if config.completion:
            x, words, completion = self._complete(x, grown, fine, words, scans)
        counts["out"], stages["out"] = len(x), x.indices

        x = self.out(self.lateral[0](x))
        first = torch.stack([text[0] for text in words])[x.indices[:, 0].long()]
        joined = self.join_norm(self.join(torch.cat([x.features, first.to(x.features)], dim=1))).relu()
        box = self.box(joined).float()
        logits = self.score(joined)[:, 0].float()
        return Output(
            x.indices,
            box[:, :3],
            box[:, 3:],
            logits,
            tuple(keep) if config.pruning else (),
            completion,
            batch.sentences,
            counts,
            {} if self.training else stages,
        )

    def _fused(
        self, fusion: Fusion, x: SparseConvTensor, words: list[Tensor], scan_of_sentence: tuple[int, ...]
    ) -> tuple[SparseConvTensor, list[Tensor]]:
        """Batch items of `x` are scans, those of the result sentences."""
        places = self.position(x.indices[:, 1:].float() * self.config.voxel_m)
        features, words = fusion(x.features, places, x.batch_rows(), words, scan_of_sentence)
        return x.with_voxels(features, voxels_of_sentences(x, scan_of_sentence), {}), words

    def _grown(
        self,
        up: ConvNorm,
        x: SparseConvTensor,
        logits: Tensor,  # [N] of keeping the voxels of `x`
        level: SparseConvTensor,  # of the backbone, at the stride that is grown to
        scans: tuple[int, ...],
        threshold: float,
        top_range: tuple[int, int],
    ) -> tuple[SparseConvTensor, SparseConvTensor]:
        """(the voxels of `x` that are kept, the finer ones that grow of them)

        In training all grow, and the best of each sentence stay, by their interpolated logits: as many as a number
        drawn from the range.
        """
        config = self.config
        onto = voxels_of_sentences(level, scans) if config.surface_only or not config.pruning else None
        if not config.pruning:
            return x, up(x, onto)
        if not self.training:
            x = kept_or_best(x, logits, threshold)
        grown = up(x, onto)
        reached = None if onto is None else grown_scores(logits.new_ones(len(x)), x, onto) > 0
        if reached is not None:
            grown = grown.select_by_index(reached)
        if self.training:
            scores = grown_scores(-logits.detach().float(), x, onto)
            low, high = top_range
            count = low if low == high else int(torch.randint(low, high, ()))
            grown = top_voxels(grown, scores if reached is None else scores[reached], count)
        return x, grown

    def _complete(
        self,
        x: SparseConvTensor,
        grown: SparseConvTensor,
        fine: SparseConvTensor,
        words: list[Tensor],
        scan_of_sentence: tuple[int, ...],
    ) -> tuple[SparseConvTensor, list[Tensor], Scored]:
        """Completion-based addition: backbone voxels that the text speaks for, and that pruning took, come back."""
        assert self.completion_fusion is not None
        assert self.completion_score is not None
        # The release draws anew in evaluation, too, so that no result repeats.
        candidates = at_most(fine, self.config.completion_cap, None if self.training else EVALUATION_SEED)
        candidates, words = self._fused(self.completion_fusion, candidates, words, scan_of_sentence)
        logits = self.completion_score(candidates.features)[:, 0]
        wanted = logits.float().sigmoid() > self.config.completion_threshold
        absent = find_rows(x.coordinates, candidates.indices) < 0
        added = candidates.select_by_index(wanted & absent)
        features = added.features + features_at(grown, added.indices).to(added.features)
        old = x.coordinates
        union = CoordinateSet(torch.cat([old.indices, added.indices]), old.batch_size, old.spatial_shape, old.stride)
        joined = SparseConvTensor.at(torch.cat([x.features, features.to(x.features)]), union)
        return joined, words, Scored(candidates.indices, logits)
