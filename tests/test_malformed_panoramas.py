"""Stitched panoramas among photographs: each way to tell one, what must not be taken for one, and what is said."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from fewview.scene import BadInputError
from fewview.scene.readers import read_capture
from PIL import Image
from support.data import shared_data


def texture(width: int, height: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (height // 16 + 2, width // 16 + 2, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def sphere(height: int) -> np.ndarray:
    """The whole sphere of a smooth random colour of direction, equirectangular, uint8 [height, 2 height, 3]."""
    rng = np.random.default_rng(1)
    longitude = (np.arange(2 * height) + 0.5) / height * np.pi
    latitude = (0.5 - (np.arange(height) + 0.5) / height) * np.pi
    x, y = np.cos(latitude)[:, None] * np.cos(longitude), np.cos(latitude)[:, None] * np.sin(longitude)
    direction = np.stack([x, y, np.broadcast_to(np.sin(latitude)[:, None], x.shape)], axis=-1)
    waves = np.sin(direction @ rng.normal(0, 6, (3, 24)) + rng.uniform(0, 6, 24)) @ rng.normal(0, 14, (24, 3))
    return (128 + waves).clip(0, 255).astype(np.uint8)


def save(path: Path, pixels: np.ndarray, xmp: bytes | None = None) -> None:
    Image.fromarray(pixels).save(path, quality=90, **({} if xmp is None else {"xmp": xmp}))


def test_a_panorama_is_left_out_of_a_folder_and_named(tmp_path: Path) -> None:
    for i in range(3):
        save(tmp_path / f"photo_{i}.jpg", texture(320, 240, i))
    save(tmp_path / "round.jpg", sphere(256))
    save(tmp_path / "strip.jpg", texture(1000, 200))
    capture = read_capture(tmp_path)
    assert capture.names == ["photo_0.jpg", "photo_1.jpg", "photo_2.jpg"]
    assert capture.notes == ("2 of 5 photographs are stitched panoramas and were left out: round.jpg, strip.jpg.",)


@pytest.mark.parametrize(
    "xmp",
    [
        b'<rdf:Description GPano:ProjectionType="equirectangular"/>',
        b"<GPano:ProjectionType>equirectangular</GPano:ProjectionType>",
        b"<GPano:ProjectionType>Cylindrical</GPano:ProjectionType>",
    ],
)
def test_a_file_that_says_so_is_believed(tmp_path: Path, xmp: bytes) -> None:
    save(tmp_path / "a.jpg", texture(400, 250), xmp)
    with pytest.raises(BadInputError, match=r"a\.jpg is a panorama stitched"):
        read_capture(tmp_path / "a.jpg")


def test_one_panorama_alone_is_refused_in_one_sentence(tmp_path: Path) -> None:
    save(tmp_path / "a.png", sphere(128))
    with pytest.raises(BadInputError, match=r"a\.png is a panorama stitched"):
        read_capture(tmp_path / "a.png")
    save(tmp_path / "b.jpg", texture(200, 1000))
    with pytest.raises(BadInputError, match=r"b\.jpg has 200 x 1000 pixels, .* 4 times the shorter"):
        read_capture(tmp_path / "b.jpg")


def test_ordinary_pictures_of_that_shape_are_kept(tmp_path: Path) -> None:
    save(tmp_path / "wide.jpg", texture(512, 256))
    save(tmp_path / "turned.jpg", np.ascontiguousarray(np.rot90(sphere(128))))
    save(tmp_path / "grey.png", np.full((100, 200, 3), 90, np.uint8))
    sky_over_ground = np.repeat(np.linspace(240, 40, 256)[:, None], 512, axis=1)[..., None] + np.zeros(3)
    uneven = sky_over_ground + 0.25 * texture(512, 256).astype(float) - 30
    save(tmp_path / "landscape.jpg", uneven.clip(0, 255).astype(np.uint8))
    save(tmp_path / "strip.jpg", texture(100, 400))
    save(tmp_path / "slab.jpg", texture(400, 100))
    assert len(read_capture(tmp_path)) == 6


def test_real_photographs_cut_to_twice_their_height_are_kept(tmp_path: Path) -> None:
    files = sorted((shared_data("lund_street") / "images").glob("*.jpg"))
    for file in files:
        with Image.open(file) as photo:
            for top in (0, 120, 256):
                photo.crop((0, top, 1024, top + 512)).save(tmp_path / f"{file.stem}_{top}.jpg", quality=90)
    assert len(read_capture(tmp_path)) == 3 * len(files)
