"""`RoomBatch`: rooms as the network sees them, and what it should find there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ...scene.boxes import Boxes


@dataclass(frozen=True)
class RoomBatch:
    """B rooms of V views each."""

    tokens: tuple[str, ...]
    images: Tensor  # uint8 [B, V, 3, H, W] sRGB; what lies beyond `valid_px` is padding
    valid_px: Tensor  # [B, V, 2] width and height of the part that shows the world
    cam_from_room: Tensor  # [B, V, 4, 4]
    K: Tensor  # [B, V, 3, 3] pixels of `images`
    middles: Tensor  # [B, 3] of the volume, metres
    depths: Tensor | None = None  # [B, V, H, W] metres, 0 where unknown; for training alone
    boxes: tuple[Boxes, ...] | None = None  # for each room; for training alone

    def __len__(self) -> int:
        return len(self.tokens)

    def to(self, device: torch.device) -> RoomBatch:
        tensors: dict[str, Any] = {
            name: value.to(device, non_blocking=True) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, boxes=None if self.boxes is None else tuple(b.to(device) for b in self.boxes), **tensors)
