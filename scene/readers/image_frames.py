"""Frames over image files: decoded, undistorted and masked only when asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..capture import Frame
from ..errors import BadInputError
from ..images import ImageHeader, load_depth, load_mask, load_pixels, read_header
from .lens import Lens


@dataclass(frozen=True)
class FileFrame:
    """The files of one view and the lens they were taken through (already at the photograph's size)."""

    image: Path
    width: int
    height: int
    max_megapixels: float
    lens: Lens | None = None
    mask: Path | None = None
    depth: Path | None = None
    as_stored: bool = False  # the EXIF orientation is not applied: the lens is of the pixels as they lie in the file

    def pixels(self) -> np.ndarray:
        pixels = load_pixels(self.image, self.max_megapixels, as_stored=self.as_stored)
        if pixels.shape[:2] != (self.height, self.width):
            raise BadInputError(
                f"{self.image} had {self.width} x {self.height} pixels when it was first looked at and now has "
                f"{pixels.shape[1]} x {pixels.shape[0]}; start again."
            )
        return pixels if self.lens is None else self.lens.undistort(pixels)

    def counts(self) -> np.ndarray:
        """bool [H, W]: inside the mask file, if there is one, and covered by the photograph."""
        counts = np.ones((self.height, self.width), bool)
        if self.mask is not None:
            counts = load_mask(self.mask, self.width, self.height, self.max_megapixels)
        if self.lens is not None:
            counts = self.lens.undistort(counts.astype(np.uint8), nearest=True).astype(bool)
            covered = self.lens.covered()
            counts = counts if covered is None else counts & covered
        return counts

    def metres(self) -> np.ndarray:
        """Depth along the optical axis, float32 [H, W]; undistorting moves the values and leaves them as they are."""
        assert self.depth is not None
        depth = load_depth(self.depth, self.width, self.height, self.max_megapixels)
        if self.lens is None or self.lens.is_pinhole:
            return depth
        depth = self.lens.undistort(depth, nearest=True)
        covered = self.lens.covered()
        return depth if covered is None else np.where(covered, depth, np.float32(0))


def file_frame(
    name: str,
    image: Path,
    max_megapixels: float,
    lens: Lens | None = None,
    mask: Path | None = None,
    depth: Path | None = None,
    header: ImageHeader | None = None,
    as_stored: bool = False,
) -> Frame:
    """A frame over a photograph; `lens` must be for the photograph's own size.

    `header`, where it is known, is that of the pixels `as_stored` or upright, as is asked for. Raises BadInputError
    when the photograph's header cannot be read.
    """
    header = header or read_header(image, max_megapixels)
    files = FileFrame(image, header.width, header.height, max_megapixels, lens, mask, depth, as_stored)
    masked = mask is not None or (lens is not None and not lens.covers_all)
    return Frame(
        name=name,
        width=header.width,
        height=header.height,
        load=files.pixels,
        focal_px=header.focal_px,
        load_mask=files.counts if masked else None,
        load_depth=None if depth is None else files.metres,
        position=header.position,
    )
