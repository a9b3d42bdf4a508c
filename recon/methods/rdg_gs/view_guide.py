"""All that stands still about one training view: its prior, where it counts, and what its cells look like."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ....scene.farthest_points import farthest_points
from ...evidence.patch_descriptors import CELL_PX
from .depth_losses import picture_edges
from .relative_depth import Scale, cell_depth, scale_of

NEARBY = 0.25  # of the image diagonal: cells that are compared with each other
SPREAD = 4  # times as many cells are laid out as are used in a step, so that steps differ
DEPTH_SHARE = 0.25  # of the image diagonal that a standard deviation of depth is worth when cells are laid out


@dataclass(frozen=True)
class ViewGuide:
    """One view at the size of a step; N cells of 8 x 8 pixels, row by row."""

    inverse: Tensor  # [H, W] prior inverse depth
    counts: Tensor  # [H, W] bool, neither masked nor transparent
    edges: Tensor  # [H, W] bool, where the photograph has edges
    disparity: Tensor  # [H, W] relative inverse depth as it came
    cell_features: Tensor  # [N, C] of unit length
    anchors: Tensor  # [A] cells that count, spread out in the picture and in depth

    @functools.cached_property
    def nearest(self) -> float:
        """Depth in front of which rendered depth is cut off, so that specks before the camera do not rule."""
        return 0.25 / float(self.inverse[self.counts].max()) if bool(self.counts.any()) else 1e-6

    @functools.cached_property
    def scale(self) -> Scale:
        return scale_of(self.inverse, self.counts)

    @functools.cached_property
    def cell_prior(self) -> Tensor:
        """Normalised prior inverse depth [N] of the cells."""
        return cell_depth(self.inverse, self.scale).mean

    @functools.cached_property
    def cell_counts(self) -> Tensor:
        """bool [N], cells all of whose pixels count."""
        return whole_cells(self.counts)


def view_guide(
    inverse: Tensor,  # [H0, W0] prior inverse depth
    disparity: Tensor,  # [H0, W0]
    grid: Tensor,  # [h, w, C] patch features
    rgb: Tensor,  # [H, W, 3] photograph at the size of the step
    counts: Tensor | None,  # [H, W] bool; None where all pixels count
    anchors: int,  # that a step uses
) -> ViewGuide:
    """The guide at the size of a photograph, which may be smaller than the maps."""
    size = (rgb.shape[0], rgb.shape[1])
    inverse, disparity = (resized(t, size) for t in (inverse, disparity))
    counts = torch.ones_like(inverse, dtype=torch.bool) if counts is None else counts
    features = grid_features(grid, size)
    usable = whole_cells(counts).nonzero()[:, 0]
    centres = cell_centres(size, inverse.device)[usable] / (size[0] ** 2 + size[1] ** 2) ** 0.5
    depth = cell_depth(inverse, scale_of(inverse, counts)).mean[usable]
    places = torch.cat([centres, DEPTH_SHARE * depth[:, None]], 1)
    spread = usable[farthest_points(places, SPREAD * anchors)] if len(usable) > 0 else usable
    return ViewGuide(inverse, counts, picture_edges(rgb) & counts, disparity, features, spread)


def grid_features(grid: Tensor, size: tuple[int, int]) -> Tensor:
    """Features [N, C] of the cells of a picture of some size, from a grid [h, w, C] over the same picture."""
    wanted = (size[0] // CELL_PX, size[1] // CELL_PX)
    if (*grid.shape[:2],) != wanted:
        grid = F.interpolate(grid.permute(2, 0, 1)[None], wanted, mode="bilinear", align_corners=False)[0]
        grid = grid.permute(1, 2, 0)
    return F.normalize(grid.flatten(0, 1), dim=-1, eps=1e-6)


def cell_centres(size: tuple[int, int], device: torch.device) -> Tensor:
    """Columns and rows [N, 2] of the cells' middles, pixels."""
    rows, columns = (torch.arange(n // CELL_PX, device=device) * CELL_PX + 0.5 * CELL_PX for n in size)
    grid = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([grid[1].flatten(), grid[0].flatten()], 1)


def whole_cells(mask: Tensor) -> Tensor:
    """bool [N]: cells that are in `mask` [H, W] with all their pixels."""
    return -F.max_pool2d(-mask[None].float(), CELL_PX).flatten() > 0.5


def nearby(centres_a: Tensor, centres_b: Tensor, size: tuple[int, int]) -> Tensor:
    """bool [A, B]: pairs of places [A, 2] and [B, 2] that lie near each other in the picture."""
    return torch.cdist(centres_a, centres_b) < NEARBY * (size[0] ** 2 + size[1] ** 2) ** 0.5


def resized(values: Tensor, size: tuple[int, int]) -> Tensor:
    return values if (*values.shape,) == size else F.interpolate(values[None, None], size, mode="area")[0, 0]
