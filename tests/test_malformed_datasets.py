"""Damaged and hostile data sets give one sentence that names the place."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fewview.scene.errors import BadInputError
from fewview.scene.readers import load_run_capture, read_capture, save_capture
from fewview.scene.readers.colmap_files import read_cameras, read_images, read_points3d
from fewview.scene.run import Run
from support.datasets import random_points, rewrite, write_colmap, write_photo, write_transforms


def _refused(path: Path, match: str, **options: Any) -> None:
    with pytest.raises(BadInputError, match=match):
        read_capture(path, **options)


class TestTransforms:
    @pytest.fixture
    def table(self, tmp_path: Path) -> dict[str, Any]:
        return write_transforms(tmp_path)[1]

    def _frame(self, tmp_path: Path, table: dict[str, Any], match: str, **changes: Any) -> None:
        table["frames"][2] |= changes
        rewrite(tmp_path / "transforms.json", table)
        _refused(tmp_path, f"frame 2.*{match}")

    @pytest.mark.parametrize("value", [None, 3, "", ["a"], {}])
    def test_file_path(self, tmp_path: Path, table: dict[str, Any], value: Any) -> None:
        self._frame(tmp_path, table, "'file_path' should be a file name", file_path=value)

    @pytest.mark.parametrize(
        "value",
        [
            None,
            [],
            [[1, 0, 0, 0]] * 3 + [[0, 0, 1]],
            np.eye(3).tolist(),
            "identity",
            [["a"] * 4] * 4,
            [[10**400] * 4] * 4,
        ],
    )
    def test_transform_matrix_shape(self, tmp_path: Path, table: dict[str, Any], value: Any) -> None:
        self._frame(tmp_path, table, "'transform_matrix' should be 4 x 4 finite numbers", transform_matrix=value)

    @pytest.mark.parametrize("diagonal", [(2, 2, 2.1, 1), (1, 1, -1, 1), (0, 0, 0, 1), (1, 1, 1.1, 1)])
    def test_transform_matrix_that_is_no_motion(
        self, tmp_path: Path, table: dict[str, Any], diagonal: tuple[float, ...]
    ) -> None:
        self._frame(tmp_path, table, "no rigid motion", transform_matrix=np.diag(diagonal).astype(float).tolist())

    @pytest.mark.parametrize("value", ["50", True, [50], {}])
    def test_numbers(self, tmp_path: Path, table: dict[str, Any], value: Any) -> None:
        self._frame(tmp_path, table, "'cx' should be a finite number", cx=value)

    @pytest.mark.parametrize("value", [0, -50])
    def test_focal_length(self, tmp_path: Path, table: dict[str, Any], value: float) -> None:
        self._frame(tmp_path, table, "focal length", fl_x=value)

    @pytest.mark.parametrize("value", [-4, 0, 1e12])
    def test_size(self, tmp_path: Path, table: dict[str, Any], value: float) -> None:
        self._frame(tmp_path, table, "'w' should be an image size in pixels", w=value)

    @pytest.mark.parametrize("model", ["EQUIRECTANGULAR", "FISHEYE624", 7])
    def test_camera_model(self, tmp_path: Path, table: dict[str, Any], model: Any) -> None:
        self._frame(tmp_path, table, f"camera_model .*{model}.* is not supported", camera_model=model)

    def test_duplicate_frames(self, tmp_path: Path, table: dict[str, Any]) -> None:
        self._frame(tmp_path, table, "the same file_path .* as frame 0", file_path="./images/00.png")

    @pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "images/../../x.png", "..\\..\\x.png", "a\0b"])
    def test_paths_stay_inside(self, tmp_path: Path, table: dict[str, Any], name: str) -> None:
        self._frame(tmp_path, table, "outside of|names no file", file_path=name)
        table["frames"][2]["file_path"] = "images/02.png"
        self._frame(tmp_path, table, "outside of|names no file", mask_path=name)

    def test_symbolic_links_stay_inside(self, tmp_path: Path) -> None:
        inner = tmp_path / "set"
        write_transforms(inner)
        write_photo(tmp_path / "secret.png")
        (inner / "images" / "02.png").unlink()
        (inner / "images" / "02.png").symlink_to(tmp_path / "secret.png")
        _refused(inner, "lies outside of .* --allow-outside")
        assert len(read_capture(inner, allow_outside=True)) == 4

    def test_a_missing_focal_length(self, tmp_path: Path, table: dict[str, Any]) -> None:
        for frame in table["frames"]:
            del frame["fl_x"], frame["fl_y"]
        rewrite(tmp_path / "transforms.json", table)
        _refused(tmp_path, "frame 0: no focal length; 'fl_x' or 'camera_angle_x'")

    def test_times_of_some_frames_only(self, tmp_path: Path, table: dict[str, Any]) -> None:
        table["frames"][0]["time"] = 0.5
        rewrite(tmp_path / "transforms.json", table)
        _refused(tmp_path, "1 of 4 frames have a 'time'")

    @pytest.mark.parametrize(
        ("text", "match"),
        [
            ("", "is not JSON"),
            ("{", "is not JSON"),
            ("[]", "list 'frames'"),
            ('{"frames": []}', "list 'frames'"),
            ('{"frames": {}}', "list 'frames'"),
            ('{"frames": [3]}', "frame 0 should be an object"),
            ('{"frames": [{}]}', "'file_path'"),
            ('{"frames": [], "w": NaN}', "NaN is not finite"),
            ('{"frames": [], "w": -Infinity}', "-Infinity is not finite"),
            ('{"frames": [], "w": 1e999}', "1e999 is not finite"),
            ('{"frames": [1], "frames": [2]}', "'frames' is given twice"),
            ("[" * 100_000, "cannot be used"),
            ('{"w": ' + "9" * 5000 + "}", "cannot be used"),
        ],
    )
    def test_json_that_is_none(self, tmp_path: Path, text: str, match: str) -> None:
        (tmp_path / "transforms.json").write_text(text)
        _refused(tmp_path, match)

    def test_not_text(self, tmp_path: Path) -> None:
        (tmp_path / "transforms.json").write_bytes(b"\xff\xfe{}")
        _refused(tmp_path, "not UTF-8")

    def test_a_byte_order_mark_is_harmless(self, tmp_path: Path, table: dict[str, Any]) -> None:
        (tmp_path / "transforms.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(table).encode())
        assert len(read_capture(tmp_path)) == 4

    def test_no_photograph_at_all(self, tmp_path: Path, table: dict[str, Any]) -> None:
        for frame in table["frames"]:
            (tmp_path / frame["file_path"]).unlink()
        _refused(tmp_path, "None of the 4 photographs")

    def test_a_photograph_damaged_after_reading_is_named(self, tmp_path: Path, table: dict[str, Any]) -> None:
        photo = tmp_path / "images" / "01.png"
        capture = read_capture(tmp_path)
        photo.write_bytes(photo.read_bytes()[:60])
        with pytest.raises(BadInputError, match=r"01\.png is damaged"):
            capture.image(1)

    def test_what_cannot_be_read_is_left_out_and_named(self, tmp_path: Path, table: dict[str, Any]) -> None:
        photo = tmp_path / "images" / "01.png"
        photo.write_bytes(photo.read_bytes()[:-60])
        (tmp_path / "images" / "02.png").write_bytes(b"no photograph")
        (tmp_path / "depth.png").write_bytes(b"no depth")
        (tmp_path / "mask.png").write_bytes(b"no mask")
        table["frames"][0]["depth_file_path"] = "depth.png"
        table["frames"][3]["mask_path"] = "mask.png"
        rewrite(tmp_path / "transforms.json", table)
        capture = read_capture(tmp_path)
        assert capture.names == ["images/00.png", "images/03.png"]
        assert capture.frames[0].load_depth is None
        assert capture.frames[1].load_mask is None
        notes = " ".join(capture.notes)
        assert all(name in notes for name in ("01.png", "02.png", "depth.png", "mask.png"))
        for frame in table["frames"]:
            (tmp_path / frame["file_path"]).write_bytes(b"no photograph")
        _refused(tmp_path, "None of the 4 photographs .* can be read. The first: .*00.png")

    @pytest.mark.parametrize(
        ("changes", "degrees"), [({"fl_x": 1.25}, 173), ({"fl_y": 0.9}, 173), ({"fl_x": 5.3}, 150)]
    )
    def test_intrinsics_in_another_unit(
        self, tmp_path: Path, table: dict[str, Any], changes: dict[str, float], degrees: int
    ) -> None:
        self._frame(tmp_path, table, f"would see {degrees} degrees.*write them in pixels", **changes)

    def test_a_principal_point_outside_of_the_photograph_is_told(self, tmp_path: Path, table: dict[str, Any]) -> None:
        table["frames"][2]["cx"] = 47.0
        rewrite(tmp_path / "transforms.json", table)
        assert any("principal point of 1 cameras" in note and "02.png" in note for note in read_capture(tmp_path).notes)


class TestColmap:
    @pytest.fixture
    def model(self, tmp_path: Path) -> Path:
        write_colmap(tmp_path)
        return tmp_path / "sparse" / "0"

    def _read_all(self, model: Path) -> None:
        read_images(model, read_cameras(model))
        read_points3d(model)

    @pytest.mark.parametrize("name", ["cameras.bin", "images.bin", "points3D.bin"])
    def test_truncation(self, model: Path, name: str) -> None:
        whole = (model / name).read_bytes()
        for cut in [*range(min(120, len(whole))), *range(120, len(whole), 101), len(whole) - 1]:
            (model / name).write_bytes(whole[:cut])
            with pytest.raises(BadInputError, match=rf"{name} is damaged or cut short: .* byte \d+"):
                self._read_all(model)

    @pytest.mark.parametrize("name", ["cameras.bin", "images.bin", "points3D.bin"])
    @pytest.mark.parametrize("count", [10**6, 10**12, 2**63, 2**64 - 1])
    def test_inflated_counts(self, model: Path, name: str, count: int) -> None:
        whole = (model / name).read_bytes()
        (model / name).write_bytes(count.to_bytes(8, "little") + whole[8:])
        with pytest.raises(BadInputError, match=f"{count} .* are promised at byte 0"):
            self._read_all(model)

    @pytest.mark.parametrize("name", ["cameras.bin", "images.bin", "points3D.bin"])
    def test_bit_flips(self, model: Path, name: str) -> None:
        whole = (model / name).read_bytes()
        for byte in range(0, min(400, len(whole))):
            damaged = bytearray(whole)
            damaged[byte] ^= 1 << (byte * 5) % 8
            (model / name).write_bytes(bytes(damaged))
            with contextlib.suppress(BadInputError):
                self._read_all(model)

    @pytest.mark.parametrize(("number", "name"), [(17, "EQUIRECTANGULAR"), (99, "unknown"), (-1, "unknown")])
    def test_unsupported_models_are_named(self, model: Path, number: int, name: str) -> None:
        data = bytearray((model / "cameras.bin").read_bytes())
        data[12:16] = number.to_bytes(4, "little", signed=True)
        (model / "cameras.bin").write_bytes(bytes(data))
        with pytest.raises(BadInputError, match=rf"camera model {name} \(number {number}\)"):
            read_cameras(model)

    def test_poses_that_are_not_numbers(self, model: Path) -> None:
        data = bytearray((model / "images.bin").read_bytes())
        data[12:20] = np.float64(np.nan).tobytes()
        (model / "images.bin").write_bytes(bytes(data))
        with pytest.raises(BadInputError, match="no valid pose"):
            self._read_all(model)

    def test_points_that_are_not_numbers_are_left_out(self, model: Path) -> None:
        data = bytearray((model / "points3D.bin").read_bytes())
        data[16:24] = np.float64(np.inf).tobytes()
        (model / "points3D.bin").write_bytes(bytes(data))
        capture = read_capture(model.parent.parent)
        assert capture.points is not None
        assert len(capture.points) == 29
        assert "1 points" in capture.notes[0]

    def test_a_truncated_photograph_is_left_out(self, model: Path) -> None:
        photo = sorted((model.parent.parent / "images").rglob("*.png"))[1]
        photo.write_bytes(photo.read_bytes()[:-60])
        capture = read_capture(model.parent.parent)
        assert len(capture) == 3
        assert any("1 of 4" in note and photo.name in note for note in capture.notes)

    def test_names_stay_inside(self, model: Path) -> None:
        data = (model / "images.bin").read_bytes()
        name = sorted((model.parent.parent / "images").rglob("*.png"))[0].relative_to(model.parent.parent / "images")
        (model / "images.bin").write_bytes(data.replace(str(name).encode(), b"../" + str(name).encode()[3:]))
        _refused(model.parent.parent, "lies outside of")

    def test_no_photographs(self, model: Path, tmp_path: Path) -> None:
        (tmp_path / "nothing").mkdir()
        _refused(tmp_path, "None of the 4 photographs .* --images", images=tmp_path / "nothing")
        _refused(tmp_path, "is not a folder", images=tmp_path / "absent")
        _refused(tmp_path / "images", "holds no COLMAP model", images=tmp_path / "images")

    @pytest.mark.parametrize(
        ("file", "text", "match"),
        [
            ("cameras.txt", "1 PINHOLE 40", "line 1: camera id"),
            ("cameras.txt", "1 PINHOLE 40 30 50 50 20", "PINHOLE has 4 parameters, found 3"),
            ("cameras.txt", "1 MAGIC 40 30 50", "camera model MAGIC"),
            ("cameras.txt", "1 PINHOLE 40 30 nan 50 20 15", "not a finite number"),
            (
                "cameras.txt",
                "1 PINHOLE 40 30 50 50 20 15\n1 PINHOLE 40 30 50 50 20 15",
                "two cameras with the number 1",
            ),
            ("images.txt", "1 1 0 0 0 0 0 0 1", "line 1: image id"),
            ("images.txt", "1 1 0 0 0 0 0 0 9 a.png\n", "taken by camera 9"),
            ("images.txt", "1 0 0 0 0 0 0 0 1 a.png\n", "no valid pose"),
            ("images.txt", "1 1 0 0 0 0 0 0 1 a.png\n1 2", "line 2: 2D points"),
            ("images.txt", "", "no registered images"),
            ("points3D.txt", "1 0 0 0 256 0 0 0", "line 1: point id"),
        ],
    )
    def test_text(self, tmp_path: Path, file: str, text: str, match: str) -> None:
        files = {
            "cameras.txt": "# comment\n1 PINHOLE 40 30 50 50 20 15\n",
            "images.txt": "1 1 0 0 0 0 0 0 1 a.png\n\n",
            "points3D.txt": "",
        }
        write_photo(tmp_path / "images" / "a.png")
        for name, content in (files | {file: text}).items():
            (tmp_path / name).write_text(content)
        _refused(tmp_path, match)


@pytest.mark.parametrize("missing", ["images/images_00.png", "points.ply", "cameras.json"])
def test_runs_that_lost_files(tmp_path: Path, missing: str) -> None:
    write_transforms(tmp_path / "data")
    run = Run.create(tmp_path / "run", {})
    save_capture(run, replace(read_capture(tmp_path / "data"), points=random_points(5, 4)), 40)
    (run.path / missing).unlink()
    with pytest.raises(BadInputError, match=Path(missing).name):
        load_run_capture(run)


def test_paths_that_are_nothing(tmp_path: Path) -> None:
    _refused(tmp_path / "absent", "is not there; a folder of photographs")
    (tmp_path / "a.txt").write_text("hello")
    _refused(tmp_path / "a.txt", "unknown kind")
