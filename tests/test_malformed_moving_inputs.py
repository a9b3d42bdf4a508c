"""Bad inputs of moving scenes: one sentence each that says what was found, where, and what to do."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fewview.scene import BadInputError
from fewview.scene.files import read_json
from fewview.scene.readers import read_capture
from PIL import Image
from support.datasets import rewrite, write_photo, write_transforms
from support.film_scenes import MOVING, STANDING, WALL, film, write_film
from support.moving_datasets import around, numbered_frame, qualisys, write_nerfies, write_rig


def refused(path: Path, match: str, **options: Any) -> None:
    with pytest.raises(BadInputError, match=match) as caught:
        read_capture(path, **options)
    assert "\n" not in str(caught.value)


class TestTimes:
    def dnerf(self, folder: Path, times: dict[str, list[Any]]) -> Path:
        for split, values in times.items():
            _, table = write_transforms(folder / split, len(values), camera_angle_x=0.8)
            for i, (frame, value) in enumerate(zip(table["frames"], values, strict=True)):
                frame["file_path"] = f"{split}/images/{i:02d}.png"
                if value is not None:
                    frame["time"] = value
            (folder / split / "transforms.json").unlink()
            rewrite(folder / f"transforms_{split}.json", table)
        return folder

    @pytest.mark.parametrize(
        ("train", "test", "match"),
        [
            ([0.0, None, 1.0], [0.5], "3 of 4 frames have a 'time'; all of them or none"),
            ([0.0, 1.0], [None, None], "2 of 4 frames have a 'time'"),
            ([0.0, float("nan")], [0.5], "the number NaN is not finite"),
            ([0.0, float("inf")], [0.5], "the number Infinity is not finite"),
            ([0.0, "0.5"], [0.5], "frame 1: 'time' should be a finite number, found '0.5'"),
            ([0.0, True], [0.5], "frame 1: 'time' should be a finite number"),
        ],
    )
    def test_times_that_cannot_be_used(self, tmp_path: Path, train: list[Any], test: list[Any], match: str) -> None:
        refused(self.dnerf(tmp_path, {"train": train, "test": test}), match)

    @pytest.mark.parametrize("fps", [0.0, -24.0, float("nan"), float("inf")])
    def test_frame_rates(self, tmp_path: Path, fps: float) -> None:
        write_photo(tmp_path / "a.png")
        refused(tmp_path, "--fps .* cannot be used", fps=fps)

    def test_frame_rates_of_what_has_its_own_times(self, tmp_path: Path) -> None:
        refused(self.dnerf(tmp_path / "a", {"train": [0.0, 1.0]}), "--fps is for photographs", fps=10)
        write_film(tmp_path / "a.mp4", [numbered_frame(n) for n in range(3)])
        refused(tmp_path / "a.mp4", "--fps is for photographs", fps=10)

    def test_frames_of_different_sizes(self, tmp_path: Path) -> None:
        write_photo(tmp_path / "0.png")
        write_photo(tmp_path / "1.png", width=50)
        refused(tmp_path, r"frames of different sizes: 0.png has 40 x 30 pixels, 1.png 50 x 30", fps=10)
        assert len(read_capture(tmp_path)) == 2  # photographs may differ


class TestNerfies:
    @pytest.mark.parametrize(
        ("file", "change", "match"),
        [
            ("scene.json", {"scale": 0}, "'scale' should be more than 0"),
            ("scene.json", {"center": [1, 2]}, "'center' should be 3 finite numbers"),
            ("scene.json", {"scale": "1"}, None),  # a number in quotes is one
            ("scene.json", {"scale": "one"}, "'scale' should be a finite number"),
            ("dataset.json", {"train_ids": [3]}, "'train_ids' should be a list of frame names"),
            ("dataset.json", {"train_ids": [], "ids": []}, "names 0 training frames"),
            ("dataset.json", {"val_ids": ["000000"]}, "'000000' is in train_ids and in val_ids"),
            ("dataset.json", {"train_ids": ["../../../etc/passwd"]}, "lies outside of"),
            ("dataset.json", {"train_ids": ["absent"]}, "no frame of train_ids is there"),
            ("dataset.json", {"train_ids": ["absent"], "val_ids": []}, "None of the 1 photographs"),
            ("metadata.json", {"000002": {}}, "frame '000002' has no 'time_id' and no 'warp_id'"),
            ("metadata.json", {"000002": None}, "says nothing of the frame '000002'"),
            ("metadata.json", {"000002": {"time_id": 1.5}}, "'time_id' should be a whole number"),
            ("metadata.json", {"000002": {"time_id": -1}}, "'time_id' should be a whole number"),
            ("camera/000002.json", {"orientation": [[1, 0, 0]] * 3}, "'orientation' is no rotation"),
            ("camera/000002.json", {"orientation": np.diag([1, 1, -1]).tolist()}, "'orientation' is no rotation"),
            ("camera/000002.json", {"focal_length": None}, "'focal_length' should be a finite number"),
            ("camera/000002.json", {"focal_length": -5}, "focal length of -5"),
            ("camera/000002.json", {"image_size": [0, 48]}, "image size of 0 x 48"),
            ("camera/000002.json", {"radial_distortion": [1, 2]}, "'radial_distortion' should be 3 finite numbers"),
            ("camera/000002.json", {"skew": 20.0}, "skew of"),
        ],
    )
    def test_fields(self, tmp_path: Path, file: str, change: dict[str, Any], match: str | None) -> None:
        write_nerfies(tmp_path)
        rewrite(tmp_path / file, read_json(tmp_path / file) | change)
        if match is None:
            read_capture(tmp_path)
        else:
            refused(tmp_path, match)

    def test_points_are_never_unpickled(self, tmp_path: Path) -> None:
        write_nerfies(tmp_path)
        (tmp_path / "points.npy").write_bytes(pickle.dumps(np.zeros((3, 3))))
        refused(tmp_path, "points.npy is not a NumPy array file")
        np.save(tmp_path / "points.npy", np.array([{"a": 1}], object), allow_pickle=True)
        refused(tmp_path, r"points.npy (is not a NumPy array file|should hold)")
        np.save(tmp_path / "points.npy", np.zeros((3, 4)))
        refused(tmp_path, "N x 3 numbers")

    def test_points_that_are_promised_and_not_there_allocate_nothing(self, tmp_path: Path) -> None:
        write_nerfies(tmp_path)
        header = "{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000, 3), }"
        header = header.ljust(117) + "\n"
        magic = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
        (tmp_path / "points.npy").write_bytes(magic + bytes(72))
        refused(tmp_path, r"points\.npy")

    def test_photographs_that_are_not_there_are_named(self, tmp_path: Path) -> None:
        write_nerfies(tmp_path, ratios=(1,))
        (tmp_path / "rgb" / "1x" / "000003.png").unlink()
        (tmp_path / "rgb" / "1x" / "000004.png").write_bytes(b"no picture")
        capture = read_capture(tmp_path)
        assert capture.names == ["000000", "000002", "000001", "000005"]
        assert capture.test == (2, 3)
        text = " ".join(capture.notes)
        assert "1 of the 6 photographs are not in rgb/1x" in text
        assert "1 of 5 photographs could not be read" in text
        for file in (tmp_path / "rgb" / "1x").iterdir():
            file.unlink()
        refused(tmp_path, "holds no photographs; folders 1x, 2x, 4x")


class TestCalibratedVideos:
    @pytest.mark.parametrize(
        ("change", "match"),
        [
            (lambda text: text[:300], "is no Qualisys calibration"),
            (lambda text: "<calibration/>", "holds no camera"),
            (lambda text: text.replace('serial="cam2"', 'serial="cam1"'), "two cameras with the serial number 'cam1'"),
            (lambda text: text.replace('focalLengthU="3840.0"', 'focalLengthU="nan"'), "'focalLengthU' of <intrinsic>"),
            (lambda text: text.replace("focalLengthU", "focus"), "'focalLengthU' of <intrinsic> .* found nothing"),
            (lambda text: text.replace('r11="', 'r11="1'), "has no rotation in r11 to r33"),
            (lambda text: text.replace("<fov_video", "<fov"), "has no <fov_video>"),
            (lambda text: text.replace('right="63"', 'right="-9"'), "image size of -8 x 48"),
            (
                lambda text: text.replace("<calibration>", '<!DOCTYPE a [<!ENTITY b "c">]><calibration>'),
                "defines entities of its own",
            ),
        ],
    )
    def test_calibrations(self, tmp_path: Path, change: Callable[[str], str], match: str) -> None:
        write_rig(tmp_path, counts=(3, 3))
        (tmp_path / "room.qca.txt").write_text(change(qualisys(around(2))))
        refused(tmp_path, match)

    def test_no_video_of_any_camera(self, tmp_path: Path) -> None:
        write_rig(tmp_path, counts=(3, 3))
        for i in (1, 2):
            (tmp_path / "videos" / f"cam{i}.mp4").rename(tmp_path / "videos" / f"left{i}.mp4")
        refused(
            tmp_path, r"None of the videos .*left1.mp4, left2.mp4.* is named like a camera of room.qca.txt \(cam1, cam2"
        )
        for file in (tmp_path / "videos").iterdir():
            file.unlink()
        refused(tmp_path, "there are none")

    def test_two_videos_of_one_camera(self, tmp_path: Path) -> None:
        write_rig(tmp_path, counts=(3, 3))
        (tmp_path / "videos" / "cam2.mp4").rename(tmp_path / "videos" / "xcam1.mp4")
        (tmp_path / "videos" / "cam1.mp4").rename(tmp_path / "videos" / "ycam1.mp4")
        refused(tmp_path, "more than one video, or camera, fits cam1")

    def test_different_rates(self, tmp_path: Path) -> None:
        write_rig(tmp_path, counts=(6, 6))
        write_film(tmp_path / "videos" / "cam2.mp4", [numbered_frame(n) for n in range(6)], 60)
        refused(tmp_path, "cam1.mp4 has 30 frames a second and cam2.mp4 60")

    def test_another_shape_without_black_bars_is_a_crop(self, tmp_path: Path) -> None:
        write_rig(tmp_path, counts=(3, 3))
        write_film(tmp_path / "videos" / "cam2.mp4", [numbered_frame(n + 9, (64, 64)) for n in range(3)], 30)
        refused(tmp_path, "cam2.mp4 has frames of 64 x 64 pixels and its camera 64 x 48: that is a crop")

    def test_videos_that_are_none(self, tmp_path: Path) -> None:
        write_rig(tmp_path, counts=(3, 3))
        (tmp_path / "videos" / "cam2.mp4").write_bytes(b"no video")
        refused(tmp_path, r"cam2.mp4 is no video that can be read")
        write_film(tmp_path / "videos" / "cam2.mp4", [numbered_frame(0)], 30)
        refused(tmp_path, r"cam2.mp4 has no time stamps, or fewer than two frames")

    def test_two_calibrations(self, tmp_path: Path) -> None:
        write_rig(tmp_path, counts=(3, 3))
        (tmp_path / "videos" / "old.qca.txt").write_text(qualisys(around(2)))
        refused(tmp_path, r"holds 2 calibrations \(old.qca.txt, room.qca.txt\)|room.qca.txt, old.qca.txt")

    def test_several_videos_without_calibration(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            write_film(tmp_path / f"{name}.mp4", [numbered_frame(n) for n in range(3)])
        refused(tmp_path, "2 videos and no photographs; name one of them.*need a calibration")


class TestCameraFolders:
    def test_no_common_moment(self, tmp_path: Path) -> None:
        model = tmp_path / "sparse" / "0"
        model.mkdir(parents=True)
        (model / "cameras.txt").write_text("1 PINHOLE 40 30 50 52 20 15\n")
        (model / "images.txt").write_text("1 1 0 0 0 0 0 2 1 a/1.png\n\n2 1 0 0 0 1 0 2 1 b/7.png\n\n")
        (model / "points3D.txt").write_text("")
        for name in ("a/1", "a/2", "b/7", "b/8"):
            write_photo(tmp_path / "images" / f"{name}.png")
        refused(tmp_path, "no moment is in all of the folders a, b")


class TestCuts:
    def cut_film(self) -> list[np.ndarray]:
        there = film((WALL, *STANDING, MOVING), 8).frames
        elsewhere = film((replace(WALL, seed=11),), 8, step=(0.1, 0, 0)).frames
        return [*there, *elsewhere]

    def test_a_cut_is_said_with_its_time(self, tmp_path: Path) -> None:
        write_film(tmp_path / "film.mp4", self.cut_film(), 25)
        capture = read_capture(tmp_path / "film.mp4", video_frames=6)
        assert any(note.startswith("film.mp4 is cut at 0.32 s: the frame") for note in capture.notes)
        assert len(capture) == 6

    def test_of_photographs_too(self, tmp_path: Path) -> None:
        for i, pixels in enumerate(self.cut_film()):
            Image.fromarray(pixels).save(tmp_path / f"{i:03d}.png")
        assert any("is cut at 0.80 s" in note for note in read_capture(tmp_path, fps=10).notes)

    def test_a_film_without_one_has_none(self, tmp_path: Path) -> None:
        frames = film((WALL, *STANDING, MOVING), 16, step=(0.2, 0, 0.1), turn_rad=0.03).frames
        write_film(tmp_path / "film.mp4", frames)
        assert not any("cut" in note for note in read_capture(tmp_path / "film.mp4").notes)

    def test_noise_and_flat_frames_have_none(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        noise = [rng.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in range(6)]
        write_film(tmp_path / "noise.mp4", noise)
        write_film(tmp_path / "flat.mp4", [numbered_frame(n) for n in range(6)])
        for name in ("noise", "flat"):
            assert not any("cut" in note for note in read_capture(tmp_path / f"{name}.mp4").notes)


def test_json_that_is_no_object(tmp_path: Path) -> None:
    write_nerfies(tmp_path)
    (tmp_path / "scene.json").write_text(json.dumps([1, 2]))
    refused(tmp_path, "scene.json should hold an object, found list")
