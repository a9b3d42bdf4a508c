"""`Sample`: the scan, photographs and sentence that a detector looks at, and the boxes that it should find there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from torch import Tensor

from ..scene.boxes import Boxes
from ..scene.cameras import Cameras

S_co = TypeVar("S_co", bound="Sample", covariant=True)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One scene or one moment. A task adds its own fields in a subclass. All coordinates are in one frame, metres."""

    token: str  # the name of the sample, unique in its data set
    points: Tensor | None = None  # [P, F] float32: x, y, z, then what the sensor says of each point
    cameras: Cameras | None = None  # [V], for the original images; "world" is the frame of the points
    load_images: Callable[[], np.ndarray] | None = None  # uint8 [V, H, W, 3] RGB, read when called
    sentence: str | None = None  # for grounding: the words for the object that is looked for
    notes: tuple[str, ...] = ()  # on what of its files is left out, or taken for granted
    boxes: Boxes | None = None  # annotated, labels into the task's classes; None where there are no annotations


class Samples(Protocol[S_co]):
    """A data set, each sample of which is read only when asked for. It may be sent to other processes."""

    @property
    def tokens(self) -> tuple[str, ...]:
        """The name of each sample."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> S_co:
        """Raises BadInputError for files of the sample that are absent or damaged."""
        ...


@runtime_checkable
class Repeated(Protocol):
    """Samples of which an epoch has some several times, such as scans with many sentences each."""

    def of_epoch(self) -> list[int]:
        """Numbers of samples for one epoch, before they are shuffled."""
        ...


@runtime_checkable
class ClassBalanced(Protocol):
    """Samples that can be drawn so that rare classes are seen more often."""

    def class_balanced(self, seed: int) -> list[int]:
        """Numbers of samples for one epoch, some of them several times."""
        ...
