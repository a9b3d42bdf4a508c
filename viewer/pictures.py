"""Pictures for people to look at: photographs made small, renderings, and how they differ."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from ..recon.pipeline.seen_pixels import marked_unseen
from ..render import render
from ..render.rendering import Rendering
from ..scene.cameras import Cameras
from ..scene.capture import Capture, fit_size
from ..scene.splat import Splat

THUMBNAIL_PX = 192
ERROR_RANGE = 0.25  # the mean absolute difference of a pixel that is shown as the brightest


def rendered(
    splat: Splat,
    camera: Cameras,  # batch shape []
    max_side_px: int,
    time_s: float | None = None,
) -> Rendering:
    """A splat as it was trained, filter and background included, its picture's longer side at most `max_side_px`.

    At a moment; the first one when None. All spherical harmonics are in it.
    """
    width, height = fit_size(int(camera.width), int(camera.height), max_side_px)
    with torch.no_grad():
        gaussians = splat.at(time_s)
        under = torch.tensor(splat.background, dtype=gaussians.means.dtype, device=gaussians.means.device)
        return render(gaussians, camera.resized(width, height), background=under, antialiased=splat.antialiased)


def rgb8(rgb: Tensor) -> np.ndarray:
    """uint8 [...] of colours in [0, 1]."""
    return (rgb.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()


def render_rgb8(splat: Splat, camera: Cameras, max_side_px: int, time_s: float | None = None) -> np.ndarray:
    """uint8 [H, W, 3] of what is `rendered`."""
    return rgb8(rendered(splat, camera, max_side_px, time_s).rgb)


def thumbnail(
    capture: Capture, index: int, max_side_px: int = THUMBNAIL_PX, background: Sequence[float] | None = None
) -> np.ndarray:
    """uint8 [H, W, 3], transparent pixels in the colour of `background` [3]."""
    frame = capture.frames[index]
    return opaque(capture.image(index, *fit_size(frame.width, frame.height, max_side_px)).numpy(), background)


def opaque(pixels: np.ndarray, background: Sequence[float] | None = None) -> np.ndarray:
    """uint8 [H, W, 3] of [H, W, 3 or 4] with straight alpha, over `background` [3] in [0, 1], white unless given."""
    if pixels.shape[-1] == 3:
        return pixels
    alpha = pixels[..., 3:].astype(np.float32) / 255
    under = 255 * np.asarray((1.0, 1.0, 1.0) if background is None else background, np.float32)
    return np.rint(pixels[..., :3] * alpha + under * (1 - alpha)).astype(np.uint8)


def behind(color: Sequence[float], striped: bool) -> np.ndarray:
    """uint8 [H, W, 3] for the page behind a splat: a colour [3] in [0, 1], or stripes over it."""
    width, height = (960, 540) if striped else (2, 2)
    picture = torch.tensor(color).expand(height, width, 3)
    if striped:
        picture = marked_unseen(picture, torch.zeros(height, width, dtype=torch.bool))
    return np.rint(255 * picture.numpy()).astype(np.uint8)


def resize_to(image: np.ndarray, width: int, height: int) -> np.ndarray:
    shrinking = width <= image.shape[1]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR)


def error_map(
    image: np.ndarray,  # uint8 [H, W, 3]
    target: np.ndarray,  # uint8 [H, W, 3]
) -> np.ndarray:
    """uint8 [H, W, 3]: the mean absolute difference of each pixel, black where equal, yellow from 0.25 on."""
    difference = np.abs(image.astype(np.float32) - target.astype(np.float32)).mean(-1) / 255
    scaled = np.rint(np.clip(difference / ERROR_RANGE, 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(cv2.applyColorMap(scaled, cv2.COLORMAP_INFERNO)[..., ::-1])


def wiped(left: np.ndarray, right: np.ndarray, share: float) -> np.ndarray:
    """uint8 pictures [H, W, 3] of one size: the first left of a line, the second right of it.

    `share` in [0, 1] is how much of the width the first has.
    """
    width = left.shape[1]
    column = round(min(max(share, 0.0), 1.0) * width)
    picture = np.concatenate([left[:, :column], right[:, column:]], axis=1)
    if 0 < column < width:
        picture[:, column - 1 : column + 1] = 255
    return picture


def side_by_side(left: np.ndarray, right: np.ndarray, gap_px: int = 6) -> np.ndarray:
    """uint8 pictures [H, W, 3] of one size next to each other when upright, above each other when wide."""
    axis = 1 if left.shape[0] >= left.shape[1] else 0
    gap_shape = list(left.shape)
    gap_shape[axis] = gap_px
    return np.concatenate([left, np.full(gap_shape, 255, np.uint8), right], axis=axis)
