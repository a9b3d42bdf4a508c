"""Training of the depth prior: its samples and its losses."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from ....learn.schedules import OneCycle
from ....learn.training_task import Forward
from ..hidden_pixels import distance_to
from .network import Prediction, places, told_channels

SLOPES = 4  # distances, 1 to 8 pixels, over which differences are compared
RIGHT = 0.03  # error of log-depth up to which a fill is a good choice


@dataclass(frozen=True)
class DepthSamples:
    """N photographs of which some depth is told; maps have half of their size, h = H / 2, w = W / 2."""

    images: Tensor  # [N, H, W, 3] uint8
    log_depth: Tensor  # [N, h, w] float32 truth about that of what is known, NaN where there is none
    fills: Tensor  # [N, FILLS, h, w] float16 of `fills`, about the same
    weight: Tensor  # [N, h, w] float16 of what is known, 0 elsewhere
    errors: Tensor  # [N, FILLS] float32 of `errors_of_fills`

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class DepthBatch:
    images: Tensor  # [B, H, W, 3] uint8
    features: list[Tensor]  # of the trunk
    told: Tensor  # [B, TOLD, h, w]
    fills: Tensor  # [B, FILLS, h, w]
    errors: Tensor  # [B, FILLS]
    log_depth: Tensor  # [B, h, w]
    distance: Tensor  # [B, h, w] pixels from what is known

    def to(self, device: torch.device) -> DepthBatch:
        features = [f.to(device) for f in self.features]
        rest = (t.to(device) for t in (self.told, self.fills, self.errors, self.log_depth, self.distance))
        return DepthBatch(self.images.to(device), features, *rest)


@dataclass(frozen=True)
class DepthSchedule:
    """Settings of a training."""

    steps: int = 3000
    batch: int = 4  # samples of a step
    crop_px: int = 192  # side of the random part of a picture that a step sees, a multiple of the network's
    rate: float = 2e-3  # the highest learning rate
    weight_decay: float = 1e-2
    plain: float = 0.3  # weight of the plain error, against 1 of the tight one
    tight: float = 0.05  # error of log-depth from which on more of it counts less than half in the tight one
    choice: float = 0.05  # weight of the likelihood of the fills that are right
    likelihood: float = 0.1  # weight of the Laplace likelihood of the error
    slope: float = 0.3  # weight of errors of differences
    far_px: float = 6.0  # distance from what is known from which on a pixel counts in full; at known ones a quarter
    seed: int = 0


class DepthTraining:
    """A `TrainingTask` for the decoder."""

    def __init__(
        self,
        samples: DepthSamples,
        schedule: DepthSchedule,
        features: Callable[[Tensor], list[Tensor]],  # the trunk, see `DepthPrior.features`
    ) -> None:
        self.samples, self.schedule, self.features = samples, schedule, features
        away = [distance_to((w != 0).numpy()) for w in samples.weight]
        self.distance = torch.from_numpy(np.stack(away))  # [N, h, w]
        self.cycle = OneCycle(peak_factor=10.0, last_factor=1e-2)

    @property
    def steps(self) -> int:
        return self.schedule.steps

    @property
    def max_gradient_norm(self) -> float | None:
        return 1.0

    @property
    def fingerprint(self) -> str:
        digest = hashlib.sha256(self.samples.weight.numpy().tobytes())
        digest.update(self.samples.images[:: max(1, len(self.samples) // 64)].numpy().tobytes())
        return digest.hexdigest()

    def settings(self) -> Mapping[str, Any]:
        return asdict(self.schedule)

    def batches(self, first_step: int) -> Iterable[DepthBatch]:
        for step in range(first_step, self.steps):
            rng = np.random.default_rng([self.schedule.seed, step])
            rows = rng.integers(len(self.samples), size=self.schedule.batch)
            yield self._batch([self._varied(int(row), rng) for row in rows])

    def whole(self, rows: Sequence[int]) -> DepthBatch:
        """Samples as they are."""
        s, size = self.samples, self.samples.weight.shape[1:]
        return self._batch(
            [
                (s.images[r], s.errors[r], s.fills[r], s.log_depth[r], s.weight[r], self.distance[r], places(*size))
                for r in rows
            ]
        )

    def _batch(self, parts: Sequence[tuple[Tensor, ...]]) -> DepthBatch:
        images, errors, fills, log_depth, weight, distance, place = (torch.stack(p) for p in zip(*parts, strict=True))
        told = told_channels(fills.float(), weight.float(), distance, place, errors)
        return DepthBatch(images, self.features(images), told, fills.float(), errors, log_depth, distance)

    def _varied(self, row: int, rng: Generator) -> tuple[Tensor, ...]:
        """A random part in other colours, on one of two sides. What it is told comes from the whole picture."""
        s, half = self.samples, self.schedule.crop_px // 2
        size = s.weight.shape[1:]
        y, x = (int(rng.integers(max(0, n - half) + 1)) for n in size)
        maps = [s.fills[row], s.log_depth[row], s.weight[row], self.distance[row], places(*size)]
        maps = [m[..., y : y + half, x : x + half] for m in maps]
        image = recolored(s.images[row, 2 * y : 2 * (y + half), 2 * x : 2 * (x + half)].numpy(), rng)
        if rng.random() < 0.5:
            image, maps = image[:, ::-1].copy(), [m.flip(-1) for m in maps]
            maps[-1] = maps[-1] * torch.tensor([1.0, -1.0])[:, None, None]  # its left is the picture's
        return torch.from_numpy(image), s.errors[row], *maps

    def loss(self, forward: Forward, batch: DepthBatch) -> Mapping[str, Tensor]:
        found = forward(batch.images, batch.features, batch.told, batch.fills, batch.errors)
        return depth_losses(found, batch.fills, batch.log_depth, batch.distance, self.schedule)

    def optimizer(self, network: nn.Module) -> Optimizer:
        rate = self.schedule.rate / self.cycle.peak_factor
        groups = [{"params": list(network.parameters()), "lr": rate, "base_lr": rate}]
        return AdamW(groups, weight_decay=self.schedule.weight_decay)

    def set_rates(self, optimizer: Optimizer, step: int) -> None:
        self.cycle.set_rates(optimizer, step, self.steps)


def recolored(image: np.ndarray, rng: Generator) -> np.ndarray:
    """A photograph [H, W, 3] uint8 as another camera, lens and light would have it."""
    picture = image.astype(np.float32) / 255
    picture = picture ** np.exp(rng.normal(0, 0.25)) * np.exp(rng.normal(0, 0.15) + rng.normal(0, 0.06, 3))
    grey = picture.mean(2, keepdims=True)
    picture = grey + (picture - grey) * rng.uniform(0.2, 1.4)
    if rng.random() < 0.3:
        picture = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), rng.uniform(0.4, 1.2))
    if rng.random() < 0.3:
        picture = picture + rng.normal(0, rng.uniform(0, 0.03), picture.shape)
    return np.clip(np.rint(255 * picture), 0, 255).astype(np.uint8)


def depth_losses(
    found: Prediction,
    fills: Tensor,  # [B, FILLS, h, w] log-depth
    log_depth: Tensor,  # [B, h, w], NaN where unknown
    distance: Tensor,  # [B, h, w] pixels from what is known
    schedule: DepthSchedule,
) -> dict[str, Tensor]:
    """Weighted losses by name: error of log-depth, choice of the fills, likelihood, errors of differences.

    The plain error alone lets a picture's few large errors outweigh its many small ones: a network that bends what was
    right by two hundredths for a guess elsewhere has gained. The tight error, logarithmic from `tight` on, has it keep
    what is right.
    """
    there = log_depth.isfinite()
    truth = torch.where(there, log_depth, 0.0)
    counts = there * (0.25 + 0.75 * (distance / schedule.far_px).clamp(max=1))
    total = counts.sum().clamp_min(1)
    error = (found.log_depth - truth).abs()
    tight = schedule.tight * torch.log1p(error / schedule.tight)
    likelihood = error.detach() * torch.exp(-found.log_scale) + found.log_scale
    of_fills = -(fills - truth[:, None]).abs().clamp(max=1) / RIGHT
    choice = -torch.logsumexp(found.shares.clamp_min(1e-6).log() + of_fills, 1)
    slope = error.new_zeros(())
    for shift in (2**k for k in range(SLOPES)):
        for axis in (1, 2):
            length = truth.shape[axis] - shift
            both = there.narrow(axis, 0, length) & there.narrow(axis, shift, length)
            difference = found.log_depth - truth
            change = difference.narrow(axis, shift, length) - difference.narrow(axis, 0, length)
            slope = slope + (change.abs() * both).sum() / both.sum().clamp_min(1) / (2 * SLOPES)
    return {
        "depth": ((schedule.plain * error.clamp(max=2) + tight) * counts).sum() / total,
        "choice": schedule.choice * (choice * counts).sum() / total * RIGHT / schedule.tight,
        "likelihood": schedule.likelihood * (likelihood * counts).sum() / total,
        "slope": schedule.slope * slope,
    }
