"""What a person may choose about pose estimation, and what it gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ...scene.capture import Capture
from ...scene.errors import BadInputError
from .matchers import Kind


@dataclass(frozen=True)
class PosesConfig:
    """How cameras are found."""

    features: Kind = "auto"  # aliked (slow), xfeat (fast), sift (no weights); auto: xfeat, and aliked where that fails
    image_side_px: int = 1024  # longer side of the copies in which features are looked for
    keypoints: int = 0  # features kept in each photograph; 0: 2048 for up to 12 photographs, 1536 up to 24, else 1024
    all_pairs_up_to: int = 24  # photographs; every pair is matched up to this many, likely pairs only beyond it
    neighbours: int = 8  # likely partners that each photograph is matched with, beyond `all_pairs_up_to`
    distortion: Literal["auto", "on", "off"] = "auto"  # radial lens distortion; auto: from 7 photographs on
    hold_focal: bool = False  # whether focal lengths that the frames state are exact and stay as they are
    seed: int = 0  # of the robust estimators; the same seed gives the same cameras

    def __post_init__(self) -> None:
        for name, least in (("image_side_px", 64), ("keypoints", 0), ("all_pairs_up_to", 2), ("neighbours", 1)):
            if getattr(self, name) < least:
                raise BadInputError(f"{name} should be at least {least}, found {getattr(self, name)}.")

    def keypoints_for(self, n_images: int) -> int:
        """Features an image: matching costs their square for each pair, and pairs grow with the images."""
        if self.keypoints:
            return self.keypoints
        return 2048 if n_images <= 12 else 1536 if n_images <= 24 else 1024

    def wants_distortion(self, n_images: int) -> bool:
        return self.distortion == "on" or (self.distortion == "auto" and n_images >= DISTORTION_MIN_VIEWS)


# With fewer views a radial term and the focal length trade against each other.
DISTORTION_MIN_VIEWS = 7


@dataclass(frozen=True)
class Poses:
    """Placed photographs, and why the others are not among them.

    The world is right-handed with z up; the first placed camera looks along +y (seen from above), and the origin is the
    median of the points. Where the photographs' own positions tell the scale, a unit is a metre and `capture.points`
    says so (`metric`); else the median distance from a camera to a point that it sees is 4.
    """

    capture: Capture  # the placed frames only, undistorted, with cameras and observed points
    placed: list[int]  # indices into the capture that was given, ascending
    unplaced: dict[int, str]  # index into the capture that was given -> a sentence why
    seconds: dict[str, float]  # wall time of each stage
    stats: dict[
        str, Any
    ]  # features, pairs, matches, inliers, points, observations, error_px, focal_px, scale (if metric), ...
