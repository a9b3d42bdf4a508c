"""Descriptors of small square cells of a photograph: colour, edges and texture at two or three scales, no weights.

What looks alike gets vectors that point alike, which is all that correlations of patches ask for. Colours are means
over the cell and around it; edges are histograms of gradient orientations (Dalal and Triggs, "Histograms of Oriented
Gradients", 2005); texture is the energy of Laws' masks (Laws, "Textured Image Segmentation", 1980).
"""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

CELL_PX = 8
_ORIENTATIONS = 8  # bins over half a turn
_AROUND = (1, 3, 7)  # sides of the neighbourhoods that colours are means of, in cells
_WIDER = 3  # side of the second neighbourhood of edges and texture, in cells
_FAINT = 0.02  # of grey: gradients much weaker than this, and their orientations, are noise
_LAWS = {"L": (1.0, 4, 6, 4, 1), "E": (-1.0, -2, 0, 2, 1), "S": (-1.0, 0, 2, 0, -1), "R": (1.0, -4, 6, -4, 1)}
_PAIRS = ("LE", "LS", "LR", "EE", "ES", "ER", "SS", "SR", "RR")  # each with its mirror image, so that turns count less


def patch_descriptors(rgb: Tensor) -> Tensor:
    """Descriptors [H // 8, W // 8, 43] of a picture [H, W, 3] in [0, 1]; pixels beyond whole cells are left out.

    Their parts have units of their own: standardise them over some pictures before vectors are compared.
    """
    rows, columns = rgb.shape[0] // CELL_PX, rgb.shape[1] // CELL_PX
    picture = rgb[: rows * CELL_PX, : columns * CELL_PX].permute(2, 0, 1)[None]
    grey = picture.mean(1, keepdim=True)
    red, green, blue = picture.unbind(1)
    opponent = torch.stack([grey[:, 0], red - green, 0.5 * (red + green) - blue], 1)
    cells = F.avg_pool2d(opponent, CELL_PX)
    parts = [_mean_around(cells, side) for side in _AROUND]
    parts += _edges(grey)
    parts += _textures(grey)
    return torch.cat(parts, 1)[0].permute(1, 2, 0).contiguous()


def _edges(grey: Tensor) -> list[Tensor]:
    """Shares [1, 8, h, w] of the orientations in each cell, and in the cells around it."""
    padded = F.pad(grey, (1, 1, 1, 1), mode="replicate")
    right = 0.5 * (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2])
    down = 0.5 * (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1])
    strength = (right.square() + down.square()).sqrt()
    place = torch.atan2(down, right).remainder(math.pi) * (_ORIENTATIONS / math.pi)  # in bins, round about
    bins = torch.arange(_ORIENTATIONS, dtype=grey.dtype, device=grey.device).reshape(1, -1, 1, 1)
    away = (place - bins).abs()
    share = (1 - torch.minimum(away, _ORIENTATIONS - away)).clamp_min(0)
    histogram = F.avg_pool2d(share * strength, CELL_PX)
    wider = _mean_around(histogram, _WIDER)
    length = _FAINT + wider.norm(dim=1, keepdim=True)
    return [histogram / length, wider / length]


def _textures(grey: Tensor) -> list[Tensor]:
    """Logarithms [1, 9, h, w] of the energies in each cell, and in the cells around it."""
    answers = F.conv2d(F.pad(grey, (2, 2, 2, 2), mode="replicate"), _laws_masks(grey.device)).abs()
    energy = F.avg_pool2d(answers.unflatten(1, (len(_PAIRS), 2)).mean(2), CELL_PX)
    return [(_FAINT + e).log() for e in (energy, _mean_around(energy, _WIDER))]


@functools.lru_cache(maxsize=2)
def _laws_masks(device: torch.device) -> Tensor:
    """[18, 1, 5, 5]: each pair and its mirror image, with absolute sums of one."""
    masks = []
    for pair in (turned for one in _PAIRS for turned in (one, one[::-1])):
        mask = torch.outer(torch.tensor(_LAWS[pair[0]]), torch.tensor(_LAWS[pair[1]]))
        masks.append(mask / mask.abs().sum())
    return torch.stack(masks)[:, None].to(device)


def _mean_around(cells: Tensor, side: int) -> Tensor:
    """Means [1, C, h, w] over squares of `side` cells, those beyond the border left out."""
    return cells if side == 1 else F.avg_pool2d(cells, side, 1, side // 2, count_include_pad=False)
