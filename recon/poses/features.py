"""Local features and their matches, as every matcher gives them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Features:
    """Keypoints of one image with their descriptors, strongest first."""

    xy_px: Tensor  # [N, 2] float32, the upper-left pixel's centre at (0.5, 0.5)
    descriptors: Tensor  # [N, D] float32, unit length
    width: int  # pixels, of the image they were found in
    height: int

    def __len__(self) -> int:
        return self.xy_px.shape[0]


class Matcher(Protocol):
    """Finds features in images and matches between two images."""

    name: str
    upright_only: bool  # finds next to nothing between photographs of which one is turned by a quarter
    max_keypoints: int  # of an image
    costly: bool  # matching all keypoints takes a good part of a second, so that the strongest are matched first

    def extract(self, image: np.ndarray) -> Features:
        """Features of a uint8 [H, W, 3] sRGB image."""

    def match(self, a: Features, b: Features) -> np.ndarray:
        """Index pairs [M, 2] int64 into a and b, each index at most once."""


def mutual_nearest(a: Tensor, b: Tensor, min_cosine: float, max_ratio: float = 1.0) -> np.ndarray:
    """Mutual nearest neighbours [M, 2] of unit descriptors [N, D], [K, D] that are at least this similar.

    `max_ratio` is Lowe's ratio test on the Euclidean distance to the second nearest; 1 switches it off.
    """
    if min(len(a), len(b)) < 2:
        return np.zeros((0, 2), np.int64)
    cosine = a @ b.T  # [N, K]
    best, forward = cosine.topk(2, dim=1)
    backward = cosine.argmax(dim=0)
    index = torch.arange(len(a))
    keep = (backward[forward[:, 0]] == index) & (best[:, 0] >= min_cosine)
    if max_ratio < 1:
        distance = (2 - 2 * best).clamp_min(0).sqrt()
        keep &= distance[:, 0] <= max_ratio * distance[:, 1]
    return torch.stack([index[keep], forward[keep, 0]], dim=1).numpy()
