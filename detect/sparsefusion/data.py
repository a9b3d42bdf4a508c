"""The order and the changes of training samples: decided by the seed alone, whoever reads them, wherever it stops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ..nuscenes.sample import DetectionSample
from .augment import Augmentation
from .batch import Batch
from .config import SparseFusionConfig
from .prepare import Prepared, collate, fit_images, prepare

CACHE_BYTES = 1 << 30  # of one process: small data sets are read once


class Samples(Protocol):
    """What is trained on; `nuscenes.dataset.DetectionData` is one."""

    @property
    def tokens(self) -> tuple[str, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> DetectionSample: ...

    def class_balanced(self, seed: int) -> list[int]: ...


class TrainingData(Dataset[Prepared]):
    """Samples with their augmentation, by (epoch, place in the epoch, number of the sample)."""

    def __init__(self, samples: Samples, config: SparseFusionConfig, seed: int) -> None:
        self.samples, self.config, self.seed = samples, config, seed
        self._cache: dict[int, tuple[DetectionSample, np.ndarray | None]] = {}
        self._cached_bytes = 0

    def __getitem__(self, key: tuple[int, int, int]) -> Prepared:
        epoch, place, index = key
        random = np.random.default_rng([self.seed, epoch, place])
        sample, fitted = self._read(index)
        change = Augmentation.draw(random, self.config, len(sample.cameras))
        order = torch.from_numpy(random.permutation(len(sample.points)))
        return prepare(sample, fitted, self.config, change, order)

    def _read(self, index: int) -> tuple[DetectionSample, np.ndarray | None]:
        if index in self._cache:
            return self._cache[index]
        sample = self.samples[index]
        fitted = fit_images(sample.load_images(), self.config) if self.config.use_images else None
        size = sample.points.numel() * 4 + (0 if fitted is None else fitted.nbytes)
        if self._cached_bytes + size <= CACHE_BYTES:
            self._cached_bytes += size
            self._cache[index] = sample, fitted
        return sample, fitted


class Order:
    """Which samples make up each step of each process."""

    def __init__(
        self, samples: Samples, config: SparseFusionConfig, seed: int, rank: int = 0, processes: int = 1
    ) -> None:
        self.samples, self.config, self.seed = samples, config, seed
        self.rank, self.together = rank, config.batch_size * processes
        self.steps_per_epoch = len(self._epoch(0)) // self.together

    @property
    def steps(self) -> int:
        return self.steps_per_epoch * self.config.epochs

    def _epoch(self, epoch: int) -> list[int]:
        if self.config.balance_classes:
            indices = np.array(self.samples.class_balanced(self.seed + epoch), dtype=np.int64)
        else:
            indices = np.arange(len(self.samples))
        return list(np.random.default_rng([self.seed, epoch]).permutation(indices).tolist())

    def batches(self, first_step: int) -> Iterator[list[tuple[int, int, int]]]:
        """Keys for `TrainingData`, from a step on to the last."""
        for step in range(first_step, self.steps):
            epoch, inside = divmod(step, self.steps_per_epoch)
            if inside == 0 or step == first_step:
                indices = self._epoch(epoch)
            start = inside * self.together + self.rank * self.config.batch_size
            yield [(epoch, place, indices[place]) for place in range(start, start + self.config.batch_size)]


class _Batches:
    """`Order.batches` as a sampler that a DataLoader can start anew."""

    def __init__(self, order: Order, first_step: int) -> None:
        self.order, self.first_step = order, first_step

    def __iter__(self) -> Iterator[Sequence[tuple[int, int, int]]]:
        return self.order.batches(self.first_step)

    def __len__(self) -> int:
        return self.order.steps - self.first_step


def loader(data: TrainingData, order: Order, first_step: int, workers: int) -> DataLoader[Batch]:
    """Batches from a step on. Workers are processes of their own that read ahead."""
    return DataLoader(
        cast(Dataset[Any], data),
        batch_sampler=_Batches(order, first_step),  # type: ignore[arg-type]
        collate_fn=_Collate(data.config),
        num_workers=workers,
        generator=torch.Generator(),  # the loader draws a number when it starts, which must not be one of the dropout's
    )


class _Collate:
    def __init__(self, config: SparseFusionConfig) -> None:
        self.config = config

    def __call__(self, samples: Sequence[Prepared]) -> Batch:
        return collate(samples, self.config)
