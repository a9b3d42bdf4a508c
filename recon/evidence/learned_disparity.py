"""Monocular depth by the depth prior: its network continues what stereo and the sparse points know."""

from __future__ import annotations

import torch

from ...scene.errors import BadInputError
from ...scene.progress import Progress, silent
from ..optimise.dataset import Dataset
from .depth_maps import Stereo
from .depth_prior import DepthPrior, complete_depth
from .filled_disparity import known_inverse_depth, points_of_view
from .monocular_depth import MonocularDepth
from .stereo.stereo_depth import observed_points


def learned_disparity(
    network: DepthPrior, dataset: Dataset, stereo: Stereo, progress: Progress = silent
) -> MonocularDepth:
    """Inverse depth of the training views from their photographs and what is known of them.

    Raises BadInputError where next to nothing is known of a view's depth: the network has no depth of its own.
    """
    points = observed_points(dataset, list(dataset.train))
    maps = []
    for number, index in enumerate(dataset.train):
        progress("depth prior", number, len(dataset.train))
        depth_map = stereo.maps[number]
        height, width = depth_map.depth.shape
        pixels, _ = dataset.view(index).photograph(width, height)
        known = known_inverse_depth(depth_map, stereo.cameras[number], points_of_view(points, number))
        try:
            completed = complete_depth(network, pixels.numpy(), *known)
        except ValueError as error:
            raise BadInputError(
                f"The depth prior continues known depth, and of {dataset.names[index]} hardly any is known ({error}); "
                "give photographs that overlap, or leave --depth-prior out."
            ) from error
        maps.append((1 / completed.depth).to(torch.float32))
    return MonocularDepth(tuple(maps))
