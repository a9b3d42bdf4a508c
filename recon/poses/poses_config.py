"""Settings of matching and structure from motion that a person may choose."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...scene.errors import BadInputError
from .matchers import Kind


@dataclass(frozen=True)
class PosesConfig:
    """Settings of features, matches and structure from motion."""

    features: Kind = "auto"  # aliked (slow), xfeat (fast), sift (no weights); auto: xfeat, and aliked where that fails
    image_side_px: int = 1024  # longer side of the copies in which features are looked for
    keypoints: int = 2048  # features kept in each photograph; the strongest are matched first
    partners: int = 12  # likely partners that each photograph is matched with at most
    verified_partners: int = 7  # partners with which each photograph agrees, from which on no more are looked for
    all_pairs_up_to: int = 24  # photographs with cameras; all that look the same way are matched up to this many
    neighbours: int = 8  # partners of each photograph with a camera, beyond `all_pairs_up_to`
    distortion: Literal["auto", "on", "off"] = "auto"  # radial lens distortion; auto: from 7 photographs on
    hold_focal: bool = False  # whether focal lengths that the frames state are exact and stay as they are
    min_confidence: float = 0.0  # cameras that are less likely right are left out; see `Poses.confidence`
    seed: int = 0  # of the robust estimators; the same seed gives the same cameras
    device: str = "cpu"  # of the networks that find and match features
    store: Path | None = None  # file that features and matches are kept in, so that what was interrupted goes on

    def __post_init__(self) -> None:
        least_of = {"image_side_px": 64, "keypoints": 1, "partners": 1, "verified_partners": 1, "all_pairs_up_to": 2}
        for name, least in {**least_of, "neighbours": 1}.items():
            if getattr(self, name) < least:
                raise BadInputError(f"{name} should be at least {least}, found {getattr(self, name)}.")
        if not 0 <= self.min_confidence <= 1:
            raise BadInputError(f"min_confidence should be in 0 to 1, found {self.min_confidence}.")

    def wants_distortion(self, n_images: int) -> bool:
        return self.distortion == "on" or (self.distortion == "auto" and n_images >= DISTORTION_MIN_VIEWS)


# With fewer views a radial term and the focal length trade against each other.
DISTORTION_MIN_VIEWS = 7
