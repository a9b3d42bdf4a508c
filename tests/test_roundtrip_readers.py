"""Every reader gives back the cameras, pixels and points of a data set whose answers are known."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import imageio_ffmpeg
import numpy as np
import pycolmap
import pytest
import torch
from fewview.scene.capture import Capture
from fewview.scene.errors import BadInputError
from fewview.scene.points_ply import write_points
from fewview.scene.readers import load_run_capture, read_capture, save_cameras, save_capture
from fewview.scene.readers.film_index import upright_pixels, upright_size
from fewview.scene.readers.lens import make_lens
from fewview.scene.run import Run
from PIL import Image
from support.datasets import (
    random_points,
    rewrite,
    ring_cameras,
    transforms_table,
    write_colmap,
    write_photo,
    write_transforms,
)

POSE = {"rtol": 0, "atol": 2e-6}  # float32 of an inverse that was computed in float64


def _cameras(capture: Capture) -> Any:
    assert capture.cameras is not None
    return capture.cameras


class TestTransforms:
    def test_cameras_and_pixels(self, tmp_path: Path) -> None:
        cameras, _ = write_transforms(tmp_path)
        for capture in (read_capture(tmp_path), read_capture(tmp_path / "transforms.json")):
            torch.testing.assert_close(_cameras(capture).cam_from_world, cameras.cam_from_world, **POSE)
            torch.testing.assert_close(_cameras(capture).K, cameras.K)
            assert capture.names == [f"images/{i:02d}.png" for i in range(4)]
            assert np.array_equal(capture.image(2).numpy(), np.array(Image.open(tmp_path / "images" / "02.png")))

    def test_missing_photographs_are_left_out(self, tmp_path: Path) -> None:
        cameras, _ = write_transforms(tmp_path)
        (tmp_path / "images" / "01.png").unlink()
        capture = read_capture(tmp_path)
        torch.testing.assert_close(_cameras(capture).cam_from_world, cameras.cam_from_world[[0, 2, 3]], **POSE)
        assert "1 of the 4 photographs" in capture.notes[0]

    def test_photographs_of_another_size(self, tmp_path: Path) -> None:
        cameras, _ = write_transforms(tmp_path)
        for i in range(4):
            write_photo(tmp_path / "images" / f"{i:02d}.png", 20, 15)
        torch.testing.assert_close(_cameras(read_capture(tmp_path)).K, cameras.resized(20, 15).K)

    def test_shared_intrinsics_and_field_of_view(self, tmp_path: Path) -> None:
        _, table = write_transforms(tmp_path)
        for frame in table["frames"]:
            for key in ("fl_x", "fl_y", "cx", "cy", "w", "h"):
                del frame[key]
            frame["file_path"] = "./" + frame["file_path"].removesuffix(".png")
        rewrite(tmp_path / "transforms.json", {"camera_angle_x": 2 * float(np.arctan(0.5)), **table})
        K = _cameras(read_capture(tmp_path)).K[0]
        torch.testing.assert_close(K, torch.tensor([[40.0, 0, 20], [0, 40, 15], [0, 0, 1]]))
        rewrite(tmp_path / "transforms.json", {"fl_x": 33.0, "fl_y": 34.0, "cx": 19.0, "camera_angle_x": 1.0, **table})
        K = _cameras(read_capture(tmp_path)).K[0]
        torch.testing.assert_close(K, torch.tensor([[33.0, 0, 19], [0, 34, 15], [0, 0, 1]]))

    def test_splits_times_points_masks_and_depths(self, tmp_path: Path) -> None:
        _, table = write_transforms(tmp_path)
        names = [frame["file_path"] for frame in table["frames"]]
        for i, frame in enumerate(table["frames"]):
            frame["time"] = i / 3
        table |= {"train_filenames": names[:2], "val_filenames": [names[2]], "test_filenames": ["./" + names[3]]}
        table["ply_file_path"] = "points.ply"
        write_points(tmp_path / "points.ply", random_points(7, 4))
        Image.fromarray(np.uint8([[0, 255]]).repeat(30, 0).repeat(20, 1)).save(tmp_path / "mask.png")
        Image.fromarray(np.full((30, 40), 2500, np.uint16)).save(tmp_path / "depth.png")
        table["frames"][0] |= {"mask_path": "mask.png", "depth_file_path": "depth.png"}
        table["frames"][1]["mask_path"] = "no_mask.png"
        rewrite(tmp_path / "transforms.json", table)
        capture = read_capture(tmp_path)
        assert capture.names == [names[0], names[1], names[3]]
        assert capture.test == (2,)
        assert capture.times_s is not None
        torch.testing.assert_close(capture.times_s, torch.tensor([0, 1 / 3, 1]))
        assert capture.points is not None
        assert len(capture.points) == 7
        assert capture.points.seen_view is None
        first = capture.frames[0]
        assert first.load_mask is not None
        assert first.load_depth is not None
        assert np.array_equal(first.load_mask(), np.arange(40)[None].repeat(30, 0) >= 20)
        assert first.load_depth() == pytest.approx(np.full((30, 40), 2.5))
        assert any("no_mask.png" in note for note in capture.notes)
        assert any("1 photographs" in note and "validation" in note for note in capture.notes)

    def test_times_are_kept_in_the_unit_of_the_file(self, tmp_path: Path) -> None:
        _, table = write_transforms(tmp_path)
        for i, frame in enumerate(table["frames"]):
            frame["time"] = 100 + 10 * i
        rewrite(tmp_path / "transforms.json", table)
        capture = read_capture(tmp_path)
        assert capture.times_s is not None
        assert capture.times_s.tolist() == [100, 110, 120, 130]
        assert capture.duration_s == 30
        assert capture.cameras is not None
        assert capture.cameras.times_s is not None
        assert capture.cameras.times_s.tolist() == [100, 110, 120, 130]


def test_blender_scenes(tmp_path: Path) -> None:
    cameras = ring_cameras(6)
    for split, chosen in (("train", [0, 1, 2]), ("val", [3]), ("test", [4, 5])):
        names = [f"./{split}/r_{i}" for i in range(len(chosen))]
        table = transforms_table(cameras[chosen], names, camera_angle_x=2 * float(np.arctan(0.4)))
        for i, frame in enumerate(table["frames"]):
            del frame["fl_x"], frame["fl_y"], frame["cx"], frame["cy"], frame["w"], frame["h"]
            frame["time"] = i / 2
            write_photo(tmp_path / f"{split}/r_{i}.png", seed=i, mode="RGBA")
        rewrite(tmp_path / f"transforms_{split}.json", table)
    capture = read_capture(tmp_path)
    assert capture.names == ["train/r_0", "train/r_1", "train/r_2", "test/r_0", "test/r_1"]
    assert capture.test == (3, 4)
    torch.testing.assert_close(_cameras(capture).cam_from_world, cameras.cam_from_world[[0, 1, 2, 4, 5]], **POSE)
    torch.testing.assert_close(_cameras(capture).K[0, 0, 0], torch.tensor(50.0))  # 0.5 * 40 / 0.4
    assert capture.times_s is not None
    assert capture.times_s.tolist() == [0, 0.5, 1, 0, 0.5]
    assert capture.image(0).shape == (30, 40, 4)
    assert any("validation" in note for note in capture.notes)


class TestColmap:
    @pytest.mark.parametrize("text", [False, True])
    def test_poses_and_observations_are_pycolmaps(self, tmp_path: Path, text: bool) -> None:
        truth = write_colmap(tmp_path, text=text)
        capture = read_capture(tmp_path)
        cameras = _cameras(capture)
        points = capture.points
        assert points is not None
        assert points.seen_point is not None
        assert points.seen_view is not None
        assert len(points) == len(truth.points3D)
        by_name = {image.name: image for image in truth.images.values()}
        assert capture.names == sorted(by_name)
        observed = set()
        for i, name in enumerate(capture.names):
            image = by_name[name]
            expected = torch.from_numpy(image.cam_from_world().matrix()).float()
            torch.testing.assert_close(cameras.cam_from_world[i, :3], expected, **POSE)
            observed |= {
                (tuple(np.float32(truth.points3D[p.point3D_id].xyz).tolist()), i)
                for p in image.points2D
                if p.has_point3D()
            }
        found = {
            (tuple(points.xyz[p].tolist()), v)
            for p, v in zip(points.seen_point.tolist(), points.seen_view.tolist(), strict=True)
        }
        if text:  # text keeps 17 digits, and float32 of them may round the other way
            assert len(found) == len(observed)
        else:
            assert found == observed

    def test_the_largest_sub_model_is_taken(self, tmp_path: Path) -> None:
        write_colmap(tmp_path)
        (tmp_path / "sparse" / "0").rename(tmp_path / "sparse" / "1")
        write_colmap(tmp_path / "other")
        small = pycolmap.Reconstruction(str(tmp_path / "other" / "sparse" / "0"))
        small.deregister_frame(1)
        (tmp_path / "sparse" / "0").mkdir()
        small.write_binary(str(tmp_path / "sparse" / "0"))
        assert len(read_capture(tmp_path)) == 4

    def test_images_elsewhere_and_of_another_size(self, tmp_path: Path) -> None:
        write_colmap(tmp_path)
        (tmp_path / "images").rename(tmp_path / "elsewhere")
        for file in (tmp_path / "elsewhere").rglob("*.png"):
            write_photo(file, 80, 60)
        capture = read_capture(tmp_path, images=tmp_path / "elsewhere")
        K = _cameras(capture).K[0]
        torch.testing.assert_close(K, torch.tensor([[120.0, 0, 40], [0, 120, 30], [0, 0, 1]]))

    def test_missing_photographs_are_left_out(self, tmp_path: Path) -> None:
        write_colmap(tmp_path)
        next(iter(sorted((tmp_path / "images").rglob("*.png")))).unlink()
        capture = read_capture(tmp_path)
        assert len(capture) == 3
        assert capture.points is not None
        assert capture.points.seen_view is not None
        assert capture.points.seen_view.max() <= 2
        assert "1 of 4 photographs" in capture.notes[0]


@pytest.mark.parametrize("text", [True, False])
def test_rigs_and_frames_of_colmap_4(tmp_path: Path, text: bool) -> None:
    """Two cameras on one rig: the cameras are those that pycolmap composes of rig and frame."""
    pycolmap.set_random_seed(0)
    options = pycolmap.SyntheticDatasetOptions(
        num_rigs=1, num_cameras_per_rig=2, num_frames_per_rig=3, num_points3D=20, sensor_from_rig_rotation_stddev=10.0
    )
    options.camera_width, options.camera_height = 40, 30
    options.camera_model_id = pycolmap.CameraModelId.PINHOLE
    options.camera_params = [60, 62, 20, 15]
    reconstruction = pycolmap.synthesize_dataset(options)
    (tmp_path / "sparse").mkdir()
    (reconstruction.write_text if text else reconstruction.write_binary)(str(tmp_path / "sparse"))
    assert list((tmp_path / "sparse").glob("rigs.*"))
    for i, image in enumerate(reconstruction.images.values()):
        write_photo(tmp_path / "images" / image.name, seed=i, format="PNG")
    capture = read_capture(tmp_path)
    assert len(capture) == 6
    expected = {image.name: image.cam_from_world().matrix() for image in reconstruction.images.values()}
    for i, name in enumerate(capture.names):
        found = _cameras(capture).cam_from_world[i, :3].double().numpy()
        # Coordinates of a few units in float32; the text form has 17 digits.
        assert found == pytest.approx(expected[name], abs=2e-6)


def test_cameras_of_different_sizes(tmp_path: Path) -> None:
    """Each image has a camera and a size of its own, and one of the photographs is half as large as its camera."""
    sizes = [(40, 30), (30, 40), (64, 36)]
    (tmp_path / "cameras.txt").write_text(
        "".join(f"{i + 1} PINHOLE {w} {h} {w + 5} {w + 7} {w / 2} {h / 2}\n" for i, (w, h) in enumerate(sizes))
    )
    (tmp_path / "images.txt").write_text("".join(f"{i} 1 0 0 0 {i} 0 0 {i} {i}.png\n\n" for i in (1, 2, 3)))
    for i, (w, h) in enumerate(sizes):
        write_photo(tmp_path / "images" / f"{i + 1}.png", *((32, 18) if i == 2 else (w, h)), seed=i)
    capture = read_capture(tmp_path)
    assert [(f.width, f.height) for f in capture.frames] == [(40, 30), (30, 40), (32, 18)]
    assert _cameras(capture).K[:, 0, 0].tolist() == [45, 35, 34.5]
    assert _cameras(capture).K[:, 1, 2].tolist() == [15, 20, 9]


class TestLlff:
    def _write(self, folder: Path, cameras: Any, depth_range: tuple[float, float] = (1.0, 9.0)) -> None:
        """The layout by its definition: axes down, right and backwards, the centre, height, width, focal length."""
        rows = []
        for i in range(len(cameras)):
            world_from_cam = np.linalg.inv(cameras.cam_from_world[i].double().numpy())
            right, down, forward, center = world_from_cam[:3].T
            size = [float(cameras.height[i]), float(cameras.width[i]), float(cameras.K[i, 0, 0])]
            rows.append([*np.stack([down, right, -forward, center, size], axis=1).ravel(), *depth_range])
        np.save(folder / "poses_bounds.npy", np.array(rows))

    def test_cameras_and_pixels(self, tmp_path: Path) -> None:
        cameras = ring_cameras(4)
        for i in range(4):
            write_photo(tmp_path / "images" / f"IMG_{i}.png", seed=i)
            write_photo(tmp_path / "images_8" / f"image{i:03d}.png", 5, 4, seed=i)
        self._write(tmp_path, cameras)
        capture = read_capture(tmp_path)
        assert capture.names == [f"images/IMG_{i}.png" for i in range(4)]
        torch.testing.assert_close(_cameras(capture).cam_from_world, cameras.cam_from_world, **POSE)
        assert _cameras(capture).K[0].tolist() == [[50, 0, 20], [0, 50, 15], [0, 0, 1]]
        (tmp_path / "images" / "IMG_3.png").unlink()
        # Only the small copies are complete; their cameras shrink with them.
        assert _cameras(read_capture(tmp_path)).K[0, 0, 0] == pytest.approx(50 / 8)

    def test_files_that_are_none(self, tmp_path: Path) -> None:
        write_photo(tmp_path / "images" / "a.png")
        path = tmp_path / "poses_bounds.npy"
        for array in (np.zeros((1, 16)), np.zeros((0, 17)), np.zeros((1, 17), complex)):
            np.save(path, array)
            with pytest.raises(BadInputError, match="should hold N x 17 numbers"):
                read_capture(tmp_path)
        np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
        with pytest.raises(BadInputError, match="not a NumPy array file"):
            read_capture(tmp_path)
        np.save(path, np.zeros((1, 17)))
        with pytest.raises(BadInputError, match="no rotation in its first three columns"):
            read_capture(tmp_path)
        np.save(path, np.zeros((3, 17)))
        with pytest.raises(BadInputError, match=r"cameras for 3 photographs, found 1 in .*images"):
            read_capture(tmp_path)


LENSES = [
    ("SIMPLE_RADIAL", (60, 20, 15, 0.2)),
    ("RADIAL", (60, 20, 15, -0.2, 0.05)),
    ("OPENCV", (60, 62, 21, 14, 0.1, -0.05, 0.01, -0.02)),
    ("OPENCV_FISHEYE", (40, 41, 20, 15, 0.05, 0.01, 0, 0)),
    ("FULL_OPENCV", (60, 62, 21, 14, 0.1, -0.05, 0.01, -0.02, 0.01, 0.02, 0, 0)),
    ("FOV", (60, 62, 20, 15, 0.4)),
    ("SIMPLE_RADIAL_FISHEYE", (40, 20, 15, 0.05)),
    ("RADIAL_FISHEYE", (40, 20, 15, 0.05, 0.01)),
    ("THIN_PRISM_FISHEYE", (40, 41, 20, 15, 0.05, 0, 0.001, 0.001, 0, 0, 0.002, 0.001)),
    ("RAD_TAN_THIN_PRISM_FISHEYE", (40, 41, 20, 15, 0.05, 0, 0, 0, 0, 0, 0.001, 0.001, 0.002, 0, 0.001, 0)),
    ("SIMPLE_DIVISION", (60, 20, 15, -0.05)),
    ("DIVISION", (60, 62, 20, 15, -0.05)),
    ("SIMPLE_FISHEYE", (40, 20, 15)),
    ("FISHEYE", (40, 41, 20, 15)),
    ("EUCM", (60, 62, 20, 15, 0.5, 1.1)),
]


@pytest.mark.parametrize(("model", "params"), LENSES)
def test_undistortion_shows_what_a_pinhole_would(model: str, params: tuple[float, ...]) -> None:
    """A picture whose value is a smooth function of the viewing ray, seen through the lens and through a pinhole."""
    scale = 10  # fine pixels, so that bilinear interpolation of the smooth picture is exact to a grey level
    lens = make_lens(model, params, 40, 30, "test").resized(40 * scale, 30 * scale)
    height, width = lens.height, lens.width
    pixels = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), -1).reshape(-1, 2)

    def shade(rays: np.ndarray) -> np.ndarray:
        return (128 + 60 * np.sin(4 * rays[:, 0]) + 60 * np.cos(5 * rays[:, 1])).reshape(height, width)

    camera = pycolmap.Camera(model=model, width=width, height=height, params=list(lens.params))
    seen = np.nan_to_num(shade(camera.cam_from_img(pixels))).clip(0, 255).round().astype(np.uint8)
    K = lens.K
    expected = shade((pixels - K[[0, 1], 2]) / K[[0, 1], [0, 1]])
    covered = lens.covered()
    inside = np.ones((height, width), bool) if covered is None else covered
    assert inside.mean() > 0.7
    # The outermost half pixel has no neighbour to interpolate with.
    inside = cv2.erode(np.pad(inside.astype(np.uint8), 1), np.ones((3, 3), np.uint8))[1:-1, 1:-1].astype(bool)
    error = np.abs(lens.undistort(seen).astype(float) - expected)[inside]
    assert error.max() < 2.0  # rounding twice and 1/32-pixel interpolation weights


def test_videos_give_the_sharp_frame_of_each_window(tmp_path: Path) -> None:
    """Of every ten frames one is sharp; its grey level tells its number."""
    path = tmp_path / "film.mp4"
    writer = imageio_ffmpeg.write_frames(str(path), (64, 48), fps=10, quality=9, macro_block_size=1)
    writer.send(None)
    noise = np.random.default_rng(0).integers(0, 60, (48, 64, 1), dtype=np.uint8)
    for i in range(40):
        frame = np.full((48, 64, 3), 20 + 4 * i, np.uint8) + noise
        writer.send(np.ascontiguousarray(frame if i % 10 == 7 else cv2.blur(frame, (9, 9))))
    writer.close()
    capture = read_capture(path, video_frames=4)
    assert capture.names == [f"film_{i:06d}.png" for i in (7, 17, 27, 37)]
    assert capture.image(1).shape == (48, 64, 3)
    assert len(read_capture(path, video_frames=100)) == 40
    told: list[tuple[int, int]] = []
    read_capture(path, video_frames=4, progress=lambda _, done, total, __=None: told.append((done, total)))
    assert told == [(i + 1, 40) for i in range(40)]  # a long film takes long
    (tmp_path / "cut.mp4").write_bytes(path.read_bytes()[:2000])
    with pytest.raises(BadInputError, match=r"cut\.mp4"):
        read_capture(tmp_path / "cut.mp4")


@pytest.mark.parametrize(("aspect", "size"), [((4, 3), (64, 36)), ((1, 2), (48, 72)), ((90, 1), (48, 36))])
def test_videos_have_square_pixels(tmp_path: Path, aspect: tuple[int, int], size: tuple[int, int]) -> None:
    """A disc that the anamorphic pixels squeeze is round again; an aspect that no camera has is not believed."""
    wide = aspect[0] / aspect[1] if size != (48, 36) else 1.0
    y, x = np.mgrid[0:36, 0:48] + 0.5
    # Of a radius of 15 pixels of the shorter kind, drawn as the video's pixels see it.
    across, down = (x - 24) * max(wide, 1), (y - 18) * max(1 / wide, 1)
    disc = np.uint8(255) * (np.hypot(across, down) < 15)[..., None].repeat(3, 2).astype(np.uint8)
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 48, 36, "yuv420p", 10**6
        stream.codec_context.sample_aspect_ratio = Fraction(*aspect)
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(disc, format="rgb24")))
        container.mux(stream.encode())
    capture = read_capture(path)
    frame = capture.image(0).numpy()[..., 0] > 127
    assert (capture.frames[0].width, capture.frames[0].height) == size
    columns, rows = frame.any(0).sum(), frame.any(1).sum()
    assert abs(int(columns) - int(rows)) <= 2  # a pixel on either side
    assert any("squared" in note for note in capture.notes) == (size != (48, 36))


@pytest.mark.parametrize("rotation", [0, 90, -90, 180, 270])
@pytest.mark.parametrize("aspect", [1.0, 4 / 3, 0.5])
def test_the_size_of_a_frame_is_known_without_its_pixels(rotation: int, aspect: float) -> None:
    picture = av.VideoFrame.from_ndarray(np.zeros((36, 48, 3), np.uint8), "rgb24")

    class Turned:  # PyAV writes no display matrix
        width, height, to_ndarray = picture.width, picture.height, picture.to_ndarray

    turned: Any = Turned()
    turned.rotation = rotation
    assert upright_size(turned, aspect) == upright_pixels(turned, aspect).shape[:2]


class TestRun:
    def _capture(self, folder: Path) -> Capture:
        cameras, table = write_transforms(folder)
        Image.fromarray(np.uint8([[0, 255]]).repeat(30, 0).repeat(20, 1)).save(folder / "mask.png")
        Image.fromarray(np.full((30, 40), 2500, np.uint16)).save(folder / "depth.png")
        table["frames"][0] |= {"mask_path": "mask.png", "depth_file_path": "depth.png"}
        rewrite(folder / "transforms.json", table)
        capture = read_capture(folder)
        timed = tuple(replace(frame, time_s=t) for frame, t in zip(capture.frames, (0, 0.25, 0.5, 1.0), strict=True))
        return replace(
            capture, frames=timed, cameras=cameras, points=random_points(9, 4), test=(1, 3), notes=("A note.",)
        )

    def test_everything_comes_back(self, tmp_path: Path) -> None:
        capture = self._capture(tmp_path / "data")
        run = Run.create(tmp_path / "run", {})
        saved = save_capture(run, capture, max_side=1000)
        for read in (saved, load_run_capture(run), read_capture(run.path)):
            assert read.names == capture.names
            assert (read.test, read.notes, read.source) == ((1, 3), ("A note.",), capture.source)
            torch.testing.assert_close(_cameras(read).cam_from_world, _cameras(capture).cam_from_world, **POSE)
            assert torch.equal(_cameras(read).K, _cameras(capture).K)
            assert read.times_s is not None
            assert read.times_s.tolist() == [0, 0.25, 0.5, 1]
            assert read.points is not None
            assert capture.points is not None
            assert torch.equal(read.points.xyz, capture.points.xyz)
            assert read.points.seen_view is not None
            assert capture.points.seen_view is not None
            assert torch.equal(read.points.seen_view, capture.points.seen_view)
            for i in range(4):
                assert torch.equal(read.image(i), capture.image(i))
            first = read.frames[0]
            assert first.load_mask is not None
            assert first.load_depth is not None
            assert first.load_mask().sum() == 600
            assert first.load_depth() == pytest.approx(np.full((30, 40), 2.5))

    def test_refined_cameras_replace_those_of_the_run_and_nothing_else(self, tmp_path: Path) -> None:
        run = Run.create(tmp_path / "run", {})
        before = save_capture(run, self._capture(tmp_path / "data"), max_side=1000)
        refined = _cameras(before).cam_from_world.clone()
        refined[:, 0, 3] += 0.25
        save_cameras(run, replace(_cameras(before), cam_from_world=refined))
        after = load_run_capture(run)
        torch.testing.assert_close(_cameras(after).cam_from_world, refined, **POSE)
        assert (after.names, after.test, after.notes) == (before.names, before.test, before.notes)
        assert torch.equal(_cameras(after).K, _cameras(before).K)
        with pytest.raises(ValueError, match="expected 4 cameras"):
            save_cameras(run, _cameras(before)[:2])

    def test_photographs_are_made_smaller(self, tmp_path: Path) -> None:
        capture = self._capture(tmp_path / "data")
        saved = save_capture(Run.create(tmp_path / "run", {}), capture, max_side=20)
        assert (saved.frames[0].width, saved.frames[0].height) == (20, 15)
        torch.testing.assert_close(_cameras(saved).K, _cameras(capture).resized(20, 15).K)

    def test_it_does_not_need_the_photographs_any_more(self, tmp_path: Path) -> None:
        capture = self._capture(tmp_path / "data")
        run = Run.create(tmp_path / "run", {})
        save_capture(run, capture, max_side=40)
        (tmp_path / "data").rename(tmp_path / "gone")
        (tmp_path / "run").rename(tmp_path / "moved")
        assert load_run_capture(Run(tmp_path / "moved")).image(3).shape == (30, 40, 3)

    def test_names_that_would_collide_as_files(self, tmp_path: Path) -> None:
        capture = self._capture(tmp_path / "data").subset([0, 1, 2])
        names = ["a/b.png", "a_b.jpg", "A/B.png"]
        frames = tuple(replace(f, name=n) for f, n in zip(capture.frames, names, strict=True))
        saved = save_capture(Run.create(tmp_path / "run", {}), replace(capture, frames=frames), max_side=40)
        assert saved.names == names
        assert all(torch.equal(saved.image(i), capture.image(i)) for i in range(3))
