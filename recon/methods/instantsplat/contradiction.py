"""Evidence against a depth: what the other photographs are sure to see, and their colours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from ....scene.geometry import transform_points
from ...evidence import Stereo
from ...evidence.depth_maps import unproject
from ...evidence.stereo.source_views import project

TOLERANCE = 0.04  # relative depth up to which a place lies on the surface that another view is sure of
IN_FRONT = 0.05  # relative depth by which a prior must not lie before what another view is sure of
BEHIND = 0.5  # what a place behind such a surface costs: few are, though some must
GREY = 40.0  # difference of colours, in grey levels, from which on they contradict each other altogether
BLUR = 1 / 160  # of the longer side: standard deviation over which colours are compared
ROW = 1024  # pixels; remap takes rows of less than 32,768


def contradiction(
    stereo: Stereo,
    photographs: Sequence[np.ndarray],  # [H, W, 3] float32 each, as `blurred` gives them
    view: int,
    depth: Tensor,  # [H, W], z in the view's camera
) -> np.ndarray:
    """[H, W] float32 in [0, 1]: the mean over the other views; one that does not show the place contradicts nothing.

    A place before what a view is sure to see costs 1, one behind it `BEHIND`, any other as much as colours differ.
    """
    color, total = photographs[view].reshape(-1, 3), np.zeros(depth.numel(), np.float32)
    for other, seen in _seen_by_others(stereo, view, depth):
        inside, is_sure, beyond = seen.inside.numpy(), seen.is_sure.numpy(), seen.relative_depth.log().numpy()
        differs = np.abs(_sampled(photographs[other], seen.pixel.numpy()) - color[inside]).max(-1)
        cost = np.minimum(1, differs / GREY)
        cost = np.where(is_sure & (beyond > TOLERANCE), BEHIND, cost)
        total[inside] += np.where(is_sure & (beyond < -TOLERANCE), 1, cost)
    return (total / max(1, len(stereo) - 1)).reshape(tuple(depth.shape))


def in_front(
    stereo: Stereo,
    view: int,
    depth: Tensor,  # [H, W], z in the view's camera
) -> Tensor:
    """bool [H, W]: this depth would hide what another view is sure to see."""
    before = torch.zeros(depth.numel(), dtype=torch.bool)
    for _, seen in _seen_by_others(stereo, view, depth):
        before[seen.inside] |= seen.is_sure & (seen.relative_depth < 1 - IN_FRONT)
    return before.reshape(depth.shape)


class _Seen(NamedTuple):
    """The places of one view's pixels, as another view sees the M of them that lie in its picture."""

    inside: Tensor  # bool [H W] of the view's pixels: those
    pixel: Tensor  # [M, 2] of the other view
    is_sure: Tensor  # bool [M]: it trusts its own depth there
    relative_depth: Tensor  # [M] of the place, by that depth


def _seen_by_others(stereo: Stereo, view: int, depth: Tensor) -> Iterator[tuple[int, _Seen]]:
    camera = stereo.cameras[view]
    points = transform_points(camera.world_from_cam, unproject(depth, camera.K).reshape(-1, 3))
    for other, shown in enumerate(stereo.maps):
        if other == view:
            continue
        pixel, z = project(stereo.cameras[other], points)
        size = pixel.new_tensor([shown.depth.shape[1], shown.depth.shape[0]])
        inside = (z > 1e-6) & ((pixel >= 0) & (pixel < size)).all(-1)
        column, row = pixel[inside].long().unbind(-1)
        is_sure = shown.confidence[row, column] > 1
        yield other, _Seen(inside, pixel[inside], is_sure, z[inside] / shown.depth[row, column])


def blurred(
    image: np.ndarray,  # [H, W, 3] uint8
) -> np.ndarray:
    """The photograph [H, W, 3] float32 as its colours are compared, in grey levels."""
    return cv2.GaussianBlur(image.astype(np.float32), (0, 0), max(0.5, BLUR * max(image.shape[:2])))


def _sampled(
    image: np.ndarray,  # [H, W, 3] float32
    pixel: np.ndarray,  # [N, 2]
) -> np.ndarray:
    """Colours [N, 3] at pixels, between their centres bilinear."""
    count = len(pixel)
    places = np.zeros((-(-count // ROW) * ROW, 2), np.float32)
    places[:count] = pixel - 0.5
    if count == 0:
        return np.empty((0, 3), np.float32)
    columns, rows = (np.ascontiguousarray(places[:, k].reshape(-1, ROW)) for k in (0, 1))
    found = cv2.remap(image, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return found.reshape(-1, 3)[:count]


def smoothed_over(
    values: np.ndarray,  # [H, W]
    where: np.ndarray,  # [H, W] bool
    sigma_px: float,
) -> np.ndarray:
    """Mean [H, W] of the values around each pixel, of those alone that are where it says."""
    weight = where.astype(np.float32)
    total = cv2.GaussianBlur(values.astype(np.float32) * weight, (0, 0), sigma_px)
    return np.asarray(total / np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma_px), 1e-3))
