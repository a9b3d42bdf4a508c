"""Inputs of moving scenes: what is written into them comes out, with the times, the cameras and the split it has."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from fewview.scene import Capture
from fewview.scene.files import read_json
from fewview.scene.readers import read_capture, save_capture
from fewview.scene.readers.film_frames import KEPT, FilmFrames
from fewview.scene.readers.film_index import film_index
from fewview.scene.readers.qualisys import read_qualisys
from fewview.scene.run import Run
from PIL import Image
from support.datasets import rewrite, write_photo, write_transforms
from support.film_scenes import write_film
from support.moving_datasets import (
    CENTER,
    SCALE,
    SIZE,
    around,
    number_of,
    numbered_frame,
    qualisys,
    with_disc,
    write_nerfies,
    write_rig,
)


def projected(capture: Capture, index: int, xyz: tuple[float, float, float]) -> np.ndarray:
    """Pixels [2] of a point of the world in a frame."""
    assert capture.cameras is not None
    camera = capture.cameras[index]
    seen = camera.K @ (camera.cam_from_world @ torch.tensor([*xyz, 1.0], dtype=torch.float32))[:3]
    return (seen[:2] / seen[2]).numpy()


class TestNerfies:
    def test_the_true_split_times_and_cameras(self, tmp_path: Path) -> None:
        capture = read_capture(write_nerfies(tmp_path / "vrig-toy"))
        assert capture.names == ["000000", "000002", "000004", "000001", "000003", "000005"]
        assert capture.test == (3, 4, 5)
        assert capture.times_s is not None
        assert capture.times_s.tolist() == [0, 0.5, 1, 0, 0.5, 1]
        assert [frame.camera for frame in capture.frames] == ["0", "0", "0", "1", "1", "1"]

    def test_coordinates_are_centred_and_scaled_and_lead_back(self, tmp_path: Path) -> None:
        capture = read_capture(write_nerfies(tmp_path))
        assert capture.cameras is not None
        assert capture.points is not None
        given = np.array(read_json(tmp_path / "camera" / "000003.json")["position"])
        expected = (given - np.array(CENTER)) * SCALE
        assert np.abs(capture.cameras.centers[4].numpy() - expected).max() < 1e-6  # float32 of about 3
        assert torch.allclose(capture.points.xyz, torch.tensor([[0.0, 0, 0], [1, 2, 3]]), atol=1e-5)
        back = np.array(capture.origin) + capture.unit * capture.cameras.centers[4].double().numpy()
        assert np.abs(back - given).max() < 1e-5 / SCALE
        # All cameras look at the origin: it lies on the principal point, 1 right and 2 above the middle.
        assert np.abs(projected(capture, 1, (0, 0, 0)) - [SIZE[0] / 2 + 1, SIZE[1] / 2 - 2]).max() < 1e-3

    def test_origin_and_unit_pass_through_a_run(self, tmp_path: Path) -> None:
        capture = read_capture(write_nerfies(tmp_path / "toy"))
        kept = save_capture(Run.create(tmp_path / "run", {}), capture, 100)
        assert kept.origin == pytest.approx(CENTER)
        assert kept.unit == pytest.approx(1 / SCALE)
        assert [frame.camera for frame in kept.frames] == [frame.camera for frame in capture.frames]
        assert kept.test == capture.test

    @pytest.mark.parametrize(("asked", "ratio"), [(None, 1), (64, 1), (33, 1), (32, 2), (16, 4), (5, 4), (1000, 1)])
    def test_the_size_that_is_read_is_said(self, tmp_path: Path, asked: int | None, ratio: int) -> None:
        capture = read_capture(write_nerfies(tmp_path, ratios=(1, 2, 4)), asked_side_px=asked)
        assert capture.image(0).shape[:2] == (SIZE[1] // ratio, SIZE[0] // ratio)
        assert any(f"rgb/{ratio}x" in note and "of 1x, 2x, 4x" in note for note in capture.notes)
        assert capture.cameras is not None
        assert float(capture.cameras.K[0, 0, 0]) == pytest.approx(60 / ratio)

    def test_distortion_is_undone(self, tmp_path: Path) -> None:
        """A disc is drawn where OpenCV's model puts the world's origin; the pinhole camera sees it on its own ray."""
        lens = {"radial_distortion": [-0.4, 0.15, -0.02], "tangential": [0.02, -0.01]}
        write_nerfies(tmp_path, ratios=(1,), principal_point=[20.0, 18.0], **lens)
        table = read_json(tmp_path / "camera" / "000000.json")
        position = (np.array(table["position"]) - np.array(CENTER)) * SCALE
        R = np.array(table["orientation"])
        K = np.array([[60.0, 0, 20.0], [0, 60.0, 18.0], [0, 0, 1]])
        point = np.array([0.1, 1.1, 0.4])
        distortion = np.array([-0.4, 0.15, 0.02, -0.01, -0.02])
        at, _ = cv2.projectPoints(point[None], cv2.Rodrigues(R)[0], -R @ position, K, distortion)
        Image.fromarray(with_disc(SIZE, tuple(at.ravel()))).save(tmp_path / "rgb" / "1x" / "000000.png")
        (camera := dict(table)).pop("tangential_distortion")  # the other spelling is used alone
        (tmp_path / "camera" / "000000.json").write_text(json.dumps(camera))
        capture = read_capture(tmp_path)
        bright = capture.image(0)[..., 0].double().numpy() - 60
        bright[bright < 30] = 0
        y, x = np.mgrid[0 : SIZE[1], 0 : SIZE[0]] + 0.5
        center = np.array([(bright * x).sum(), (bright * y).sum()]) / bright.sum()
        expected = projected(capture, 0, tuple(point))
        assert np.linalg.norm(expected - at.ravel()) > 1.0  # the distortion matters here
        assert np.linalg.norm(center - expected) < 0.25  # the disc is itself a little distorted

    def test_masks_of_what_moves_are_for_points_and_not_for_training(self, tmp_path: Path) -> None:
        write_nerfies(tmp_path, ratios=(2,))
        mask = np.full((SIZE[1] // 2, SIZE[0] // 2), 255, np.uint8)
        mask[5:12, 8:20] = 0
        (tmp_path / "resized_mask" / "2x").mkdir(parents=True)
        Image.fromarray(mask).save(tmp_path / "resized_mask" / "2x" / "000002.png.png")
        capture = read_capture(tmp_path)
        frame = capture.frames[1]
        assert frame.load_mask is None
        assert frame.load_still is not None
        assert (frame.load_still() == (mask > 0)).all()
        assert capture.frames[0].load_still is None
        assert any("1 masks" in note and "training sees it" in note for note in capture.notes)


class TestCalibratedVideos:
    def test_moments_are_whole_and_timed_by_the_frame_rate(self, tmp_path: Path) -> None:
        capture = read_capture(write_rig(tmp_path), video_frames=4)
        assert len(capture) == 12
        assert capture.test is None
        assert [frame.camera for frame in capture.frames] == ["cam1"] * 4 + ["cam2"] * 4 + ["cam3"] * 4
        assert [frame.time_s for frame in capture.frames] == [pytest.approx(n / 30) for n in (0, 4, 7, 11)] * 3
        assert [number_of(frame.load()) for frame in capture.frames] == [0, 4, 7, 11] * 3

    def test_cameras_are_those_of_the_calibration(self, tmp_path: Path) -> None:
        capture = read_capture(write_rig(tmp_path), video_frames=2)
        assert capture.cameras is not None
        for i, pose in enumerate(around(3).values()):
            assert np.abs(capture.cameras.cam_from_world[2 * i].numpy() - pose).max() < 1e-6
            assert np.abs(projected(capture, 2 * i, (0, 0, 0)) - [SIZE[0] / 2, SIZE[1] / 2]).max() < 1e-3

    def test_lens_and_units_of_qualisys(self, tmp_path: Path) -> None:
        """Against the definition: 1/64 pixel, millimetres, axes with y up, the first pixel's centre at zero."""
        lens = {"radialDistortion1": "-0.05", "radialDistortion2": "0.14", "tangentalDistortion1": "0.0006"}
        (tmp_path / "a.qca.txt").write_text(qualisys(around(2), centerPointU="1000", centerPointV="640", **lens))
        cameras = read_qualisys(tmp_path / "a.qca.txt")
        assert [camera.name for camera in cameras] == ["cam1", "cam2"]
        K, params = cameras[0].lens.K, cameras[0].lens.params
        assert K[:2].tolist() == [[60.0, 0, 1000 / 64 + 0.5], [0, 60.0, 10.5]]
        assert params[4:9] == (-0.05, 0.14, 0.0006, 0.0, 0.0)
        assert np.abs(cameras[1].cam_from_world - around(2)["cam2"]).max() < 1e-9

    def test_a_video_between_black_bars_is_cut_to_the_calibrated_picture(self, tmp_path: Path) -> None:
        """A disc where the calibration puts the world's origin is there in the frame that is read."""
        poses = around(2)
        (tmp_path / "room.qca.txt").write_text(qualisys(poses, centerPointU="1888", centerPointV="1504"))
        for name in poses:
            picture = cv2.resize(with_disc(SIZE, (30.0, 24.0), 5.0), (48, 36), interpolation=cv2.INTER_AREA)
            padded = cv2.copyMakeBorder(picture, 14, 14, 0, 0, cv2.BORDER_CONSTANT)
            write_film(tmp_path / f"{name}.mp4", [padded] * 3)
        capture = read_capture(tmp_path)
        image = capture.image(0)[..., 0].double().numpy()
        assert image.shape == (36, 48)
        bright = np.where(image > 150, image - 60, 0)
        y, x = np.mgrid[0:36, 0:48] + 0.5
        center = np.array([(bright * x).sum(), (bright * y).sum()]) / bright.sum()
        assert np.linalg.norm(projected(capture, 0, (0, 0, 0)) - center) < 0.3  # the coder smears edges
        assert any("black bars of 14 pixels" in note for note in capture.notes)

    def test_the_common_part_and_those_without_partner_are_said(self, tmp_path: Path) -> None:
        write_rig(tmp_path, counts=(12, 9, 12))
        (tmp_path / "videos" / "cam2.mp4").rename(tmp_path / "videos" / "Miqus_cam2.mp4")
        (tmp_path / "videos" / "cam3.mp4").rename(tmp_path / "videos" / "other.mp4")
        capture = read_capture(tmp_path, video_frames=50)
        assert len(capture) == 18
        text = " ".join(capture.notes)
        assert "first 9 frames" in text
        assert "cam1.mp4 (12)" in text
        assert "cameras without a video, which are not used: cam3" in text
        assert "no camera for some videos, which are not used: other.mp4" in text


