"""Settings of matching and structure from motion that a person may choose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...scene.errors import BadInputError
from .matchers import Kind


@dataclass(frozen=True)
class PosesConfig:
    """Settings of features, matches and structure from motion."""

    features: Kind = "auto"  # aliked (slow), xfeat (fast), sift (no weights); auto: xfeat, and aliked where that fails
    image_side_px: int = 1024  # longer side of the copies in which features are looked for
    keypoints: int = 0  # features kept in each photograph; 0: 2048 for up to 12 photographs, 1536 up to 24, else 1024
    all_pairs_up_to: int = 24  # photographs; every pair is matched up to this many, likely pairs only beyond it
    neighbours: int = 8  # likely partners that each photograph is matched with, beyond `all_pairs_up_to`
    distortion: Literal["auto", "on", "off"] = "auto"  # radial lens distortion; auto: from 7 photographs on
    hold_focal: bool = False  # whether focal lengths that the frames state are exact and stay as they are
    min_confidence: float = 0.0  # cameras that are less likely right are left out; see `Poses.confidence`
    seed: int = 0  # of the robust estimators; the same seed gives the same cameras
    device: str = "cpu"  # of the networks that find and match features

    def __post_init__(self) -> None:
        for name, least in (("image_side_px", 64), ("keypoints", 0), ("all_pairs_up_to", 2), ("neighbours", 1)):
            if getattr(self, name) < least:
                raise BadInputError(f"{name} should be at least {least}, found {getattr(self, name)}.")
        if not 0 <= self.min_confidence <= 1:
            raise BadInputError(f"min_confidence should be in 0 to 1, found {self.min_confidence}.")

    def keypoints_for(self, n_images: int) -> int:
        """Features an image: matching costs their square for each pair, and pairs grow with the images."""
        if self.keypoints:
            return self.keypoints
        return 2048 if n_images <= 12 else 1536 if n_images <= 24 else 1024

    def wants_distortion(self, n_images: int) -> bool:
        return self.distortion == "on" or (self.distortion == "auto" and n_images >= DISTORTION_MIN_VIEWS)


# With fewer views a radial term and the focal length trade against each other.
DISTORTION_MIN_VIEWS = 7
