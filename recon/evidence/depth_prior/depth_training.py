"""Training of the depth prior: its samples and its losses."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from ....learn.schedules import OneCycle
from ....learn.training_task import Forward
from .network import LEVELS, Prediction
from .sparse_input import MIN_KNOWN, told_channels

TRIES = 20  # at a part of a picture in which something is known
MIN_TRUE = 0.3  # of its pixels have a truth
EDGE_BEND = 0.04  # change of slope of inverse depth, relative to it, from which on depth is said to jump


@dataclass(frozen=True)
class DepthSamples:
    """N ways in which some depth of P pictures is told; depth has half of their size, h = H / 2, w = W / 2."""

    images: Tensor  # [P, H, W, 3] uint8
    log_depth: Tensor  # [P, h, w] float32 truth, NaN where there is none
    base: Tensor  # [N, h, w] float32 of `SparseInput`
    weight: Tensor  # [N, h, w] float16 of `SparseInput`
    picture: Tensor  # [N] int64, row of the picture

    def __len__(self) -> int:
        return len(self.base)


@dataclass(frozen=True)
class Crop:
    """One sample, or a part of it: S = 2 s."""

    image: np.ndarray  # [S, S, 3] uint8
    base: np.ndarray  # [s, s] float32
    weight: np.ndarray  # [s, s] float32
    log_depth: np.ndarray  # [s, s] float32


@dataclass(frozen=True)
class DepthBatch:
    images: Tensor  # [B, S, S, 3] uint8
    features: list[Tensor]  # of the trunk
    told: Tensor  # [B, TOLD, s, s]
    base: Tensor  # [B, s, s]
    known: Tensor  # [B, s, s] bool
    log_depth: Tensor  # [B, s, s]

    def to(self, device: torch.device) -> DepthBatch:
        features = [f.to(device) for f in self.features]
        rest = (t.to(device) for t in (self.told, self.base, self.known, self.log_depth))
        return DepthBatch(self.images.to(device), features, *rest)


@dataclass(frozen=True)
class DepthSchedule:
    """Settings of a training."""

    steps: int = 4000
    batch: int = 3  # samples of a step
    crop_px: int = 192  # side of the random part of a picture that a step sees, a multiple of the network's
    rate: float = 1.5e-3  # the highest learning rate
    weight_decay: float = 1e-2
    iterations: int = 30  # of conjugate gradients
    plain: float = 0.3  # weight of the plain error, against 1 of the tight one
    tight: float = 0.05  # error of log-depth from which on more of it counts less than half in the tight one
    likelihood: float = 0.3  # weight of the Laplace likelihood
    slope: float = 0.5  # weight of errors of differences
    edge: float = 0.05  # weight of the edge map
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
        digest.update(self.samples.images[:: max(1, len(self.samples.images) // 64)].numpy().tobytes())
        return digest.hexdigest()

    def settings(self) -> Mapping[str, Any]:
        return asdict(self.schedule)

    def batches(self, first_step: int) -> Iterable[DepthBatch]:
        for step in range(first_step, self.steps):
            rng = np.random.default_rng([self.schedule.seed, step])
            rows = rng.integers(len(self.samples), size=self.schedule.batch)
            yield self.batch([self._varied(int(row), rng) for row in rows])

    def whole(self, rows: Sequence[int]) -> DepthBatch:
        """Samples as they are."""
        s = self.samples
        return self.batch(
            [
                Crop(s.images[p].numpy(), s.base[r].numpy(), s.weight[r].float().numpy(), s.log_depth[p].numpy())
                for r, p in zip(rows, s.picture[list(rows)].tolist(), strict=True)
            ]
        )

    def batch(self, crops: Sequence[Crop]) -> DepthBatch:
        images, base, weight, truth = (
            torch.from_numpy(np.stack([getattr(c, name) for c in crops]))
            for name in ("image", "base", "weight", "log_depth")
        )
        told = torch.from_numpy(np.stack([told_channels(c.base, c.weight) for c in crops]))
        return DepthBatch(images, self.features(images), told, base, weight > 0, truth)

    def _varied(self, row: int, rng: Generator) -> Crop:
        """A random part of a sample in other colours, on one of two sides."""
        s, side = self.samples, self.schedule.crop_px
        picture = int(s.picture[row])
        image, truth = s.images[picture].numpy(), s.log_depth[picture].numpy()
        base, weight = s.base[row].numpy(), s.weight[row].float().numpy()
        rows, columns = base.shape
        half = min(side // 2, rows, columns)
        for _ in range(TRIES):
            y, x = int(rng.integers(rows - half + 1)), int(rng.integers(columns - half + 1))
            part = slice(y, y + half), slice(x, x + half)
            if int((weight[part] > 0).sum()) >= MIN_KNOWN and np.isfinite(truth[part]).mean() > MIN_TRUE:
                break
        else:  # little of it is known, and all of that elsewhere
            known = np.argwhere(weight > 0)
            y, x = (int(np.clip(v - half // 2, 0, n - half)) for v, n in zip(known[0], (rows, columns), strict=True))
            part = slice(y, y + half), slice(x, x + half)
        image = recolored(image[2 * y : 2 * (y + half), 2 * x : 2 * (x + half)], rng)
        crop = Crop(image, base[part], weight[part], truth[part])
        return mirrored(crop) if rng.random() < 0.5 else crop

    def loss(self, forward: Forward, batch: DepthBatch) -> Mapping[str, Tensor]:
        found = forward(batch.images, batch.features, batch.told, batch.base, batch.known, self.schedule.iterations)
        return depth_losses(found, batch.base, batch.log_depth, self.schedule)

    def optimizer(self, network: nn.Module) -> Optimizer:
        rate = self.schedule.rate / self.cycle.peak_factor
        groups = [{"params": list(network.parameters()), "lr": rate, "base_lr": rate}]
        return AdamW(groups, weight_decay=self.schedule.weight_decay)

    def set_rates(self, optimizer: Optimizer, step: int) -> None:
        self.cycle.set_rates(optimizer, step, self.steps)


def mirrored(crop: Crop) -> Crop:
    """The sample with left and right exchanged."""
    return Crop(*(np.ascontiguousarray(v[:, ::-1]) for v in (crop.image, crop.base, crop.weight, crop.log_depth)))


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
    base: Tensor,  # [B, h, w]
    log_depth: Tensor,  # [B, h, w], NaN where unknown
    schedule: DepthSchedule,
) -> dict[str, Tensor]:
    """Weighted losses by name: error of log-depth, its likelihood, errors of differences over 1 to 8 pixels, edges.

    The plain error alone lets a picture's few large errors outweigh its many small ones: a network that bends what was
    right by two hundredths for a guess elsewhere has gained. The tight error, logarithmic from `tight` on, has it keep
    what is right.
    """
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
    tight = schedule.tight * torch.log1p(error / schedule.tight)
    return {
        "depth": (schedule.plain * error + tight).sum() / count,
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
