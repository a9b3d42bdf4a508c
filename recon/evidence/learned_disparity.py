"""Monocular depth by the depth prior: its network continues what stereo and the sparse points know."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from ...scene.errors import BadInputError
from ...scene.point_cloud import PointCloud
from ...scene.progress import Progress, silent
from ..optimise.dataset import Dataset
from .depth_maps import Stereo
from .depth_prior import CompletedDepth, DepthPrior, complete_depth
from .filled_disparity import known_inverse_depth, points_of_view
from .hidden_pixels import ErrorByDistance, distance_to, hidden_parts
from .monocular_depth import MonocularDepth
from .stereo.stereo_depth import observed_points

UNKNOWN = 1e3  # error of log-depth where nothing says how large it is


def continued_disparity(
    network: DepthPrior, dataset: Dataset, stereo: Stereo, progress: Progress = silent
) -> MonocularDepth:
    """Inverse depth of the training views, in the unit of the cameras; stereo's own where next to nothing is known."""
    points = observed_points(dataset, list(dataset.train))
    maps: list[Tensor] = []
    for number, index in enumerate(dataset.train):
        progress("depth prior", number, len(dataset.train))
        view, known = dataset.view(index), _Known(dataset, stereo, points, number)
        try:
            depth = complete_depth(network, known.image, known.value, known.weight).depth
        except ValueError:  # too little to continue
            depth = stereo.maps[number].depth
        maps.append(_sized(1 / depth.numpy(), view.width, view.height))
    return MonocularDepth(tuple(maps))


def learned_disparity(
    network: DepthPrior, dataset: Dataset, stereo: Stereo, seed: int = 0, progress: Progress = silent
) -> MonocularDepth:
    """Inverse depth of the training views from their photographs and what is known of them.

    The error that the network expects is scaled to the one that it has where known pixels are hidden from it. Raises
    BadInputError where next to nothing is known of a view's depth: the network has no depth of its own.
    """
    points = observed_points(dataset, list(dataset.train))
    maps: list[Tensor] = []
    errors: list[Tensor] = []
    for number, index in enumerate(dataset.train):
        progress("depth prior", number, len(dataset.train))
        view, known = dataset.view(index), _Known(dataset, stereo, points, number)
        try:
            completed = complete_depth(network, known.image, known.value, known.weight)
        except ValueError as error:
            raise BadInputError(
                f"The depth prior continues known depth, and of {dataset.names[index]} hardly any is known ({error}); "
                "give photographs that overlap, or leave --depth-prior out."
            ) from error
        expected = expected_error(network, known.image, known.value, known.weight, completed, seed + number)
        maps.append(_sized(1 / completed.depth.numpy(), view.width, view.height))
        errors.append(_sized(np.log(expected), view.width, view.height))
    return MonocularDepth(tuple(maps), tuple(errors))


class _Known:
    """A training view's photograph [H, W, 3] uint8 at the size of its map, and what is known of its inverse depth."""

    def __init__(self, dataset: Dataset, stereo: Stereo, points: PointCloud, number: int) -> None:
        depth_map = stereo.maps[number]
        height, width = depth_map.depth.shape
        self.image = dataset.view(dataset.train[number]).photograph(width, height)[0].numpy()
        here = points_of_view(points, number)
        self.value, self.weight = known_inverse_depth(depth_map, stereo.cameras[number], here)  # [H, W] each


def _sized(values: np.ndarray, width: int, height: int) -> Tensor:
    sized = cv2.resize(values, (width, height), interpolation=cv2.INTER_LINEAR)
    return torch.from_numpy(np.ascontiguousarray(sized, np.float32)).reshape(height, width)


def expected_error(
    network: DepthPrior,
    image: np.ndarray,  # [H, W, 3] uint8
    value: np.ndarray,  # [H, W] inverse depth
    weight: np.ndarray,  # [H, W]
    completed: CompletedDepth,  # of all that
    seed: int,
) -> np.ndarray:
    """Median error [H, W] of log-depth, the larger of two: as the network says, and by the distance from known pixels.

    Both are measured where known pixels are hidden. Where too few are known to hide any nothing bounds the error.
    """
    hidden = hidden_parts(weight, seed)
    told = np.where(hidden, 0, weight).astype(np.float32)
    try:
        again = complete_depth(network, image, value, told) if hidden.any() else None
    except ValueError:  # what is left is too little
        again = None
    if again is None:
        return np.full(value.shape, UNKNOWN)
    error = np.abs(np.log(again.depth.numpy()[hidden] * value[hidden]))
    by_distance = ErrorByDistance.measured(distance_to(told > 0)[hidden], error)
    if by_distance is None:
        return np.full(value.shape, UNKNOWN)
    ratio = float(np.median(error / again.log_scale.exp().numpy()[hidden]))
    said: Tensor = max(ratio, 1e-3) * completed.log_scale.exp()
    return np.maximum(said.numpy(), by_distance.at(distance_to(weight > 0)))
