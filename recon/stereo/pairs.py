"""What a network for two photographs gives: a pointmap for each, both in the first camera's frame."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class PairPrediction:
    """Points and confidences of an ordered pair of views (i, j); the scale is the pair's own."""

    points_i: Tensor  # [H, W, 3] float32, of view i in camera i's frame
    points_j: Tensor  # [H', W', 3] float32, of view j in camera i's frame
    confidence_i: Tensor  # [H, W] float32, at least 1
    confidence_j: Tensor  # [H', W'] float32, at least 1
