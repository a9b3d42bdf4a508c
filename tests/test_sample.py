"""The bundled sample: its files, its true cameras, and the script that made it."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from fewview.scene.sample import sample_path
from PIL import Image

ROOT = Path(__file__).parent.parent
NAMES = [f"photo_{k:02d}.jpg" for k in range(1, 13)]


@pytest.fixture(scope="module")
def cameras() -> dict:
    return json.loads((ROOT / "tests" / "data" / "sample_cameras.json").read_text())


def test_twelve_photographs_of_one_size_and_at_most_two_megabytes(cameras: dict) -> None:
    photos = sorted(sample_path().glob("*.jpg"))
    assert [photo.name for photo in photos] == NAMES
    assert sum(photo.stat().st_size for photo in photos) <= 2_000_000
    for photo in photos:
        with Image.open(photo) as image:
            assert image.size == (cameras["w"], cameras["h"])
            focal_35mm = image.getexif().get_ifd(0x8769)[0xA405]
        # EXIF holds the whole millimetre of a frame with the diagonal of 36 mm x 24 mm film.
        focal_px = focal_35mm * np.hypot(cameras["w"], cameras["h"]) / np.hypot(36, 24)
        assert focal_px == pytest.approx(cameras["fl_x"], rel=1e-6)


def test_the_sample_says_that_it_is_in_the_public_domain() -> None:
    assert "CC0" in (sample_path() / "LICENSE.txt").read_text()


def _fundamental(cameras: dict, i: int, j: int) -> np.ndarray:
    """[3, 3] from pixels of frame i to lines of frame j, from the true cameras."""
    opencv = [np.array(cameras["frames"][k]["transform_matrix"]) @ np.diag([1.0, -1, -1, 1]) for k in (i, j)]
    j_from_i = np.linalg.inv(opencv[1]) @ opencv[0]
    x, y, z = j_from_i[:3, 3]
    essential = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ j_from_i[:3, :3]
    K_inverse = np.linalg.inv([[cameras["fl_x"], 0, cameras["cx"]], [0, cameras["fl_y"], cameras["cy"]], [0, 0, 1]])
    return K_inverse.T @ essential @ K_inverse


@pytest.mark.parametrize(("i", "j"), [(0, 1), (4, 7), (9, 11)])
def test_true_cameras_agree_with_what_the_photographs_show(cameras: dict, i: int, j: int) -> None:
    assert [frame["file_path"] for frame in cameras["frames"]] == NAMES
    sift = cv2.SIFT_create(1500)
    found = [sift.detectAndCompute(cv2.imread(str(sample_path() / NAMES[k]), 0), None) for k in (i, j)]
    pairs = cv2.BFMatcher().knnMatch(found[0][1], found[1][1], k=2)
    good = [first for first, second in pairs if first.distance < 0.75 * second.distance]
    assert len(good) > 150
    # OpenCV puts the centre of the first pixel at 0, we at 0.5.
    in_i = np.array([[*found[0][0][m.queryIdx].pt, 0.5] for m in good]) + 0.5
    in_j = np.array([[*found[1][0][m.trainIdx].pt, 0.5] for m in good]) + 0.5
    F = _fundamental(cameras, i, j)
    lines_j, lines_i = in_i @ F.T, in_j @ F
    off = np.abs((in_j * lines_j).sum(1))
    error = 0.5 * (off / np.linalg.norm(lines_j[:, :2], axis=1) + off / np.linalg.norm(lines_i[:, :2], axis=1))
    # SIFT places a point to 0.1-0.2 px; half a pixel leaves room for another OpenCV and rules out any wrong camera.
    assert np.median(error) < 0.5


def test_the_script_renders_the_same_view_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import make_sample

    quality = make_sample.Quality(texels_per_cm=0.5, light_cm=8, window_side=2, room_rays=4)
    pose, focal_px = make_sample.world_from_cams()[5], make_sample.FOCAL_PX * 32 / make_sample.WIDTH
    first, second = (make_sample.build_scene(quality).render(pose, focal_px, 32, 24, 2) for _ in range(2))
    assert torch.equal(first, second)
    again = make_sample.develop(first, np.random.default_rng(0)).ravel()
    photos = [
        cv2.resize(cv2.imread(str(sample_path() / name)), (32, 24), interpolation=cv2.INTER_AREA) for name in NAMES
    ]
    likeness = [np.corrcoef(photo[..., ::-1].ravel(), again)[0, 1] for photo in photos]
    # Coarse paint and light differ in detail, but the same things stand in the same places only in the same view.
    assert int(np.argmax(likeness)) == 5
