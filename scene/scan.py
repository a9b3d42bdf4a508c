"""`Scan`: an indoor scan with whatever is known about it: colours, objects, posed photographs, sentences."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .boxes import Boxes
from .cameras import Cameras
from .capture import Frame


@dataclass(frozen=True)
class Sentence:
    """Words that single out one object of a scan."""

    text: str
    target: int  # row of the scan's `objects`
    kinds: frozenset[str] = frozenset()  # e.g. "unique" or "multiple", "view-dependent", "hard"
    token: str = ""  # the data set's own identifier, unique in the scan
    name: str = ""  # of the object, as the data set calls it
    anchors: tuple[int, ...] = ()  # rows of other objects that the words lean on, where the data set says so


@dataclass(frozen=True)
class Scan:
    """Points of a room in metres, z up, the walls along x and y where `aligned` says so.

    Photographs' cameras are in the frame of the points: `cameras.cam_from_world` is cam_from_scan. Objects are upright
    boxes in the same frame; `objects.names` are the data set's own words for classes.
    """

    name: str
    points: Tensor  # [N, 3] float32, metres
    colors: Tensor | None = None  # [N, 3] float32 in [0, 1], sRGB
    objects: Boxes | None = None  # [M]
    object_of_point: Tensor | None = None  # [N] int64 rows of `objects`, -1 for none
    frames: tuple[Frame, ...] = ()  # photographs, some with depth in metres
    cameras: Cameras | None = None  # [len(frames)]
    sentences: tuple[Sentence, ...] = ()
    aligned: bool = True
    notes: tuple[str, ...] = ()  # sentences that the person should see

    def __post_init__(self) -> None:
        n = len(self.points)
        if self.points.shape != (n, 3):
            raise ValueError(f"points: expected [N, 3], found {tuple(self.points.shape)}")
        if self.colors is not None and self.colors.shape != (n, 3):
            raise ValueError(f"colors: expected [{n}, 3], found {tuple(self.colors.shape)}")
        if self.object_of_point is not None and self.object_of_point.shape != (n,):
            raise ValueError(f"object_of_point: expected [{n}], found {tuple(self.object_of_point.shape)}")
        if len(self.frames) != (0 if self.cameras is None else len(self.cameras)):
            raise ValueError(f"cameras: expected one for each of {len(self.frames)} frames")
        count = 0 if self.objects is None else len(self.objects)
        for sentence in self.sentences:
            if not all(0 <= row < count for row in (sentence.target, *sentence.anchors)):
                raise ValueError(f"the sentence {sentence.token!r} is about an object that is none of the {count}")

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, rows: Tensor | slice) -> Scan:
        """The scan with some of its points: int64 [K], bool [N] or a slice. Objects and their boxes stay."""
        return replace(
            self,
            points=self.points[rows],
            colors=None if self.colors is None else self.colors[rows],
            object_of_point=None if self.object_of_point is None else self.object_of_point[rows],
        )

    def to(self, device: torch.device | str) -> Scan:
        moved: dict[str, Any] = {}
        for name in ("points", "colors", "objects", "object_of_point", "cameras"):
            value = getattr(self, name)
            moved[name] = None if value is None else value.to(device)
        return replace(self, **moved)


def boxes_of_points(points: Tensor, object_of_point: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """(least and greatest coordinates [count, 2, 3] of the points [N, 3] of each object, points of each [count]).

    An object without points has +inf as its least and -inf as its greatest coordinates.
    """
    inside = object_of_point >= 0
    row = object_of_point[inside][:, None].expand(-1, 3)
    low = points.new_full((count, 3), float("inf")).scatter_reduce(0, row, points[inside], "amin")
    high = points.new_full((count, 3), float("-inf")).scatter_reduce(0, row, points[inside], "amax")
    return torch.stack([low, high], dim=1), torch.bincount(object_of_point[inside], minlength=count)
