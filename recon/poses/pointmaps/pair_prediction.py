"""The pairwise interface of dense stereo: two prepared photographs in, two pointmaps in the first one's frame out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ....scene.cameras import Cameras
from ....scene.progress import Progress, silent

SIDE_PX = 512  # longer side that the pointmap networks were trained at (DUSt3R, Wang et al., CVPR 2024)
PATCH_PX = 16  # of their transformers: both sides are multiples of it

Edge = tuple[int, int]  # an ordered pair (i, j) of view indices


@dataclass(frozen=True)
class PairPrediction:
    """Pointmaps of one ordered pair (i, j): the points behind the pixels of both views, in an own unit of length.

    Confidence is at least 1, and exactly 1 where nothing is known.
    """

    points_i: Tensor  # [H_i, W_i, 3] float32, in the frame of camera i
    points_j: Tensor  # [H_j, W_j, 3] float32, in the frame of camera i too
    confidence_i: Tensor  # [H_i, W_i] float32
    confidence_j: Tensor  # [H_j, W_j] float32

    def __post_init__(self) -> None:
        for points, confidence in ((self.points_i, self.confidence_i), (self.points_j, self.confidence_j)):
            if points.ndim != 3 or points.shape != (*confidence.shape, 3):
                raise ValueError(
                    f"expected points [H, W, 3] with confidence [H, W], found {tuple(points.shape)} and "
                    f"{tuple(confidence.shape)}"
                )

    @property
    def score(self) -> float:
        """Strength of the pair: the product of both mean confidences, 1 where it says nothing."""
        return float(self.confidence_i.double().mean() * self.confidence_j.double().mean())

    @property
    def is_empty(self) -> bool:
        """True where every pixel has confidence 1, so that the pair has no weight at all."""
        return bool((self.confidence_i <= 1).all() and (self.confidence_j <= 1).all())


class PairPredictor(Protocol):
    """A network or another source of pairs of pointmaps; images come prepared, and results have their sizes."""

    def predict(self, image_i: Tensor, image_j: Tensor) -> PairPrediction:
        """The prediction for uint8 images [H_i, W_i, 3] and [H_j, W_j, 3], sRGB."""

    def predict_pairs(self, images: Sequence[Tensor], progress: Progress = ...) -> dict[Edge, PairPrediction]:
        """`predict` of every ordered pair of different images, what concerns one image computed once."""


def all_ordered_pairs(n: int) -> list[Edge]:
    """The n (n - 1) ordered pairs of n views, as InstantSplat asks for them."""
    return list(itertools.permutations(range(n), 2))


def predict_each(
    predict: Callable[[Tensor, Tensor], PairPrediction],
    images: Sequence[Tensor],  # N of uint8 [H, W, 3], prepared
    progress: Progress = silent,
) -> dict[Edge, PairPrediction]:
    """All ordered pairs, one after the other; the two orders of a pair follow each other."""
    edges = sorted(all_ordered_pairs(len(images)), key=lambda e: (min(e), max(e), e))
    found = {}
    for done, (i, j) in enumerate(edges):
        progress("comparing pairs", done, len(edges))
        found[i, j] = predict(images[i], images[j])
    progress("comparing pairs", len(edges), len(edges))
    return found


@dataclass(frozen=True)
class PreparedImage:
    """A photograph at the size that pair predictors want, and how to get back to the whole of it."""

    pixels: Tensor  # [H, W, 3] uint8 sRGB
    prepared_from_image: Tensor  # [3, 3] float64, pixels to pixels (centres at +0.5): the resize, then the crop
    image_width: int  # pixels, of the whole photograph
    image_height: int

    def image_camera(self, camera: Cameras) -> Cameras:
        """A camera [] of the prepared picture as that of the whole photograph."""
        K = torch.linalg.inv(self.prepared_from_image) @ camera.K.double()
        width, height = torch.tensor(self.image_width), torch.tensor(self.image_height)
        return Cameras(camera.cam_from_world, K.to(camera.K), width, height)

    def prepared_camera(self, camera: Cameras) -> Cameras:
        """A camera [] of the whole photograph as that of the prepared picture."""
        K = self.prepared_from_image @ camera.K.double()
        height, width = torch.tensor(self.pixels.shape[:2])
        return Cameras(camera.cam_from_world, K.to(camera.K), width, height)


def prepare_image(
    image: Tensor,  # [H, W, 3] uint8 sRGB
    side_px: int = SIDE_PX,
) -> PreparedImage:
    """Resize the longer side to `side_px` (Lanczos when shrinking, else bicubic), then crop around the centre.

    Both sides become multiples of 16, and a square becomes 4:3, which is what the networks have seen in training.
    Raises ValueError when nothing is left of the shorter side.
    """
    height, width = image.shape[:2]
    longer = max(width, height)
    resized_w, resized_h = round(width * side_px / longer), round(height * side_px / longer)
    half_w, half_h = resized_w // PATCH_PX * PATCH_PX // 2, resized_h // PATCH_PX * PATCH_PX // 2
    if resized_w == resized_h:
        half_h = 3 * half_w // 4
    if min(half_w, half_h) < 1:
        raise ValueError(f"expected an image whose sides differ by less than {side_px // PATCH_PX} times, found "
                         f"{width} x {height} pixels")  # fmt: skip
    kernel = Image.Resampling.LANCZOS if longer > side_px else Image.Resampling.BICUBIC
    resized = np.asarray(Image.fromarray(image.numpy()).resize((resized_w, resized_h), kernel))
    left, top = resized_w // 2 - half_w, resized_h // 2 - half_h
    cropped = torch.from_numpy(resized[top : top + 2 * half_h, left : left + 2 * half_w].copy())
    x, y = resized_w / width, resized_h / height
    prepared_from_image = torch.tensor([[x, 0, -left], [0, y, -top], [0, 0, 1]], dtype=torch.float64)
    return PreparedImage(cropped, prepared_from_image, width, height)
