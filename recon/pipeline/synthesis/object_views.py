"""Photographs of one object as small square pictures of it, with the cameras that belong to these crops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch
from torch import Tensor

from ....scene.cameras import Cameras
from ....scene.capture import Capture
from ....scene.errors import BadInputError
from ...optimise.dataset import Dataset, View

OBJECT_SHARE = 0.8  # of a crop's side that the object's box takes; the released code's
OPAQUE = 128  # alpha from which a pixel is of the object


def object_views(capture: Capture, side_px: int) -> Dataset:
    """Square pictures of side_px pixels around the object, all views to be trained on.

    The object is what alpha shows, or the mask where there is no alpha; then the pictures are RGBA. Where no photograph
    has either, the middle square of each is taken as it is. Raises BadInputError for a capture without cameras, where
    only some photographs have a silhouette, and where one shows nothing.
    """
    if capture.cameras is None:
        raise BadInputError(f"{capture.source} has no cameras to begin with; estimate them with `fewview poses`.")
    pictures = [_with_alpha(capture, i) for i in range(len(capture))]
    cut_out = [pixels.shape[-1] == 4 for pixels in pictures]
    if any(cut_out) and not all(cut_out):
        lacking = capture.names[cut_out.index(False)]
        raise BadInputError(
            f"{lacking} of {capture.source} has neither transparency nor a mask, and other photographs do: give all "
            "photographs a mask of the object, or none."
        )
    views, Ks = [], []
    for i, pixels in enumerate(pictures):
        left, top, side = _crop(pixels, capture.names[i])
        K = capture.cameras.K[i].clone()
        K[0, 2] -= left
        K[1, 2] -= top
        K[:2] *= side_px / side
        views.append(View(_resized(_cut(pixels, left, top, side), side_px), None, K))
        Ks.append(K)
    size = torch.full((len(views),), side_px)
    cameras = Cameras(capture.cameras.cam_from_world, torch.stack(Ks), size, size.clone())
    return Dataset(tuple(views), cameras, tuple(capture.names), tuple(range(len(views))))


def with_cameras(views: Dataset, cam_from_world: Tensor) -> Dataset:
    """The same pictures with other poses [N, 4, 4]."""
    return replace(views, cameras=replace(views.cameras, cam_from_world=cam_from_world.float()))


def area_fractions(views: Dataset) -> Tensor:
    """Share of each picture that the object covers, [N]; 1 where nothing says what the object is."""
    return torch.tensor(
        [float(v.pixels[..., 3].float().mean()) / 255 if v.pixels.shape[-1] == 4 else 1.0 for v in views.views]
    )


def object_radius(views: Dataset, chosen: Sequence[int]) -> float:
    """Median radius of the discs that cover as much as the chosen views' silhouettes, at their cameras' distances.

    World units, for cameras in the look-at frame.
    """
    cameras = views.cameras[torch.tensor(list(chosen))]
    area_px = area_fractions(views)[list(chosen)] * cameras.width * cameras.height
    return float(((area_px / math.pi).sqrt() / cameras.K[:, 0, 0] * cameras.centers.norm(dim=-1)).median())


def has_silhouette(capture: Capture, index: int) -> bool:
    """True where alpha or a mask says what the object in a photograph is."""
    frame = capture.frames[index]
    return frame.load_mask is not None or frame.load().shape[-1] == 4


def _with_alpha(capture: Capture, index: int) -> np.ndarray:
    """uint8 [H, W, 4] where something says what the object is, else [H, W, 3]."""
    frame = capture.frames[index]
    pixels = frame.load()
    if pixels.shape[-1] == 4 or frame.load_mask is None:
        return pixels
    return np.dstack([pixels, frame.load_mask().astype(np.uint8) * 255])


def _crop(pixels: np.ndarray, name: str) -> tuple[int, int, int]:
    """(left, top, side) in pixels of the square around the object; it may reach beyond the picture."""
    height, width = pixels.shape[:2]
    if pixels.shape[-1] == 3:
        side = min(height, width)
        return (width - side) // 2, (height - side) // 2, side
    rows, columns = (np.flatnonzero((pixels[..., 3] >= OPAQUE).any(axis=axis)) for axis in (1, 0))
    if len(rows) == 0:
        raise BadInputError(f"The mask of {name} is empty: it should show the object. Leave the photograph out.")
    side = math.ceil((max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1) / OBJECT_SHARE)
    return int(columns[0] + columns[-1] + 1 - side) // 2, int(rows[0] + rows[-1] + 1 - side) // 2, side


def _cut(pixels: np.ndarray, left: int, top: int, side: int) -> np.ndarray:
    """The square [side, side, C] of the picture, zeros where it reaches beyond."""
    out = np.zeros((side, side, pixels.shape[-1]), np.uint8)
    height, width = pixels.shape[:2]
    y0, y1, x0, x1 = max(top, 0), min(top + side, height), max(left, 0), min(left + side, width)
    out[y0 - top : y1 - top, x0 - left : x1 - left] = pixels[y0:y1, x0:x1]
    return out


def _resized(pixels: np.ndarray, side_px: int) -> Tensor:
    """uint8 [side_px, side_px, C]; colours weigh by their alpha, so that hidden ones do not bleed in."""
    method = cv2.INTER_AREA if pixels.shape[0] >= side_px else cv2.INTER_LINEAR
    values = pixels.astype(np.float32)
    if pixels.shape[-1] == 4:
        values[..., :3] *= values[..., 3:] / 255
    small: np.ndarray = cv2.resize(values, (side_px, side_px), interpolation=method)
    if pixels.shape[-1] == 4:
        small[..., :3] *= 255 / np.maximum(small[..., 3:], 1e-3)
    return torch.from_numpy(np.clip(np.rint(small), 0, 255).astype(np.uint8))
