"""`RoomSample`: a room with posed photographs, and the objects that stand in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...scene.cameras import Cameras
from ...scene.capture import Frame
from ...scene.datasets.scannet_classes import class_of
from ...scene.errors import BadInputError
from ...scene.scan import Scan
from ..sample import Sample
from .indoor_task import in_classes


@dataclass(frozen=True, kw_only=True)
class RoomSample(Sample):
    """One room in metres, z up. Photographs are read one by one, as a detector looks at some of them only."""

    cameras: Cameras = field()  # [V] for the photographs as `frames` load them
    frames: tuple[Frame, ...]  # [V]; some with depth, which training alone needs

    def photograph(self, view: int) -> np.ndarray:
        """uint8 [H, W, 3] sRGB. Raises BadInputError for a damaged file, or one of another size than its camera."""
        frame = self.frames[view]
        pixels = frame.load()[..., :3]
        size = int(self.cameras.width[view]), int(self.cameras.height[view])
        if pixels.shape[1::-1] != size:
            raise BadInputError(
                f"{frame.name} of {self.token} has {pixels.shape[1]} x {pixels.shape[0]} pixels, its camera says "
                f"{size[0]} x {size[1]}; give the intrinsics of this photograph."
            )
        return pixels

    def depth(self, view: int) -> np.ndarray | None:
        """Metres, float32 [H, W], 0 where unknown; None where the photograph has none."""
        load = self.frames[view].load_depth
        return None if load is None else load()


def room_sample(scan: Scan, classes: Sequence[str], meaning: Callable[[str], str | None] = class_of) -> RoomSample:
    """A scan as a detector of the classes sees it. Raises BadInputError where it has no posed photographs."""
    if scan.cameras is None or not len(scan.frames):
        raise BadInputError(
            f"{scan.name} has no photographs with a pose and intrinsics; a detector that looks at photographs needs "
            "some, so give a scan with color/, pose/ and intrinsic/."
        )
    return RoomSample(
        token=scan.name,
        points=scan.points,
        cameras=scan.cameras,
        frames=scan.frames,
        notes=scan.notes,
        boxes=None if scan.objects is None else in_classes(scan.objects, classes, meaning),
    )
