"""EXIF asks for a turn and the data set has cameras: the pixels are taken as the cameras fit them, and that is said."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from fewview.scene.cameras import Cameras
from fewview.scene.errors import BadInputError
from fewview.scene.readers import read_capture
from PIL import Image
from support.datasets import rewrite, transforms_table, write_colmap, write_photo, write_transforms
from support.posed_photos import arc

SIDE, FOCAL = 320, 350.0
ROTATE_90_CW = 6  # EXIF: the picture is upright after a quarter turn clockwise
HALF_TURN = 3
TURNS = {ROTATE_90_CW: -1, HALF_TURN: 2}  # of numpy.rot90 from stored to upright


def store_turned(path: Path, orientation: int) -> np.ndarray:
    """Write a photograph again so that EXIF has to turn it upright; gives what lies in the file."""
    pixels = np.array(Image.open(path))
    stored = np.rot90(pixels, -TURNS[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)
    return stored


def tag_only(path: Path, orientation: int) -> np.ndarray:
    """Give a photograph an EXIF orientation and leave its pixels, as for cameras that ignore the tag."""
    pixels = np.array(Image.open(path))
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    return pixels


@pytest.mark.parametrize("orientation", [ROTATE_90_CW, HALF_TURN])
def test_colmap_models_are_of_the_pixels_as_stored(tmp_path: Path, orientation: int) -> None:
    write_colmap(tmp_path, model="PINHOLE", params=(60, 60, 20, 15))
    paths = sorted((tmp_path / "images").rglob("*.png"))
    stored = {path.relative_to(tmp_path / "images").as_posix(): tag_only(path, orientation) for path in paths}
    capture = read_capture(tmp_path)
    for i, name in enumerate(capture.names):
        assert np.array_equal(capture.image(i).numpy(), stored[name])
    assert any("4 of 4" in note and "as stored" in note for note in capture.notes)


def test_a_colmap_model_of_turned_photographs(tmp_path: Path) -> None:
    """The originals lie where COLMAP saw turned copies: only the turn fits the camera's size."""
    write_colmap(tmp_path, model="PINHOLE", params=(60, 60, 20, 15))
    paths = sorted((tmp_path / "images").rglob("*.png"))
    upright = {path.relative_to(tmp_path / "images").as_posix(): np.array(Image.open(path)) for path in paths}
    for path in paths:
        store_turned(path, ROTATE_90_CW)
    capture = read_capture(tmp_path)
    for i, name in enumerate(capture.names):
        assert np.array_equal(capture.image(i).numpy(), upright[name])
    assert any("they were turned so" in note for note in capture.notes)


@pytest.mark.parametrize("as_stored", [False, True])
def test_transforms_take_the_orientation_that_fits_width_and_height(tmp_path: Path, as_stored: bool) -> None:
    write_transforms(tmp_path)
    wanted = []
    for path in sorted((tmp_path / "images").iterdir()):
        pixels = np.array(Image.open(path))
        stored = tag_only(path, ROTATE_90_CW) if as_stored else store_turned(path, ROTATE_90_CW)
        wanted.append(stored if as_stored else pixels)
    capture = read_capture(tmp_path)
    for i, pixels in enumerate(wanted):
        assert np.array_equal(capture.image(i).numpy(), pixels)
        assert (capture.frames[i].width, capture.frames[i].height) == (40, 30)
    assert any(("as stored" if as_stored else "turned so") in note for note in capture.notes)


@pytest.fixture(scope="module")
def square_views() -> tuple[Cameras, list[np.ndarray]]:
    """Square photographs of a textured wall, drawn by homographies from its texture."""
    rng = np.random.default_rng(0)
    texture = sum(
        cv2.resize(rng.uniform(0, 255 / 3, (n, n, 3)).astype(np.float32), (900, 900), interpolation=cv2.INTER_CUBIC)
        for n in (24, 60, 150)
    )
    # Rows and columns of the texture to the wall y = 0 of the world, 3 wide, z up.
    wall = np.array([[3 / 900, 0, -1.5], [0, 0, 0], [0, -3 / 900, 1.5], [0, 0, 1]])
    cameras = Cameras.pinhole(arc(4, seed=3, span_deg=30).float(), FOCAL, SIDE, SIDE)
    views = []
    for i in range(4):
        pose, K = cameras.cam_from_world[i].double().numpy(), cameras.K[i].double().numpy()
        view = cv2.warpPerspective(texture, K @ pose[:3] @ wall, (SIDE, SIDE), flags=cv2.INTER_AREA)
        views.append(view.clip(0, 255).astype(np.uint8))
    return cameras, views


@pytest.mark.parametrize("orientation", [ROTATE_90_CW, HALF_TURN])
@pytest.mark.parametrize("as_stored", [False, True])
def test_matches_decide_where_both_orientations_fit(
    tmp_path: Path, square_views: tuple[Cameras, list[np.ndarray]], orientation: int, as_stored: bool
) -> None:
    cameras, views = square_views
    names = [f"{i}.png" for i in range(4)]
    for name, pixels in zip(names, views, strict=True):
        Image.fromarray(pixels).save(tmp_path / name)
        (tag_only if as_stored else store_turned)(tmp_path / name, orientation)
    rewrite(tmp_path / "transforms.json", transforms_table(cameras, names))
    capture = read_capture(tmp_path)
    for i, pixels in enumerate(views):
        assert np.array_equal(capture.image(i).numpy(), pixels)
    assert any(("as stored" if as_stored else "turned so") in note for note in capture.notes)


def test_another_aspect_is_a_crop_or_a_turn_and_left_out(tmp_path: Path) -> None:
    cameras, _ = write_transforms(tmp_path)
    write_photo(tmp_path / "images" / "01.png", 40, 26, seed=1)  # a crop
    write_photo(tmp_path / "images" / "02.png", 30, 40, seed=2)  # turned, and no tag says so
    write_photo(tmp_path / "images" / "03.png", 27, 20, seed=3)  # a resize, rounded to whole pixels
    capture = read_capture(tmp_path)
    assert capture.names == ["images/00.png", "images/03.png"]
    assert capture.cameras is not None
    # The pose passes through the inverse of a matrix in double precision: single precision's rounding is left.
    torch.testing.assert_close(capture.cameras.cam_from_world, cameras.cam_from_world[[0, 3]], rtol=0, atol=2e-6)
    assert any("2 of 4" in note and "01.png, 02.png" in note and "a crop" in note for note in capture.notes)
    for i in (0, 3):
        write_photo(tmp_path / "images" / f"{i:02d}.png", 30, 40, seed=i)
    (tmp_path / "images" / "01.png").unlink()
    with pytest.raises(BadInputError, match=r"None of the photographs .* fits its camera.* 30 x 40 .* a turn"):
        read_capture(tmp_path)