class TestFilmFrames:
    def test_each_frame_is_decoded_once_in_order_and_few_are_kept(self, tmp_path: Path) -> None:
        path = tmp_path / "film.mp4"
        write_film(path, [numbered_frame(n) for n in range(30)])
        with path.open("rb") as file:
            index = film_index(path, file, 100)
        film = FilmFrames(path, index, range(30))
        assert [number_of(film.pixels(n)) for n in range(30)] == list(range(30))
        assert film.decoded == 30
        assert len(film._kept) <= KEPT

    def test_a_jump_decodes_from_the_key_frame_before(self, tmp_path: Path) -> None:
        path = tmp_path / "film.mp4"
        write_film(path, [numbered_frame(n) for n in range(32)])  # a key frame every 8
        with path.open("rb") as file:
            index = film_index(path, file, 100)
        film = FilmFrames(path, index, range(32))
        for n in (26, 3, 31, 17, 16, 25, 0):
            assert number_of(film.pixels(n)) == n
        assert film.decoded <= 7 * 8


class TestCameraFolders:
    def write(self, folder: Path, moments: tuple[int, ...] = (5, 5)) -> None:
        """Two cameras; the model has the first frame of each."""
        for camera, count in enumerate(moments):
            for n in range(count):
                write_photo(folder / "images" / f"cam{camera}" / f"frame_{n + 3:04d}.png", seed=10 * camera + n)
        model = folder / "sparse" / "0"
        model.mkdir(parents=True)
        (model / "cameras.txt").write_text("1 PINHOLE 40 30 50 52 20 15\n2 PINHOLE 40 30 60 60 20 15\n")
        poses = {1: "1 0 0 0 0 0 2", 2: "0.8 0 0.6 0 1 0 2"}
        lines = [f"{k} {pose} {k} cam{k - 1}/frame_0003.png\n\n" for k, pose in poses.items()]
        (model / "images.txt").write_text("".join(lines))
        (model / "points3D.txt").write_text("1 0.5 0 1 10 20 30 0.1 1 0 2 0\n")

    def test_every_moment_has_the_cameras_of_the_model(self, tmp_path: Path) -> None:
        self.write(tmp_path)
        capture = read_capture(tmp_path, fps=10.0)
        assert len(capture) == 10
        assert [frame.camera for frame in capture.frames] == ["cam0"] * 5 + ["cam1"] * 5
        assert [frame.time_s for frame in capture.frames] == [pytest.approx(n / 10) for n in range(5)] * 2
        assert capture.cameras is not None
        assert capture.points is not None
        assert len(capture.subset([0, 1, 6]).points or ()) == 1
        assert torch.equal(capture.cameras.cam_from_world[0], capture.cameras.cam_from_world[4])
        assert not torch.equal(capture.cameras.cam_from_world[4], capture.cameras.cam_from_world[5])
        expected = np.array(Image.open(tmp_path / "images" / "cam1" / "frame_0005.png"))
        assert (capture.image(7).numpy() == expected).all()

    def test_without_a_frame_rate_times_count_frames_and_a_note_says_so(self, tmp_path: Path) -> None:
        self.write(tmp_path, (5, 4))
        capture = read_capture(tmp_path)
        assert [frame.time_s for frame in capture.frames] == [0, 1, 2, 3] * 2
        text = " ".join(capture.notes)
        assert "times count frames" in text
        assert "cam0 (5)" in text


