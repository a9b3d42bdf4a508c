"""The order of training samples, decided by the seed alone, and the processes that read them ahead."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader

from ..scene.errors import BadInputError

Key = tuple[int, int, int]  # epoch, place in the epoch, number of the sample
S_co = TypeVar("S_co", covariant=True)
S = TypeVar("S")
B = TypeVar("B")


class Keyed(Protocol[S_co]):
    """Samples by key, so that chance can be drawn from the epoch and the place in it, whichever process reads them."""

    def __getitem__(self, key: Key) -> S_co: ...


class Order:
    """The samples that make up each step of each process."""

    def __init__(
        self,
        drawn: Callable[[int], Sequence[int]],  # the samples' numbers of an epoch, before they are shuffled
        epochs: int,
        batch_size: int,  # samples of one step of one process
        seed: int,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        """Raises BadInputError where an epoch does not fill one step."""
        self.drawn, self.seed = drawn, seed
        self.rank, self.batch_size, self.together = rank, batch_size, batch_size * processes
        count = len(self._epoch(0))
        self.steps_per_epoch = count // self.together
        self.steps = self.steps_per_epoch * epochs
        if not self.steps:
            raise BadInputError(
                f"{count} samples do not fill one step of {processes} x {batch_size}; give a larger data set or a "
                "smaller --batch-size."
            )

    def _epoch(self, epoch: int) -> list[int]:
        indices = np.array(self.drawn(epoch), dtype=np.int64)
        return list(np.random.default_rng([self.seed, epoch]).permutation(indices).tolist())

    def batches(self, first_step: int) -> Iterator[list[Key]]:
        """Keys of each step from one on to the last."""
        for step in range(first_step, self.steps):
            epoch, inside = divmod(step, self.steps_per_epoch)
            if inside == 0 or step == first_step:
                indices = self._epoch(epoch)
            start = inside * self.together + self.rank * self.batch_size
            yield [(epoch, place, indices[place]) for place in range(start, start + self.batch_size)]


class _Batches:
    """`Order.batches` as a sampler that a DataLoader can start anew."""

    def __init__(self, order: Order, first_step: int) -> None:
        self.order, self.first_step = order, first_step

    def __iter__(self) -> Iterator[Sequence[Key]]:
        return self.order.batches(self.first_step)

    def __len__(self) -> int:
        return self.order.steps - self.first_step


def loader(
    samples: Keyed[S], order: Order, collate: Callable[[Sequence[S]], B], first_step: int = 0, workers: int = 0
) -> DataLoader[B]:
    """Batches from a step on. Workers are processes of their own that read ahead; both callables are sent to them."""
    data: Any = samples
    return DataLoader(
        data,
        batch_sampler=_Batches(order, first_step),  # type: ignore[arg-type]
        collate_fn=collate,
        num_workers=workers,
        generator=torch.Generator(),  # the loader draws a number when it starts, which must not be one of the dropout's
    )
