"""Monocular depth in place of guesses, at the pixels that stereo does not trust.

A prior may be anything, so it has to earn each pixel: its error is measured on trusted pixels that are hidden from it,
as is the error of interpolation, and it may not stand in front of what another view is sure to see. Two guesses that
are made without anybody's prior are told apart by what they would hide, and by what the other photographs say of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor

from ....scene.point_cloud import PointCloud
from ...evidence import DepthMap, Stereo
from ...evidence.affine_fit import fit_inverse_depth
from ...evidence.depth_prior.fills import MIN_KNOWN, interpolated_inverse
from ...evidence.filled_disparity import known_inverse_depth, points_of_view
from ...evidence.hidden_pixels import ErrorByDistance, distance_to, hidden_parts
from ...evidence.monocular_depth import MonocularDepth
from ...evidence.stereo.stereo_depth import observed_points
from ...optimise.dataset import Dataset
from .contradiction import blurred, contradiction, in_front, smoothed_over

SURER = 0.8  # of interpolation's error: the prior's must be below that
NEARER = 0.02  # relative depth by which one of two guesses counts as the nearer one
AROUND = 1 / 48  # of the longer side: standard deviation of the pixels that are asked about together
LESS_CONTRADICTED = 0.1  # by so much, of 1, the other photographs must contradict the nearer guess less
FARTHEST = 3.0  # times the farthest known depth of a view, and as many times nearer than its nearest, a prior may go


@dataclass(frozen=True)
class Continued:
    """Stereo some of whose guesses are another's."""

    stereo: Stereo
    taken: tuple[float, ...]  # share of each view's guesses that are the other's now
    why: str  # half a sentence for people, after "Of the pixels that stereo does not trust, "

    @property
    def note(self) -> str:
        shares = ", ".join(f"{share:.0%}" for share in self.taken)
        return f"Of the pixels that stereo does not trust, {self.why} on {shares} in the photographs in their order."


def with_network_guesses(dataset: Dataset, stereo: Stereo, continued_depth: MonocularDepth) -> Continued:
    """The stereo of the training views with the better of two guesses: its own, and known depth as it was continued.

    That is the farther one: a guess that is too near hides what other photographs show, in every view between, and one
    that is too far does not. But the nearer one is taken where the others contradict it less.
    """
    points = observed_points(dataset, list(dataset.train))
    photographs = [
        blurred(dataset.view(index).photograph(m.depth.shape[1], m.depth.shape[0])[0].cpu().numpy())
        for index, m in zip(dataset.train, stereo.maps, strict=True)
    ]

    def choose(view: int) -> tuple[Tensor, Tensor] | None:
        fitted = fitted_inverse(*_relative_and_known(stereo, view, points, continued_depth))
        if fitted is None:
            return None
        own = stereo.maps[view]
        depth = torch.from_numpy(1 / fitted).to(own.depth)
        is_nearer = ((depth < (1 - NEARER) * own.depth) & (own.confidence <= 1)).numpy()
        gain = contradiction(stereo, photographs, view, own.depth) - contradiction(stereo, photographs, view, depth)
        believed = smoothed_over(gain, is_nearer, AROUND * max(gain.shape)) > LESS_CONTRADICTED
        return depth, (depth > own.depth) | torch.from_numpy(is_nearer & believed)

    return _replaced(
        stereo,
        choose,
        "the depth network's guess was farther than interpolation, or less contradicted by the other photographs,",
    )


def continued(dataset: Dataset, stereo: Stereo, prior: MonocularDepth, seed: int) -> Continued:
    """The stereo of the training views with the prior's depth where it is the surer guess; confidence stays 1 there."""
    points = observed_points(dataset, list(dataset.train))
    return _replaced(
        stereo,
        lambda view: _surer(stereo, view, points, prior, seed + view),
        "the depth prior was surer than interpolation, by its errors on trusted pixels that were hidden from it,",
    )


def _replaced(stereo: Stereo, choose: Callable[[int], tuple[Tensor, Tensor] | None], why: str) -> Continued:
    """The stereo with other depth for some guesses: `choose` gives a view's depth [H, W] and where to take it."""
    maps, shares = [], []
    for view, depth_map in enumerate(stereo.maps):
        guessed, found = depth_map.confidence <= 1, choose(view)
        if found is None or not bool(guessed.any()):
            maps.append(depth_map)
            shares.append(0.0)
            continue
        depth, take = found[0], found[1] & guessed
        maps.append(replace(depth_map, depth=torch.where(take, depth, depth_map.depth)))
        shares.append(float(take.sum() / guessed.sum()))
    return Continued(Stereo(stereo.cameras, tuple(maps)), tuple(shares), why)


