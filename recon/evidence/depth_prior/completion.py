"""Depth of a whole photograph from the prior: what goes in and out at the photograph's own size."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from .network import MULTIPLE, DepthPrior
from .sparse_input import sparse_input

LONGEST_PX = 512  # side at which the network looks at a photograph; more is slower, and unlike its training
ITERATIONS = 200  # of conjugate gradients


@dataclass(frozen=True)
class CompletedDepth:
    """The prior's word on one photograph, [H, W] float32 each."""

    depth: Tensor  # > 0, in the unit of the known depth
    log_scale: Tensor  # logarithm of the expected absolute error of log-depth
    edge: Tensor  # probability in [0, 1] that depth jumps here


@torch.no_grad()
def complete_depth(
    network: DepthPrior,
    image: np.ndarray,  # [H, W, 3] uint8
    inverse_depth: np.ndarray,  # [H, W] float32, read where the weight is positive
    weight: np.ndarray,  # [H, W] float32 >= 0, how well it is known; 0: not at all
) -> CompletedDepth:
    """Depth everywhere from depth somewhere. Multiplying what is known multiplies the result, and changes nothing else.

    Raises ValueError where too few pixels are known.
    """
    height, width = image.shape[:2]
    factor = min(1.0, LONGEST_PX / max(height, width))
    rows, columns = round(height * factor), round(width * factor)
    small, inverse, known = image, inverse_depth, weight
    if factor < 1:
        small = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)
        inverse = cv2.resize(inverse_depth, (columns, rows), interpolation=cv2.INTER_NEAREST_EXACT)
        known = cv2.resize(weight, (columns, rows), interpolation=cv2.INTER_NEAREST_EXACT)
    below, right = -rows % MULTIPLE, -columns % MULTIPLE
    small = cv2.copyMakeBorder(small, 0, below, 0, right, cv2.BORDER_REPLICATE)
    inverse, known = (cv2.copyMakeBorder(v, 0, below, 0, right, cv2.BORDER_CONSTANT) for v in (inverse, known))
    told = sparse_input(inverse, known)
    base = torch.from_numpy(told.base)[None]
    channels, is_known = torch.from_numpy(told.told)[None], torch.from_numpy(told.known)[None]
    found = network(torch.from_numpy(small)[None], channels, base, is_known, ITERATIONS)

    def at_size(half: Tensor) -> Tensor:
        full = cv2.resize(half[0].numpy(), (columns + right, rows + below), interpolation=cv2.INTER_LINEAR)
        return torch.from_numpy(cv2.resize(full[:rows, :columns], (width, height), interpolation=cv2.INTER_LINEAR))

    depth = at_size(base + found.correction).exp()
    return CompletedDepth(depth, at_size(found.log_scale), at_size(found.edge.sigmoid()))
