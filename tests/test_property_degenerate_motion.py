"""Degenerate motion is recognised: turning cameras, and the same photograph twice."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from fewview.recon.poses import PosesConfig, estimate_poses
from fewview.recon.poses.correspondences import Correspondences, Image
from fewview.recon.poses.degenerate_motion import find_duplicates, refuse_pure_rotation
from fewview.recon.poses.focal_prior import group_lenses
from fewview.recon.poses.matchers import is_available
from fewview.recon.poses.unplaced import too_blurred
from fewview.recon.poses.verification import verify
from fewview.scene import Capture, FewviewError, Frame
from fewview.scene.readers import read_capture
from fewview.scene.sample import sample_path
from scipy.spatial.transform import Rotation
from support.posed_photos import FOCAL_PX, HEIGHT, WIDTH, arc, posed_photos
from torch import Tensor


def turning(n: int, seed: int, step_m: float = 0.0) -> Tensor:
    """Cameras [n, 4, 4] that pan over 25 degrees, 4 m before a cloud, and walk `step_m` sideways from each to the next.

    The cloud is 2 m deep: a step of s shifts near against far things by about FOCAL_PX * s * 2 / 15 pixels.
    """
    rng = np.random.default_rng(seed)
    base = arc(1, seed=seed)[0].numpy()
    poses = np.repeat(base[None], n, axis=0)
    for i, angle in enumerate(np.linspace(-12, 12, n)):
        turn = Rotation.from_euler("yxz", [angle, rng.uniform(-4, 4), rng.uniform(-2, 2)], degrees=True).as_matrix()
        poses[i, :3, :3] = turn @ base[:3, :3]
        poses[i, :3, 3] = turn @ (base[:3, 3] - [step_m * i, 0, 0])
    return torch.from_numpy(poses)


def judge(cam_from_world: Tensor, focal_px: float | None, seed: int = 0, flat: bool = False) -> None:
    photos = posed_photos(cam_from_world, seed=seed, flat=flat)
    frames = [Frame(f"{i}.jpg", WIDTH, HEIGHT, lambda: np.zeros(0), focal_px) for i in range(len(cam_from_world))]
    lenses = group_lenses(frames, [(WIDTH, HEIGHT)] * len(frames))
    graph = verify(photos.features, photos.matches, lenses.of_views(lenses.cameras("SIMPLE_PINHOLE", 1.0)), seed=0)
    assert graph.geometries
    refuse_pure_rotation(Capture(tuple(frames), "a test"), graph, lenses)


@pytest.mark.parametrize("focal_px", [FOCAL_PX, 1.05 * FOCAL_PX, None])
@pytest.mark.parametrize("n", [2, 3, 8])
def test_a_turning_camera_is_recognised(n: int, focal_px: float | None) -> None:
    with pytest.raises(FewviewError, match="from one place while the camera turned"):
        judge(turning(n, seed=n), focal_px)


@pytest.mark.parametrize("focal_px", [FOCAL_PX, None])
@pytest.mark.parametrize("n", [2, 3, 8])
def test_a_step_between_photographs_is_enough(n: int, focal_px: float | None) -> None:
    judge(turning(n, seed=n, step_m=0.25), focal_px)  # 17 pixels between near and far
    judge(arc(n, seed=n, span_deg=4.0 * (n - 1)), focal_px)


@pytest.mark.parametrize("focal_px", [FOCAL_PX, None])
def test_a_flat_wall_walked_along_is_not_taken_for_a_turn(focal_px: float | None) -> None:
    judge(arc(4, seed=1, span_deg=45.0), focal_px, flat=True)


def test_one_pair_with_depth_among_turns_is_enough() -> None:
    poses = turning(5, seed=3)
    poses[4] = turning(5, seed=3, step_m=0.15)[4]
    judge(poses, None)


def picture(width: int, height: int, seed: int = 0) -> np.ndarray:
    """Texture at several sizes, uint8 [height, width, 3]."""
    rng = np.random.default_rng(seed)
    out = np.zeros((height, width, 3), np.float32)
    for cell in (8, 24, 80):
        noise = rng.uniform(0, 255, (height // cell + 2, width // cell + 2, 3)).astype(np.float32)
        out += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC) / 3
    return out.clip(0, 255).astype(np.uint8)


def test_photographs_of_a_panorama_are_refused_in_one_sentence(tmp_path: Path) -> None:
    far = picture(2400, 1600)
    K = np.array([[560.0, 0, 320], [0, 560, 240], [0, 0, 1]])
    whole = np.array([[560.0, 0, 1200], [0, 560, 800], [0, 0, 1]])
    for i, yaw in enumerate((-16, -6, 5, 15)):
        turn = Rotation.from_euler("yx", [yaw, 3 * (-1) ** i], degrees=True).as_matrix()
        shot = cv2.warpPerspective(far, K @ turn @ np.linalg.inv(whole), (640, 480), flags=cv2.INTER_AREA)
        cv2.imwrite(str(tmp_path / f"{i}.png"), shot)
    with pytest.raises(FewviewError, match="from one place while the camera turned") as caught:
        estimate_poses(read_capture(tmp_path), PosesConfig(features="sift"))
    assert "The 4 photographs of" in str(caught.value)


def test_two_times_the_same_photograph_is_a_still_camera(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), picture(320, 240))
    with pytest.raises(FewviewError, match="taken from one place"):
        estimate_poses(read_capture(tmp_path), PosesConfig(features="sift"))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four photographs of the sample, one of them twice as another kind of file, and one so blurred that it is lost."""
    folder = tmp_path_factory.mktemp("mixed")
    files = sorted(sample_path().glob("*.jpg"))[:5]
    for file in files[:4]:
        shutil.copy(file, folder / file.name)
    cv2.imwrite(str(folder / "photo_02_again.png"), cv2.imread(str(folder / "photo_02.jpg")))
    shaken = cv2.imread(str(files[4]))
    cv2.imwrite(str(folder / "shaken.png"), cv2.blur(shaken, (shaken.shape[1] // 6, 3)))
    return folder


def test_a_copy_and_a_blurred_photograph_are_left_out_with_their_reasons(mixed: Path) -> None:
    if not is_available("xfeat"):
        pytest.skip("the package with the weights of xfeat is not installed")
    capture = read_capture(mixed)
    poses = estimate_poses(capture, PosesConfig(features="xfeat", image_side_px=512, keypoints=512))
    assert poses.capture.names == [f"photo_{i:02d}.jpg" for i in range(1, 5)]
    again, shaken = capture.names.index("photo_02_again.png"), capture.names.index("shaken.png")
    assert sorted(poses.unplaced) == [again, shaken]
    assert poses.unplaced[again] == "photo_02_again.png is the same photograph as photo_02.jpg and was left out."
    assert "shaken.png" in poses.unplaced[shaken]
    assert "sharp as the others" in poses.unplaced[shaken] or "less sharp" in poses.unplaced[shaken]
    assert int(poses.capture.points.seen_view.max()) == 3


def test_only_placed_views_that_are_hopelessly_blurred_are_let_go() -> None:
    sharpness = np.array([1.0, 0.2, 0.7, 1.2, 0.9, 0.1])
    assert too_blurred([0, 1, 2, 3, 4], sharpness) == [1]
    assert too_blurred([0, 1, 2, 3], np.array([1.0, 0.2, 0.7, 1.2])) == [1]
    assert too_blurred([0, 1, 2], sharpness) == []  # two sharp ones are too few to be choosy
    assert too_blurred([], sharpness) == []


def test_a_held_out_photograph_is_not_kept_in_place_of_its_copy() -> None:
    images = [Image(None, np.zeros((0, 3)), 1.0, digest) for digest in (b"a", b"b", b"a", b"c", b"b")]
    assert find_duplicates(Correspondences(images, {}), held_out=set()) == {2: 0, 4: 1}
    assert find_duplicates(Correspondences(images, {}), held_out={0}) == {0: 2, 4: 1}
