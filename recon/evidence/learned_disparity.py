"""Monocular depth by the depth prior: its network continues what stereo and the sparse points know."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from ...scene.errors import BadInputError
from ...scene.progress import Progress, silent
from ..optimise.dataset import Dataset
from .depth_maps import Stereo
from .depth_prior import CompletedDepth, DepthPrior, complete_depth
from .filled_disparity import known_inverse_depth, points_of_view
from .hidden_pixels import ErrorByDistance, distance_to, hidden_parts
from .monocular_depth import MonocularDepth
from .stereo.stereo_depth import observed_points

UNKNOWN = 1e3  # error of log-depth where nothing says how large it is


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
        depth_map = stereo.maps[number]
        height, width = depth_map.depth.shape
        view = dataset.view(index)
        pixels, _ = view.photograph(width, height)
        value, weight = known_inverse_depth(depth_map, stereo.cameras[number], points_of_view(points, number))
        try:
            completed = complete_depth(network, pixels.numpy(), value, weight)
        except ValueError as error:
            raise BadInputError(
                f"The depth prior continues known depth, and of {dataset.names[index]} hardly any is known ({error}); "
                "give photographs that overlap, or leave --depth-prior out."
            ) from error
        expected = expected_error(network, pixels.numpy(), value, weight, completed, seed + number)
        for found, into in ((1 / completed.depth.numpy(), maps), (np.log(expected), errors)):
            sized = cv2.resize(found, (view.width, view.height), interpolation=cv2.INTER_LINEAR)
            into.append(torch.from_numpy(np.ascontiguousarray(sized, np.float32)))
    return MonocularDepth(tuple(maps), tuple(errors))


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
