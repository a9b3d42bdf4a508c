"""Pictures of results as JPEG files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ..scene.errors import FewviewError
from ..scene.files import make_folder, write_bytes


def evenly_spread(count: int, wanted: int) -> set[int]:
    """At most `wanted` of the numbers below `count`, the first and the last among them."""
    return set(np.linspace(0, count - 1, min(count, wanted)).round().astype(int).tolist()) if count else set()


def write_picture(
    path: Path,
    picture: np.ndarray,  # uint8 [H, W, 3] sRGB
) -> None:
    """Write a JPEG; its folder is made where it is missing."""
    make_folder(path.parent)
    ok, encoded = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    if not ok:
        raise FewviewError(f"{path} could not be encoded.")
    write_bytes(path, encoded.tobytes())
