"""Colours of other profiles than sRGB, as a phone's photographs have them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fewview.scene.color_profile import MAX_PROFILE_BYTES
from fewview.scene.images import load_pixels
from PIL import Image, ImageCms
from support.icc_profile import DISPLAY_P3, SRGB, in_srgb, profile

PATCHES = np.array(
    [[[200, 60, 40], [60, 180, 70], [50, 60, 190]], [[128, 128, 128], [0, 0, 0], [230, 200, 90]]], np.uint8
)
# Two levels: LittleCMS computes in 16 bits with tables, and the file in 8.
ROUNDING = 2.0


@pytest.mark.parametrize("alpha", [False, True])
def test_colours_of_display_p3_become_srgb(alpha: bool, tmp_path: Path) -> None:
    pixels = np.dstack([PATCHES, np.full((2, 3), 90, np.uint8)]) if alpha else PATCHES
    Image.fromarray(pixels).save(tmp_path / "a.png", icc_profile=profile(DISPLAY_P3))
    found = load_pixels(tmp_path / "a.png")
    expected = in_srgb(PATCHES, DISPLAY_P3)
    assert np.abs(found[..., :3] - expected).max() <= ROUNDING
    assert np.abs(expected - PATCHES).max() > 5 * ROUNDING  # which would be seen
    assert not alpha or (found[..., 3] == 90).all()


def test_greys_stay_grey_and_a_profile_of_the_same_primaries_changes_only_the_curve(tmp_path: Path) -> None:
    Image.fromarray(PATCHES).save(tmp_path / "a.png", icc_profile=profile(SRGB, "none in particular"))
    assert np.abs(load_pixels(tmp_path / "a.png") - in_srgb(PATCHES, SRGB)).max() <= ROUNDING


@pytest.mark.parametrize(
    "data",
    [
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        profile(DISPLAY_P3, "sRGB as far as its name says"),
        profile(DISPLAY_P3)[:150],
        b"\xff" * 500,
        profile(DISPLAY_P3) + bytes(MAX_PROFILE_BYTES),
    ],
    ids=["sRGB", "named sRGB", "cut short", "noise", "too long"],
)
def test_pixels_stay_where_there_is_nothing_to_convert_by(data: bytes, tmp_path: Path) -> None:
    Image.fromarray(PATCHES).save(tmp_path / "a.tif", icc_profile=data)
    assert np.array_equal(load_pixels(tmp_path / "a.tif"), PATCHES)
