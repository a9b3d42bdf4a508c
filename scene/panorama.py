"""Pictures that were not taken through one lens: stitched panoramas, which no pinhole camera explains."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np

from .images import ImageHeader, load_pixels

MAX_ASPECT = 4  # of the longer to the shorter side; cinema is 2.4, and a strip cut from a photograph may be this narrow
_HEAD_BYTES = 256 * 1024  # XMP stands before the pixels, in blocks of at most 64 KiB
_PROJECTION = re.compile(rb"GPano:ProjectionType[\s\"'=>]{1,4}(equirectangular|cylindrical)", re.IGNORECASE)
_SMALL = (256, 128)  # width, height in which the edges of a picture are compared


def panorama_reason(path: Path, header: ImageHeader, max_megapixels: float) -> str | None:
    """A sentence why a photograph is none that a camera's lens can have made, or None.

    It says so itself (XMP GPano), or is longer than any, or is twice as wide as high and closes round the circle.
    """
    width, height = header.width, header.height
    if max(width, height) > MAX_ASPECT * min(width, height):
        return (
            f"{path} has {width} x {height} pixels, a longer side of more than {MAX_ASPECT} times the shorter one, as "
            "only stitched panoramas have; photographs through one lens are expected."
        )
    if _says_so(path) or (width == 2 * height and _closes(load_pixels(path, max_megapixels)[..., :3])):
        return (
            f"{path} is a panorama stitched from many directions; photographs through one lens are expected. Cut "
            "ordinary views out of it, or leave it out."
        )
    return None


def _says_so(path: Path) -> bool:
    with path.open("rb") as file:
        return _PROJECTION.search(file.read(_HEAD_BYTES)) is not None


def _closes(pixels: np.ndarray) -> bool:
    """True where a picture [H, 2 H, 3] goes on from its right edge to its left, and shrinks to a point above and below.

    The jump over the seam must be about as small as between the columns beside it, in columns that have contrast; the
    first and the last row of a whole sphere are one point each.
    """
    shrunk = cv2.resize(pixels, _SMALL, interpolation=cv2.INTER_AREA) if len(pixels) > _SMALL[1] else pixels
    small = shrunk.astype(np.float32)
    beside = np.abs(np.diff(small[:, [0, 1, 2, -3, -2, -1]], axis=1)).mean((0, 2))[[0, 1, 3, 4]].max()
    seam = float(np.abs(small[:, 0] - small[:, -1]).mean())
    contrast = float(small[:, 0].std(axis=0).mean())
    poles = max(float(small[row].std(axis=0).mean()) for row in (0, -1))
    return contrast > 8 and seam <= 1.5 * float(beside) + 2 and poles < 0.3 * contrast
