"""`PreparedViews`: evidence about the training views brought together before Gaussians learn (sections 3.1 and 3.2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ....scene.errors import BadInputError
from ...evidence.dense_flow import DenseFlow
from ...evidence.monocular_depth import MonocularDepth
from ...optimise.dataset import Dataset
from .config import CoherentConfig
from .disparity_layers import SHIFT, layer_index, layer_thresholds, normalised_disparity, sharpened
from .inverse_alignment import inverse_aligned
from .pixel_lattice import Match, PixelLattice, matches, measured_depths, pixel_lattice, scene_unit


@dataclass(frozen=True)
class PreparedViews:
    """Pixels with their rays, depths, layers and matches; tensors by view."""

    dataset: Dataset
    lattice: PixelLattice
    matches: tuple[Match, ...]
    unit: float  # world units of one unit of depth
    depths: tuple[Tensor, ...]  # V of [h, w] at the lattice's size, units; before the alignment where that is learned
    layers: tuple[Tensor, ...]  # V of int64 [h, w]
    shown_layers: tuple[Tensor, ...]  # V of int64 [H, W] at the photographs' size

    @property
    def views(self) -> tuple[int, ...]:
        """Numbers of the views in the data set."""
        return self.dataset.train


def prepared_views(
    dataset: Dataset, monocular: MonocularDepth, flow: DenseFlow, config: CoherentConfig
) -> PreparedViews:
    """Everything that training starts from; on the CPU.

    Raises BadInputError for evidence that is of other photographs or says nothing, and for cameras in one place.
    """
    dataset = dataset.to("cpu")
    lattice = pixel_lattice(dataset, config.spacing_px)
    found = matches(lattice, flow)
    measured = measured_depths(lattice, found)
    unit = scene_unit(measured)
    disparities, layers, shown_layers = [], [], []
    for index, disparity, counts in zip(dataset.train, _checked(dataset, monocular), lattice.counts, strict=True):
        sharp = sharpened(normalised_disparity(disparity, dataset.names[index]) + SHIFT)
        thresholds = layer_thresholds(sharp, config.layers, dataset.views[index].counts())
        shown_layers.append(layer_index(sharp, thresholds))
        nearest = [_nearest(size, full) for size, full in zip(counts.shape, sharp.shape, strict=True)]
        disparities.append(sharp[nearest[0]][:, nearest[1]])
        layers.append(shown_layers[-1][nearest[0]][:, nearest[1]])
    if config.alignment == "inverse":
        depths = [z / unit for z in inverse_aligned([d - SHIFT for d in disparities], measured)]
    else:
        depths = [1 / d for d in disparities]
    return PreparedViews(dataset, lattice, tuple(found), unit, tuple(depths), tuple(layers), tuple(shown_layers))


def _checked(dataset: Dataset, monocular: MonocularDepth) -> tuple[Tensor, ...]:
    """The disparities, after a look at their sizes."""
    sizes = [tuple(d.shape) for d in monocular.disparity]
    wanted = [(dataset.views[i].height, dataset.views[i].width) for i in dataset.train]
    if sizes != wanted:
        raise BadInputError(
            f"Monocular depth of sizes {sizes} (height, width) was given for training photographs of {wanted}."
        )
    return monocular.disparity


def _nearest(size: int, full: int) -> Tensor:
    """Numbers [size] of the rows, or columns, under the centres of so many cells; depth is not to be averaged."""
    return ((torch.arange(size) + 0.5) * full / size).long().clamp_max(full - 1)