class TestTransformsOfSeveralCameras:
    def test_folders_name_the_cameras(self, tmp_path: Path) -> None:
        _, table = write_transforms(tmp_path, 4)
        for i, frame in enumerate(table["frames"]):
            name = f"images/cam{i % 2}/{i // 2}.png"
            write_photo(tmp_path / name, seed=i)
            frame |= {"file_path": name, "time": (i // 2) / 4}
        rewrite(tmp_path / "transforms.json", table)
        assert [frame.camera for frame in read_capture(tmp_path).frames] == ["cam0", "cam1", "cam0", "cam1"]

    def test_folders_of_other_things_do_not(self, tmp_path: Path) -> None:
        _, table = write_transforms(tmp_path, 4)
        for i, frame in enumerate(table["frames"]):  # the second folder has one moment twice
            name = f"images/{'b' if i else 'a'}/{i}.png"
            write_photo(tmp_path / name, seed=i)
            frame |= {"file_path": name, "time": [0.0, 0.0, 1.0, 1.0][i]}
        rewrite(tmp_path / "transforms.json", table)
        assert {frame.camera for frame in read_capture(tmp_path).frames} == {None}


def test_photographs_of_a_film_get_their_times(tmp_path: Path) -> None:
    for i in range(4):
        write_photo(tmp_path / f"{2 * i:05d}.png")
    assert read_capture(tmp_path).times_s is None
    times_s = read_capture(tmp_path, fps=20).times_s
    assert times_s is not None
    assert times_s.tolist() == pytest.approx([0, 0.05, 0.1, 0.15])


def write_dnerf(folder: Path, times: dict[str, list[Any]]) -> Path:
    """A D-NeRF folder; a time that is "" is left out."""
    for split, values in times.items():
        _, table = write_transforms(folder / split, len(values), camera_angle_x=0.8)
        for i, (frame, value) in enumerate(zip(table["frames"], values, strict=True)):
            (folder / split / "images" / f"{i:02d}.png").rename(folder / split / f"r_{i:03d}.png")
            frame["file_path"] = f"./{split}/r_{i:03d}"
            if value != "":
                frame["time"] = value
        rewrite(folder / f"transforms_{split}.json", table)
        (folder / split / "transforms.json").unlink()
    return folder


@pytest.mark.parametrize(
    ("train", "note"),
    [
        ([0.5, 0.5, 0.5], "of all 3 training frames .* is 0.5"),
        ([0.5], "has one frame to train on"),
        ([0.0, 1.5, 3.0], "run from 0 to 3, where D-NeRF has 0 to 1"),
        ([-0.5, 0.5, 1.0], "run from -0.5 to 1, where"),
    ],
)
def test_odd_times_of_dnerf_are_said(tmp_path: Path, train: list[Any], note: str) -> None:
    capture = read_capture(write_dnerf(tmp_path, {"train": train, "test": [0.0, 1.0]}))
    found = [text for text in capture.notes if "time" in text or "one frame" in text]
    assert len(found) == 1
    assert re.search(note, found[0]), found
    assert capture.times_s is not None


def test_dnerf_without_any_time_is_a_scene_that_stands_still(tmp_path: Path) -> None:
    capture = read_capture(write_dnerf(tmp_path, {"train": ["", "", ""], "test": [""]}))
    assert capture.times_s is None
    assert not any("time" in note for note in capture.notes)


def test_times_in_order_need_no_sentence(tmp_path: Path) -> None:
    capture = read_capture(write_dnerf(tmp_path, {"train": [0.0, 0.5, 1.0], "test": [0.25, 0.75]}))
    assert not any("time" in note for note in capture.notes)
    assert capture.test == (3, 4)