def _relative_and_known(
    stereo: Stereo, view: int, points: PointCloud, prior: MonocularDepth
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[H, W] each: the prior's relative inverse depth, the known inverse depth and its weight, 0 where unknown."""
    value, weight = known_inverse_depth(stereo.maps[view], stereo.cameras[view], points_of_view(points, view))
    height, width = value.shape
    relative = cv2.resize(prior.disparity[view].numpy(), (width, height), interpolation=cv2.INTER_LINEAR)
    return relative.reshape(height, width), value, weight


def _surer(
    stereo: Stereo, view: int, points: PointCloud, prior: MonocularDepth, seed: int
) -> tuple[Tensor, Tensor] | None:
    """The prior's depth [H, W] in the unit of the cameras and where it is surer, bool; None where it says nothing."""
    depth_map: DepthMap = stereo.maps[view]
    relative, value, weight = _relative_and_known(stereo, view, points, prior)
    height, width = value.shape
    fitted = fitted_inverse(relative, value, weight)
    hidden = hidden_parts(weight, seed)
    told = np.where(hidden, 0, weight).astype(np.float32)
    if fitted is None or not hidden.any() or int((told > 0).sum()) < MIN_KNOWN:
        return None
    away = distance_to(told > 0)[hidden]

    def errors(inverse: np.ndarray) -> np.ndarray:
        return np.asarray(np.abs(np.log(inverse[hidden] / value[hidden])))

    distance = distance_to(weight > 0)
    interpolation = ErrorByDistance.measured(away, errors(interpolated_inverse(np.where(hidden, 0, value), told > 0)))
    if prior.log_error:
        expected = np.exp(cv2.resize(prior.log_error[view].numpy(), (width, height), interpolation=cv2.INTER_LINEAR))
    else:
        without = fitted_inverse(relative, value, told)
        by_distance = None if without is None else ErrorByDistance.measured(away, errors(without))
        if by_distance is None:
            return None
        expected = by_distance.at(distance)
    if interpolation is None:
        return None
    surer = torch.from_numpy(expected < SURER * interpolation.at(distance))
    depth = torch.from_numpy(1 / fitted).to(depth_map.depth)
    own, guess = in_front(stereo, view, depth), in_front(stereo, view, depth_map.depth)
    return depth, surer & ~(own & ~guess)


def fitted_inverse(
    relative: np.ndarray,  # [H, W] relative inverse depth
    value: np.ndarray,  # [H, W] inverse depth in the unit of the cameras, read where the weight is positive
    weight: np.ndarray,  # [H, W] >= 0
) -> np.ndarray | None:
    """Inverse depth [H, W] > 0 float32: scale and offset of all that is known, then what is left over near by.

    None where the two contradict each other.
    """
    known = weight > 0
    if int(known.sum()) < MIN_KNOWN:
        return None
    scale, offset = fit_inverse_depth(*(torch.from_numpy(v[known]) for v in (relative, value, weight)))
    if scale <= 0:
        return None
    low, high = value[known].min() / FARTHEST, value[known].max() * FARTHEST
    inverse = np.clip(scale * relative + offset, low, high)
    left = np.where(known, np.log(np.maximum(value, 1e-12) / inverse), 0).astype(np.float32)
    return np.asarray(np.clip(inverse * np.exp(carried(left, known)), low, high), np.float32)


def carried(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """[H, W] known values as they are, and in between averages over ever larger neighbourhoods (pull-push)."""
    sums: np.ndarray = np.where(known, values, 0).astype(np.float32)
    counts: np.ndarray = known.astype(np.float32)
    levels = [(sums, counts)]
    while min(sums.shape) > 1:
        sums, counts = (cv2.resize(v, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for v in (sums, counts))
        levels.append((sums, counts))
    filled: np.ndarray = np.full_like(sums, float(sums.sum()) / max(float(counts.sum()), 1e-12))
    for sums, counts in reversed(levels):
        coarse = cv2.resize(filled, (sums.shape[1], sums.shape[0]), interpolation=cv2.INTER_LINEAR)
        share = np.minimum(1, counts)
        filled = share * (sums / np.maximum(counts, 1e-12)) + (1 - share) * coarse
    return np.where(known, values, filled)
