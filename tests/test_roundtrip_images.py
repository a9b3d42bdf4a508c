"""Files of cameras and editors come out as upright 8-bit RGB or RGBA, with the focal length that EXIF tells."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fewview.scene.images import load_depth, load_mask, load_pixels, read_header
from PIL import ExifTags, Image
from support.data import shared_data
from support.datasets import write_photo

# (top left, top right, bottom left, bottom right) quadrant colours of the upright picture
_QUADRANTS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8)
_UPRIGHT = _QUADRANTS.repeat(8, 0).repeat(16, 1)  # 16 x 32
# What a camera held in some way stores, for EXIF orientation 1 to 8 (from the standard's table of row 0, column 0).
_STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


def _exif(**tags: Any) -> Image.Exif:
    exif = Image.Exif()
    for name, value in tags.items():
        tag = ExifTags.Base[name]
        if name in ("Orientation", "Model", "Make"):
            exif[tag] = value
        else:
            exif.get_ifd(ExifTags.IFD.Exif)[tag] = value
    return exif


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_orientation_is_applied(tmp_path: Path, orientation: int, form: str) -> None:
    stored = np.ascontiguousarray(_STORED[orientation](_UPRIGHT))
    options = {"lossless": True} if form == "WEBP" else {"quality": 100, "subsampling": 0} if form == "JPEG" else {}
    Image.fromarray(stored).save(tmp_path / "a", format=form, exif=_exif(Orientation=orientation), **options)
    header = read_header(tmp_path / "a")
    assert (header.width, header.height) == (32, 16)
    error = np.abs(load_pixels(tmp_path / "a").astype(int) - _UPRIGHT)
    assert error.max() <= (4 if form == "JPEG" else 0)  # JPEG at quality 100 rounds its coefficients


@pytest.mark.parametrize(
    ("mode", "channels"),
    [("1", 3), ("L", 3), ("P", 3), ("RGB", 3), ("CMYK", 3), ("LA", 4), ("RGBA", 4)],
)
def test_colour_modes(tmp_path: Path, mode: str, channels: int) -> None:
    form = "TIFF" if mode == "CMYK" else "PNG"
    write_photo(tmp_path / "a", mode=mode, format=form)
    pixels = load_pixels(tmp_path / "a")
    assert pixels.shape == (30, 40, channels)
    assert pixels.dtype == np.uint8
    assert pixels.std() > 10


def test_transparent_palette_and_16_bit_grey(tmp_path: Path) -> None:
    palette = Image.new("P", (4, 3), 1)
    palette.putpalette([0, 0, 0, 200, 100, 50])
    palette.save(tmp_path / "p.png", transparency=1)
    assert load_pixels(tmp_path / "p.png")[0, 0].tolist() == [200, 100, 50, 0]
    ramp = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
    Image.fromarray(ramp).save(tmp_path / "g.png")
    assert np.array_equal(load_pixels(tmp_path / "g.png")[..., 0], np.arange(256).reshape(16, 16))


class TestFocalLength:
    def _focal(self, path: Path, width: int = 400, height: int = 300, **tags: Any) -> float | None:
        Image.new("RGB", (width, height)).save(path, format="JPEG", exif=_exif(**tags))
        return read_header(path).focal_px

    def test_35_mm_equivalent_is_by_the_diagonal(self, tmp_path: Path) -> None:
        expected = 28 / math.hypot(36, 24) * 500
        assert self._focal(tmp_path / "a", FocalLengthIn35mmFilm=28, FocalLength=4.2) == pytest.approx(expected)

    def test_orientation_does_not_change_it(self, tmp_path: Path) -> None:
        flat, turned = (self._focal(tmp_path / "a", FocalLengthIn35mmFilm=28, Orientation=o) for o in (1, 6))
        assert flat == turned

    def test_sensor_resolution_of_a_resized_copy(self, tmp_path: Path) -> None:
        # 4000 pixels over 20 mm and a 30 mm lens: 1.5 sensor widths, whatever the copy's size.
        tags = {"FocalLength": 30.0, "FocalPlaneXResolution": 2000.0, "FocalPlaneResolutionUnit": 3}
        assert self._focal(tmp_path / "a", **tags, ExifImageWidth=4000, ExifImageHeight=3000) == pytest.approx(600)

    def test_known_cameras(self, tmp_path: Path) -> None:
        with Image.open(shared_data("lund_street") / "images" / "03.jpg") as photo:
            exif = photo.getexif()
            del exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm]
            exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = "Apple", "iPhone 4S"
            photo.save(tmp_path / "a.jpg", exif=exif)
        # 4.3 mm over a sensor of 4.54 mm, as the maker states it.
        assert read_header(tmp_path / "a.jpg").focal_px == pytest.approx(4.3 / 4.54 * 1024, rel=1e-3)

    @pytest.mark.parametrize(
        "tags",
        [
            {},
            {"FocalLength": 5.0},
            {"FocalLengthIn35mmFilm": 0},
            {"FocalLengthIn35mmFilm": 60000},
            {"FocalLength": 5.0, "Model": "No such camera"},
            {"FocalLength": 30.0, "FocalPlaneXResolution": 0.0},
        ],
    )
    def test_no_guess_where_nothing_is_known(self, tmp_path: Path, tags: dict[str, Any]) -> None:
        assert self._focal(tmp_path / "a", **tags) is None


def test_masks_and_depths(tmp_path: Path) -> None:
    values = np.array([[0, 1, 255], [0, 0, 7]], np.uint8)
    Image.fromarray(values).save(tmp_path / "m.png")
    assert load_mask(tmp_path / "m.png", 3, 2).tolist() == [[False, True, True], [False, False, True]]
    assert load_mask(tmp_path / "m.png", 6, 4).shape == (4, 6)
    Image.fromarray(np.array([[0, 1500], [65535, 1]], np.uint16)).save(tmp_path / "d.png")
    assert load_depth(tmp_path / "d.png", 2, 2) == pytest.approx(np.array([[0, 1.5], [65.535, 0.001]]))
    np.save(tmp_path / "d.npy", np.array([[np.nan, 1500.0], [-1.0, np.inf]]))
    assert load_depth(tmp_path / "d.npy", 2, 2) == pytest.approx(np.array([[0, 1.5], [0, 0]]))
