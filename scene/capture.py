"""`Capture`: photographs and whatever is known about them. The one type that every reader gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor

from .cameras import Cameras
from .gps import GeoPosition
from .point_cloud import PointCloud

Item = TypeVar("Item")


@dataclass(frozen=True)
class Frame:
    """One photograph, decoded only when asked for: upright (EXIF applied) and undistorted."""

    name: str  # unique in the capture, forward slashes
    width: int  # pixels, of what `load` gives
    height: int
    load: Callable[[], np.ndarray]  # -> uint8 [H, W, 3] sRGB, or [H, W, 4] with straight alpha
    focal_px: float | None = None  # from EXIF, at this width and height
    load_mask: Callable[[], np.ndarray] | None = None  # -> bool [H, W], True where the pixel counts
    load_depth: Callable[[], np.ndarray] | None = None  # -> float32 [H, W], 0 where unknown
    position: GeoPosition | None = None  # where EXIF says it was taken
    time_s: float | None = None  # when it was taken, from any zero; in the unit of the source where that is unknown
    camera: str | None = None  # which of several cameras that film the same took it, as the source calls it
    # -> bool [H, W], True where what the pixel shows stands still. Cameras and points are estimated from such pixels
    # alone; training sees all that `load_mask` leaves, since what moves is what a moving scene is about.
    load_still: Callable[[], np.ndarray] | None = None


@dataclass(frozen=True)
class Capture:
    """Frames with optional cameras (one each), sparse points and a test split that the data set prescribes.

    Where every frame has a time, the cameras carry the same ones.
    """

    frames: tuple[Frame, ...]
    source: str  # what it was read from, for people
    cameras: Cameras | None = None  # [len(frames)]
    points: PointCloud | None = None  # `seen_view` indexes frames
    test: tuple[int, ...] | None = None
    notes: tuple[str, ...] = ()  # sentences that the person should see, e.g. what was skipped
    cameras_are_estimated: bool = False  # found from these photographs by Fewview before, and not given
    # Where the zero of cameras and points lies in the source's coordinates, in its unit.
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    unit: float = 1.0  # units of the source in one unit of cameras and points

    def __post_init__(self) -> None:
        if self.cameras is not None and len(self.cameras) != len(self.frames):
            raise ValueError(f"expected {len(self.frames)} cameras, one for each frame, found {len(self.cameras)}")
        if self.cameras is not None:
            object.__setattr__(self, "cameras", replace(self.cameras, times_s=self.times_s))

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def names(self) -> list[str]:
        return [f.name for f in self.frames]

    @property
    def times_s(self) -> Tensor | None:
        """Times at which the frames were taken, seconds, float32 [len(self)]; None unless all of them say."""
        known = [f.time_s for f in self.frames if f.time_s is not None]
        return torch.tensor(known) if known and len(known) == len(self.frames) else None

    @property
    def duration_s(self) -> float:
        """From the first to the last moment; 0 where no times are known, or all are one."""
        times = self.times_s
        return 0.0 if times is None else float(times.max() - times.min())

    def image(self, index: int, width: int | None = None, height: int | None = None) -> Tensor:
        """uint8 [H, W, 3 or 4]; resized (area averaging when shrinking) when a size is given."""
        frame = self.frames[index]
        pixels = frame.load()
        if width is not None and height is not None and (width, height) != (frame.width, frame.height):
            shrinking = width <= frame.width and height <= frame.height
            pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC)
        return torch.from_numpy(np.ascontiguousarray(pixels))

    def subset(self, indices: Sequence[int]) -> Capture:
        """The frames at `indices`, in that order, with their cameras; points that fewer than two of them see go."""
        chosen = list(indices)
        position = {old: new for new, old in enumerate(chosen)}
        test = None if self.test is None else tuple(position[i] for i in self.test if i in position)
        return replace(
            self,
            frames=tuple(self.frames[i] for i in chosen),
            cameras=None if self.cameras is None else self.cameras[torch.as_tensor(chosen, dtype=torch.int64)],
            points=None if self.points is None else self.points.in_views(chosen),
            test=test,
        )

    def with_cameras(self, cameras: Cameras, points: PointCloud | None) -> Capture:
        return replace(self, cameras=cameras, points=points)

    def split(self, every: int = 8) -> tuple[list[int], list[int]]:
        """(train, test) indices: the data set's own split, else every 8th frame in name order (the LLFF rule)."""
        if self.test is not None:
            test = sorted(self.test)
        else:
            order = sorted(range(len(self)), key=lambda i: self.frames[i].name)
            test = sorted(order[::every])
        held_out = set(test)
        return [i for i in range(len(self)) if i not in held_out], test


def evenly_spaced(indices: Sequence[Item], count: int) -> list[Item]:
    """`count` of the indices (or of other things in order), first and last included, rounded to the nearest.

    All of them when there are fewer.
    """
    if count >= len(indices):
        return list(indices)
    return [indices[round(float(p))] for p in np.linspace(0, len(indices) - 1, count)]


def fit_size(width: int, height: int, max_side: int) -> tuple[int, int]:
    """The size with the same aspect whose longer side is at most `max_side` pixels; never enlarged."""
    factor = min(1.0, max_side / max(width, height))
    return max(1, round(width * factor)), max(1, round(height * factor))
