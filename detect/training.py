"""The training of a detector on samples, as a task for `learn.fit`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.optim import Optimizer

from ..learn.order import Key, Order, loader
from ..learn.processes import current_process
from ..learn.training_task import Forward
from ..scene.errors import BadInputError
from .detector import Detector, Preparation
from .sample import ClassBalanced, Repeated, Sample, Samples

CACHE_BYTES = 1 << 30  # of one process: small data sets are read once


class PreparedSamples:
    """Samples changed by chance, by (epoch, place in the epoch, number of the sample)."""

    def __init__(self, samples: Samples[Sample], preparation: Preparation, seed: int) -> None:
        self.samples, self.preparation, self.seed = samples, preparation, seed
        self._cache: dict[int, Any] = {}
        self._cached_bytes = 0

    def __getitem__(self, key: Key) -> Any:
        epoch, place, index = key
        return self.preparation.prepare(self._read(index), np.random.default_rng([self.seed, epoch, place]))

    def _read(self, index: int) -> Any:
        if index in self._cache:
            return self._cache[index]
        read = self.preparation.read(self.samples[index])
        if self._cached_bytes + read.nbytes <= CACHE_BYTES:
            self._cached_bytes += read.nbytes
            self._cache[index] = read
        return read


class DetectorTraining:
    """A `TrainingTask`. Raises BadInputError where there are too few samples, or their classes cannot be balanced."""

    def __init__(self, detector: Detector, samples: Samples[Sample], seed: int, workers: int = 0) -> None:
        self.detector, self.samples, self.seed, self.workers = detector, samples, seed, workers
        plan = detector.plan
        self.order = Order(self._drawn, plan.epochs, plan.batch_size, seed, *current_process())
        self.max_gradient_norm = plan.max_gradient_norm
        self.fingerprint = hashlib.sha256("\n".join(samples.tokens).encode()).hexdigest()

    @property
    def steps(self) -> int:
        return self.order.steps

    def settings(self) -> Mapping[str, Any]:
        return {"seed": self.seed, **self.detector.settings()}

    def batches(self, first_step: int) -> Iterable[Any]:
        preparation = self.detector.preparation
        data = PreparedSamples(self.samples, preparation, self.seed)
        return loader(data, self.order, preparation.collate, first_step, self.workers)

    def loss(self, forward: Forward, batch: Any) -> Mapping[str, Tensor]:
        return self.detector.loss(forward(batch), batch)

    def optimizer(self, network: nn.Module) -> Optimizer:
        return self.detector.optimizer()

    def set_rates(self, optimizer: Optimizer, step: int) -> None:
        self.detector.set_rates(optimizer, step, self.steps)

    def _drawn(self, epoch: int) -> list[int]:
        if not self.detector.plan.balance_classes:
            return self.samples.of_epoch() if isinstance(self.samples, Repeated) else list(range(len(self.samples)))
        if not isinstance(self.samples, ClassBalanced):
            raise BadInputError("Classes cannot be balanced in these samples; train with balance_classes off.")
        return self.samples.class_balanced(self.seed + epoch)
