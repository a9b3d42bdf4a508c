"""A room to what the network sees of it: some of its photographs in the network's size, and cameras to match."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from ...scene.boxes import Boxes
from ...scene.errors import BadInputError
from ..tasks.room_sample import RoomSample
from .config import ImGeoNetConfig
from .room_batch import RoomBatch


@dataclass(frozen=True)
class ReadRoom:
    """A room whose photographs are read when they are drawn: each step looks at others."""

    sample: RoomSample

    @property
    def nbytes(self) -> int:
        return 0 if self.sample.points is None else self.sample.points.nbytes


@dataclass(frozen=True)
class PreparedRoom:
    """One room of a `RoomBatch`."""

    token: str
    images: Tensor  # uint8 [V, 3, H, W]
    valid_px: Tensor  # [V, 2]
    cam_from_room: Tensor  # [V, 4, 4]
    K: Tensor  # [V, 3, 3]
    middle: Tensor  # [3]
    depths: Tensor | None  # [V, H, W]
    boxes: Boxes | None


@dataclass(frozen=True)
class RoomPreparation:
    """The `Preparation` of ImGeoNet's batches."""

    config: ImGeoNetConfig

    def read(self, sample: RoomSample) -> ReadRoom:
        if not len(sample.cameras):
            raise BadInputError(f"{sample.token} has no photographs with a pose; this detector looks at nothing else.")
        whole = sample.cameras.cam_from_world.isfinite().flatten(1).all(dim=1)
        whole &= sample.cameras.K.isfinite().flatten(1).all(dim=1)
        if not bool(whole.all()):
            frame = sample.frames[int((~whole).nonzero()[0])]
            raise BadInputError(f"The camera of {frame.name} in {sample.token} has numbers that are not finite.")
        return ReadRoom(sample)

    def prepare(self, read: ReadRoom, random: np.random.Generator | None = None) -> PreparedRoom:
        """The room; with `random`, some views by chance, with depths, and the volume a little aside."""
        sample, config = read.sample, self.config
        chosen = views_by_chance(len(sample.cameras), config.train_views, random) if random else None
        views = chosen if chosen is not None else spread_views(len(sample.cameras), config.test_views)
        cameras = sample.cameras[torch.tensor(views)]
        sizes = [fitted_size(int(w), int(h), config) for w, h in zip(cameras.width, cameras.height, strict=True)]
        valid = torch.tensor(sizes)
        fitted = cameras.resized(valid[:, 0], valid[:, 1])
        middle = self._middle(sample)
        if random is not None:
            middle = middle + torch.from_numpy(random.normal(0, config.shift_std_m)).float()
        learns = random is not None and config.geometry
        return PreparedRoom(
            sample.token,
            torch.stack([_photograph(sample, view, size, config) for view, size in zip(views, sizes, strict=True)]),
            valid.float(),
            fitted.cam_from_world.float(),
            fitted.K.float(),
            middle,
            _depths(sample, views, sizes, config) if learns else None,
            sample.boxes,
        )

    def collate(self, prepared: Sequence[PreparedRoom]) -> RoomBatch:
        """A batch of rooms with equally many views."""
        depths = [p.depths for p in prepared if p.depths is not None]
        boxes = [p.boxes for p in prepared if p.boxes is not None]
        images, valid_px, cam_from_room, K, middles = (
            torch.stack([getattr(p, name) for p in prepared])
            for name in ("images", "valid_px", "cam_from_room", "K", "middle")
        )
        return RoomBatch(
            tuple(p.token for p in prepared),
            images,
            valid_px,
            cam_from_room,
            K,
            middles,
            torch.stack(depths) if len(depths) == len(prepared) else None,
            tuple(boxes) if len(boxes) == len(prepared) else None,
        )

    def _middle(self, sample: RoomSample) -> Tensor:
        """[3], of all the room's cameras, whichever are looked through."""
        origin = torch.tensor(self.config.origin_m)
        if self.config.origin == "scene":
            return origin
        world_from_cam = sample.cameras.world_from_cam.double().mean(dim=0)
        ahead = world_from_cam[:3, 2] * torch.tensor([1.0, 1.0, 0.0])
        return (world_from_cam[:3, 3] + self.config.look_ahead_m * ahead).float() + origin


def spread_views(count: int, wanted: int) -> list[int]:
    """Views evenly spread from the first to the last, rounded down; each once where there are fewer than wanted."""
    if count <= wanted:
        return list(range(count))
    return [int(v) for v in np.linspace(0, count - 1, wanted)]


def views_by_chance(count: int, wanted: int, random: np.random.Generator) -> list[int]:
    """Views in their order; some several times only where there are fewer than wanted."""
    return [int(v) for v in np.sort(random.choice(count, wanted, replace=count < wanted))]


def fitted_size(width: int, height: int, config: ImGeoNetConfig) -> tuple[int, int]:
    """Width and height of a photograph that fills the network's input without changing its shape."""
    scale = min(config.image_width_px / width, config.image_height_px / height)
    return max(1, int(width * scale + 0.5)), max(1, int(height * scale + 0.5))


def _photograph(sample: RoomSample, view: int, size: tuple[int, int], config: ImGeoNetConfig) -> Tensor:
    """uint8 [3, H, W], padded below and to the right."""
    pixels = sample.photograph(view)
    if pixels.shape[1::-1] != size:
        way = cv2.INTER_AREA if pixels.shape[1] > size[0] else cv2.INTER_LINEAR
        pixels = cv2.resize(pixels, size, interpolation=way)
    out = torch.zeros(3, config.image_height_px, config.image_width_px, dtype=torch.uint8)
    out[:, : size[1], : size[0]] = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)
    return out


def _depths(sample: RoomSample, views: list[int], sizes: list[tuple[int, int]], config: ImGeoNetConfig) -> Tensor:
    """[V, H, W] metres, 0 in the padding. Raises BadInputError where no photograph has depth."""
    out = torch.zeros(len(views), config.image_height_px, config.image_width_px)
    known = 0
    for row, (view, size) in enumerate(zip(views, sizes, strict=True)):
        depth = sample.depth(view)
        if depth is not None:
            resized = cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST_EXACT)
            out[row, : size[1], : size[0]] = torch.from_numpy(resized)
            known += 1
    if not known:
        raise BadInputError(
            f"The photographs of {sample.token} have no depth, from which the occupancy of voxels is learnt; give "
            "depth/, or train with --without geometry."
        )
    return out
