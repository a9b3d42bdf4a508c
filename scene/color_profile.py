"""Photographs whose colours are not sRGB: an iPhone's are Display P3, and look pale where that is not heeded."""

from __future__ import annotations

import functools
import io
from typing import Any

from PIL import Image, ImageCms

MAX_PROFILE_BYTES = 1 << 20  # those of cameras have a few thousand


def in_srgb(image: Image.Image) -> Image.Image:
    """An RGB or RGBA image with its colours in sRGB, by the ICC profile that the file holds.

    The same image where it has none, where that is sRGB already, and where it is damaged.
    """
    data = image.info.get("icc_profile")
    if image.mode not in ("RGB", "RGBA") or not isinstance(data, bytes) or not 0 < len(data) <= MAX_PROFILE_BYTES:
        return image
    transform = _transform(data, image.mode)
    return image if transform is None else ImageCms.applyTransform(image, transform) or image


@functools.lru_cache(maxsize=4)  # all photographs of a camera have one
def _transform(profile: bytes, mode: str) -> Any:
    try:
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if given.profile.xcolor_space.strip() != "RGB" or "sRGB" in (given.profile.profile_description or ""):
            return None
        return ImageCms.buildTransform(given, _srgb(), mode, mode, ImageCms.Intent.RELATIVE_COLORIMETRIC)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


@functools.cache
def _srgb() -> Any:
    return ImageCms.createProfile("sRGB")
