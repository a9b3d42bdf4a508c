"""An iPhone's photographs: HEIC files, made here with the encoder of pillow-heif, through readers and the command."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from fewview.commands import doctor
from fewview.scene.errors import BadInputError
from fewview.scene.images import check_decodes, load_pixels, read_header
from fewview.scene.readers import read_capture
from fewview.scene.run import Run
from PIL import ExifTags, Image
from support.capture_folder import write_capture
from support.command import fewview
from support.icc_profile import DISPLAY_P3, in_srgb, profile

pillow_heif = pytest.importorskip("pillow_heif", reason="pillow-heif, which `fewview[heic]` brings, is not installed")

RED, GREEN, BLUE, GREY = (200, 60, 50), (60, 170, 70), (60, 70, 190), (120, 120, 120)
TURNS = {1: 0, 3: 2, 6: 3, 8: 1}  # quarter turns against the clock that EXIF's orientations ask for
LOSSY = 6.0  # levels that HEVC at quality 95 may lose on flat patches, colours at half the size


def quarters() -> np.ndarray:
    """[64, 96, 3]: red and green above, blue and grey below."""
    top = np.concatenate([np.full((32, 48, 3), c, np.uint8) for c in (RED, GREEN)], axis=1)
    bottom = np.concatenate([np.full((32, 48, 3), c, np.uint8) for c in (BLUE, GREY)], axis=1)
    return np.concatenate([top, bottom])


def write_heic(path: Path, pixels: np.ndarray, orientation: int = 1, icc: bytes | None = None, **more: object) -> None:
    """A photograph as a phone stores it: pixels as the sensor lies, and how to turn them (`irot`, and in EXIF)."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = "Apple", "iPhone 15"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = 26
    heif = pillow_heif.from_pillow(Image.fromarray(pixels))
    heif.save(path, quality=95, exif=exif.tobytes(), icc_profile=icc, **more)


@pytest.mark.parametrize("orientation", TURNS)
def test_a_photograph_comes_upright_with_its_focal_length(orientation: int, tmp_path: Path) -> None:
    path = tmp_path / "IMG_0001.HEIC"
    write_heic(path, quarters(), orientation)
    upright = np.rot90(quarters(), TURNS[orientation])
    check_decodes(path)
    header = read_header(path)
    assert (header.height, header.width) == upright.shape[:2]
    # 26 mm on a film of 43.27 mm across: the same angle, whichever way it is held.
    assert header.focal_px == pytest.approx(26 / np.hypot(36, 24) * np.hypot(64, 96), rel=1e-3)
    found = load_pixels(path)
    inside = np.zeros(upright.shape[:2], bool)
    for rows in (slice(4, header.height // 2 - 4), slice(header.height // 2 + 4, -4)):
        for columns in (slice(4, header.width // 2 - 4), slice(header.width // 2 + 4, -4)):
            inside[rows, columns] = True
    assert np.abs(found.astype(float) - upright)[inside].max() <= LOSSY


def test_its_colour_profile_is_heeded(tmp_path: Path) -> None:
    write_heic(tmp_path / "a.heic", quarters(), icc=profile(DISPLAY_P3))
    found = load_pixels(tmp_path / "a.heic")[16, 24].astype(float)
    expected = in_srgb(np.array(RED), DISPLAY_P3)
    assert np.abs(found - expected).max() <= LOSSY
    assert np.abs(expected - RED).max() > LOSSY


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    write_heic(tmp_path / "a.heic", quarters())
    whole = (tmp_path / "a.heic").read_bytes()
    for length in (40, len(whole) // 2, len(whole) - 20):
        (tmp_path / "a.heic").write_bytes(whole[:length])
        with pytest.raises(BadInputError, match=r"a\.heic"):
            load_pixels(tmp_path / "a.heic")


def test_a_folder_of_them_is_reconstructed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The generated scene with its photographs turned into HEIC, named in `transforms.json` as before."""
    folder = write_capture(tmp_path / "scene")
    photographs = sorted((folder / "images").iterdir())
    for photograph in photographs:
        write_heic(photograph.with_suffix(".heic"), np.array(Image.open(photograph).convert("RGB")))
        photograph.unlink()
    capture = read_capture(folder)
    assert len(capture) == len(photographs)
    outcome = fewview(
        capsys, "reconstruct", str(folder), "-o", str(tmp_path / "run"), "--steps", "20", "--method", "3dgs"
    )
    assert outcome.code == 0, outcome.out
    assert Run.open(tmp_path / "run").splat_path.is_file()
    plain = tmp_path / "photographs"
    shutil.copytree(folder / "images", plain)
    assert len(read_capture(plain)) == len(photographs)


def test_the_doctor_knows_it() -> None:
    assert "pillow-heif" in doctor._heic()
