"""Training of the depth prior: its samples and its losses."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from ....learn.schedules import OneCycle
from ....learn.training_task import Forward
from .network import LEVELS, Prediction
from .sparse_input import SLOPE_RIGHT

EDGE_BEND = 0.04  # change of slope of inverse depth, relative to it, from which on depth is said to jump


@dataclass(frozen=True)
class DepthSamples:
    """N samples at half of the pictures' size. Several share a picture, whose trunk features are kept."""

    images: Tensor  # [P, H, W, 3] uint8
    features: list[Tensor]  # of the trunk, [P, C, ...] float16 each
    told: Tensor  # [N, TOLD, h, w] float16 of `SparseInput`
    base: Tensor  # [N, h, w] float32
    known: Tensor  # [N, h, w] bool
    log_depth: Tensor  # [N, h, w] float32 truth, NaN where there is none
    picture: Tensor  # [N] int64, row of the features

    def __len__(self) -> int:
        return len(self.base)


@dataclass(frozen=True)
class DepthBatch:
    images: Tensor
    features: list[Tensor]
    told: Tensor
    base: Tensor
    known: Tensor
    log_depth: Tensor

    def to(self, device: torch.device) -> DepthBatch:
        features = [f.to(device).float() for f in self.features]
        rest = (t.to(device) for t in (self.told.float(), self.base, self.known, self.log_depth))
        return DepthBatch(self.images.to(device), features, *rest)


@dataclass(frozen=True)
class DepthSchedule:
    """Settings of a training."""

    steps: int = 4000
    batch: int = 4  # samples of a step
    rate: float = 1.5e-3  # the highest learning rate
    weight_decay: float = 1e-2
    iterations: int = 30  # of conjugate gradients
    likelihood: float = 0.3  # weight of the Laplace likelihood, against 1 of the plain error
    slope: float = 0.5  # weight of errors of differences
    edge: float = 0.05  # weight of the edge map
    seed: int = 0


class DepthTraining:
    """A `TrainingTask` for the decoder."""

    def __init__(self, samples: DepthSamples, schedule: DepthSchedule) -> None:
        self.samples, self.schedule = samples, schedule
        self.cycle = OneCycle(peak_factor=10.0, last_factor=1e-2)

    @property
    def steps(self) -> int:
        return self.schedule.steps

    @property
    def max_gradient_norm(self) -> float | None:
        return 1.0

    @property
    def fingerprint(self) -> str:
        digest = hashlib.sha256(self.samples.base.numpy().tobytes())
        digest.update(self.samples.told[:: max(1, len(self.samples) // 64)].numpy().tobytes())
        return digest.hexdigest()

    def settings(self) -> Mapping[str, Any]:
        return asdict(self.schedule)

    def batches(self, first_step: int) -> Iterable[DepthBatch]:
        for step in range(first_step, self.steps):
            generator = torch.Generator().manual_seed(self.schedule.seed * 1_000_003 + step)
            batch = self.batch(torch.randint(len(self.samples), (self.schedule.batch,), generator=generator))
            yield mirrored(batch) if float(torch.rand(1, generator=generator)) < 0.5 else batch

    def batch(self, rows: Tensor) -> DepthBatch:
        """The samples [B] of one step."""
        s = self.samples
        features = [f[s.picture[rows]] for f in s.features]
        return DepthBatch(
            s.images[s.picture[rows]], features, s.told[rows], s.base[rows], s.known[rows], s.log_depth[rows]
        )

    def loss(self, forward: Forward, batch: DepthBatch) -> Mapping[str, Tensor]:
        found = forward(batch.images, batch.features, batch.told, batch.base, batch.known, self.schedule.iterations)
        return depth_losses(found, batch.base, batch.log_depth, self.schedule)

    def optimizer(self, network: nn.Module) -> Optimizer:
        rate = self.schedule.rate / self.cycle.peak_factor
        groups = [{"params": list(network.parameters()), "lr": rate, "base_lr": rate}]
        return AdamW(groups, weight_decay=self.schedule.weight_decay)

    def set_rates(self, optimizer: Optimizer, step: int) -> None:
        self.cycle.set_rates(optimizer, step, self.steps)


def mirrored(batch: DepthBatch) -> DepthBatch:
    """The samples with left and right exchanged. The trunk's features are turned round, which is nearly as good."""
    told = batch.told.flip(-1)
    told[:, SLOPE_RIGHT] *= -1
    features = [f.flip(-1) for f in batch.features]
    rest = (t.flip(-1) for t in (batch.base, batch.known, batch.log_depth))
    return DepthBatch(batch.images.flip(2), features, told, *rest)


def depth_losses(
    found: Prediction,
    base: Tensor,  # [B, h, w]
    log_depth: Tensor,  # [B, h, w], NaN where unknown
    schedule: DepthSchedule,
) -> dict[str, Tensor]:
    """Weighted losses by name: error of log-depth, its likelihood, errors of differences over 1 to 8 pixels, edges."""
    there = log_depth.isfinite()
    truth = torch.where(there, log_depth - base, 0.0)
    error = (found.correction - truth).abs() * there
    count = there.sum().clamp_min(1)
    likelihood = ((error.detach() * torch.exp(-found.log_scale) + found.log_scale) * there).sum() / count
    slope = error.new_zeros(())
    for k in range(LEVELS):
        shift = 2**k
        for axis in (1, 2):
            length = truth.shape[axis] - shift
            here, next_ = (torch.arange(length) + offset for offset in (0, shift))
            both = there.index_select(axis, here) & there.index_select(axis, next_)
            difference = found.correction - truth
            change = difference.index_select(axis, next_) - difference.index_select(axis, here)
            slope = slope + (change.abs() * both).sum() / both.sum().clamp_min(1) / (2 * LEVELS)
    jump, inner = jumps(log_depth)
    edge = F.binary_cross_entropy_with_logits(found.edge, jump.float(), weight=inner.float(), reduction="sum")
    return {
        "depth": error.sum() / count,
        "likelihood": schedule.likelihood * likelihood,
        "slope": schedule.slope * slope,
        "edge": schedule.edge * edge / inner.sum().clamp_min(1),
    }


def jumps(log_depth: Tensor) -> tuple[Tensor, Tensor]:
    """(bool [B, h, w] where inverse depth bends by more than planes do, bool [B, h, w] where that can be said)."""
    inverse = torch.exp(-log_depth)
    bend = torch.zeros_like(inverse)
    across = (inverse[:, :, 2:] - 2 * inverse[:, :, 1:-1] + inverse[:, :, :-2]).abs()
    along = (inverse[:, 2:] - 2 * inverse[:, 1:-1] + inverse[:, :-2]).abs()
    bend[:, :, 1:-1] = across
    bend[:, 1:-1] = torch.maximum(bend[:, 1:-1], along)
    said = bend.isfinite() & inverse.isfinite()
    return (bend > EDGE_BEND * inverse) & said, said
