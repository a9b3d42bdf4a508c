"""Depth of a whole photograph from the prior: what goes in and out at the photograph's own size."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..hidden_pixels import distance_to
from .fills import MIN_KNOWN, fills, interpolated_inverse
from .network import MULTIPLE, DepthPrior, places, told_channels
from .trial import errors_of_fills

LONGEST_PX = 256  # side at which the network looks at a photograph; more is unlike its training
BEGINS = 1.5  # of the network's own pixels from a known one, over which its word takes the interpolation's place


@dataclass(frozen=True)
class CompletedDepth:
    """The prior's word on one photograph, [H, W] float32 each."""

    depth: Tensor  # > 0, in the unit of the known depth
    log_scale: Tensor  # logarithm of the expected absolute error of log-depth


@torch.no_grad()
def complete_depth(
    network: DepthPrior,
    image: np.ndarray,  # [H, W, 3] uint8
    inverse_depth: np.ndarray,  # [H, W] float32, read where the weight is positive
    weight: np.ndarray,  # [H, W] float32 >= 0, how well it is known; 0: not at all
) -> CompletedDepth:
    """Depth everywhere from depth somewhere. Multiplying what is known multiplies the result, and changes nothing else.

    Next to known pixels it is their interpolation at the photograph's own size. Raises ValueError where too few
    are known.
    """
    height, width = image.shape[:2]
    known = (weight > 0) & (inverse_depth > 0)
    small = small_input(image, inverse_depth, np.where(known, weight, 0))
    fine = -np.log(interpolated_inverse(inverse_depth, known))
    found = network(torch.from_numpy(small.image)[None], small.told(), *small.weighed())
    rows, columns = small.size

    def at_size(half: Tensor) -> np.ndarray:
        return cv2.resize(half[0, :rows, :columns].numpy(), (width, height), interpolation=cv2.INTER_LINEAR)

    coarse = at_size(found.log_depth) + small.unit
    away = distance_to(known) / (max(height, width) / max(rows, columns))
    depth = np.exp(fine + (coarse - fine) * (1 - np.exp(-((away / BEGINS) ** 2))))
    return CompletedDepth(torch.from_numpy(depth.astype(np.float32)), torch.from_numpy(at_size(found.log_scale)))


@dataclass(frozen=True)
class SmallInput:
    """A photograph as the network sees it; maps have half of its size."""

    image: np.ndarray  # [H, W, 3] uint8, sides multiples of the network's
    fills: np.ndarray  # [FILLS, H / 2, W / 2] log-depth about `unit`
    weight: np.ndarray  # [H / 2, W / 2]
    errors: np.ndarray  # [FILLS] of `errors_of_fills`
    unit: float  # median log-depth of what is known
    size: tuple[int, int]  # rows and columns of the maps that are the photograph's; the rest repeats its border

    def told(self) -> Tensor:
        """The channels [1, TOLD, H / 2, W / 2]."""
        away = distance_to(self.weight != 0)
        fills, weight, distance = (torch.from_numpy(v)[None] for v in (self.fills, self.weight, away))
        place = places(*self.size)  # of the photograph; the border's goes on
        beyond = weight.shape[2] - self.size[1], weight.shape[1] - self.size[0]
        place = F.pad(place[None], (0, beyond[0], 0, beyond[1]), mode="replicate")
        return told_channels(fills, weight, distance, place, torch.from_numpy(self.errors)[None])

    def weighed(self) -> tuple[Tensor, Tensor]:
        """Fills [1, FILLS, H / 2, W / 2] and their errors [1, FILLS]."""
        return torch.from_numpy(self.fills)[None], torch.from_numpy(self.errors)[None]


def small_input(
    image: np.ndarray,  # [H, W, 3] uint8
    inverse_depth: np.ndarray,  # [H, W]
    weight: np.ndarray,  # [H, W]
) -> SmallInput:
    """Raises ValueError where fewer than MIN_KNOWN pixels are known."""
    height, width = image.shape[:2]
    factor = min(1.0, LONGEST_PX / max(height, width))
    rows, columns = (max(2, 2 * round(n * factor / 2)) for n in (height, width))
    below, right = -rows % MULTIPLE, -columns % MULTIPLE
    small = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)
    small = cv2.copyMakeBorder(small, 0, below, 0, right, cv2.BORDER_REPLICATE)
    inverse, known = reduced(inverse_depth, weight, rows // 2, columns // 2)
    if int((known > 0).sum()) < MIN_KNOWN:
        raise ValueError(f"expected depth at {MIN_KNOWN} or more pixels, found it at {int((known > 0).sum())}")
    inverse, known = (
        cv2.copyMakeBorder(v, 0, below // 2, 0, right // 2, cv2.BORDER_CONSTANT) for v in (inverse, known)
    )
    half = cv2.resize(small, (small.shape[1] // 2, small.shape[0] // 2), interpolation=cv2.INTER_AREA)
    unit = float(-np.log(np.median(inverse[known > 0])))
    ways, errors = fills(half, inverse, known) - np.float32(unit), errors_of_fills(half, inverse, known)
    return SmallInput(small, ways, known, errors, unit, (rows // 2, columns // 2))


def reduced(inverse_depth: np.ndarray, weight: np.ndarray, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Both [rows, columns]: of the known pixels that fall into one, that of the largest weight; none is lost."""
    row, column = (weight > 0).nonzero()
    order = weight[row, column].argsort(kind="stable")  # the largest is written last
    row, column = row[order], column[order]
    place = row * rows // weight.shape[0], column * columns // weight.shape[1]
    inverse, known = np.zeros((rows, columns), np.float32), np.zeros((rows, columns), np.float32)
    inverse[place], known[place] = inverse_depth[row, column], weight[row, column]
    return inverse, known
