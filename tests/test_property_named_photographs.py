"""Photographs are found where a data set was made on another computer, under names as programs write them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from fewview.scene.errors import BadInputError
from fewview.scene.readers import read_capture
from support.datasets import rewrite, write_colmap, write_photo, write_transforms

POSE = {"rtol": 0, "atol": 2e-6}  # float32 of an inverse that was computed in float64


@pytest.mark.parametrize(
    ("written", "noted"),
    [
        ("images\\{stem}.png", False),
        ("C:\\Users\\me\\scene\\images\\{stem}.png", True),
        ("/home/me/scene/images/{stem}.png", True),
        ("images/{stem}.PNG", True),
        ("IMAGES/{stem}.png", True),
        ("images/{stem}.jpg", True),
        ("{stem}.png", True),
    ],
)
def test_transforms_names(tmp_path: Path, written: str, noted: bool) -> None:
    cameras, table = write_transforms(tmp_path)
    for i, frame in enumerate(table["frames"]):
        frame["file_path"] = written.format(stem=f"{i:02d}")
    rewrite(tmp_path / "transforms.json", table)
    capture = read_capture(tmp_path)
    assert capture.cameras is not None
    torch.testing.assert_close(capture.cameras.cam_from_world, cameras.cam_from_world, **POSE)
    assert any("found by the end" in note for note in capture.notes) == noted


def test_masks_are_not_taken_for_photographs_and_doubtful_names_not_guessed(tmp_path: Path) -> None:
    _, table = write_transforms(tmp_path)
    for i in range(4):
        write_photo(tmp_path / "masks" / f"{i:02d}.png", seed=9)
    for folder in ("left", "right"):
        write_photo(tmp_path / folder / "02.png", seed=7)
    (tmp_path / "images" / "02.png").unlink()
    for i, frame in enumerate(table["frames"]):
        frame["file_path"] = f"/data/{i:02d}.png"
    table["frames"][2]["file_path"] = "photos/02.png"
    rewrite(tmp_path / "transforms.json", table)
    capture = read_capture(tmp_path)
    assert capture.names == [table["frames"][i]["file_path"] for i in (0, 1, 3)]
    assert (capture.image(0) == read_capture(tmp_path / "images").image(0)).all()
    assert any("1 of the 4" in note and "photos/02.png" in note for note in capture.notes)


@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize("prefix", ["D:\\data\\", "/somewhere/images/", "IMAGES/"])
def test_colmap_names(tmp_path: Path, text: bool, prefix: str) -> None:
    reconstruction = write_colmap(tmp_path, text=text)
    right = read_capture(tmp_path)
    for image in reconstruction.images.values():
        image.name = prefix + image.name.replace("/", "\\" if "\\" in prefix else "/").replace(".png", ".JPG")
    model = tmp_path / "sparse" / "0"
    (reconstruction.write_text if text else reconstruction.write_binary)(str(model))
    capture = read_capture(tmp_path)
    assert capture.cameras is not None
    assert right.cameras is not None
    assert torch.equal(capture.cameras.cam_from_world, right.cameras.cam_from_world)
    assert all((capture.image(i) == right.image(i)).all() for i in range(len(right)))
    assert any("4 photographs have other names" in note for note in capture.notes)


def test_names_that_lead_outside_are_refused_still(tmp_path: Path) -> None:
    _, table = write_transforms(tmp_path / "set")
    write_photo(tmp_path / "secret.png")
    table["frames"][1]["file_path"] = str(tmp_path / "secret.png")
    rewrite(tmp_path / "set" / "transforms.json", table)
    with pytest.raises(BadInputError, match="lies outside of"):
        read_capture(tmp_path / "set")


@pytest.mark.parametrize("place", ["dense/0", "dense", "0"])
def test_dense_workspaces(tmp_path: Path, place: str) -> None:
    """The undistorted photographs beside a dense model are its own, whatever lies further out."""
    write_colmap(tmp_path / "made", model="PINHOLE", params=(60, 60, 20, 15))
    right = read_capture(tmp_path / "made")
    workspace = tmp_path / "workspace" / place
    (workspace / "sparse").parent.mkdir(parents=True)
    shutil.copytree(tmp_path / "made" / "sparse" / "0", workspace / "sparse")
    shutil.copytree(tmp_path / "made" / "images", workspace / "images")
    for name in right.names:
        write_photo(tmp_path / "workspace" / "images" / name, seed=77)
    capture = read_capture(tmp_path / "workspace")
    assert all((capture.image(i) == right.image(i)).all() for i in range(len(right)))


class TestTransformsAsProgramsWriteThem:
    @pytest.fixture
    def table(self, tmp_path: Path) -> dict[str, Any]:
        return write_transforms(tmp_path)[1]

    def _read(self, tmp_path: Path, table: dict[str, Any]) -> Any:
        rewrite(tmp_path / "transforms.json", table)
        return read_capture(tmp_path)

    @pytest.mark.parametrize("model", ["opencv", "pinhole", "PERSPECTIVE", "perspective"])
    def test_camera_models(self, tmp_path: Path, table: dict[str, Any], model: str) -> None:
        plain = self._read(tmp_path, table)
        assert torch.equal(self._read(tmp_path, table | {"camera_model": model}).cameras.K, plain.cameras.K)

    def test_fields_of_view_in_degrees(self, tmp_path: Path, table: dict[str, Any]) -> None:
        for frame in table["frames"]:
            del frame["fl_x"], frame["fl_y"]
        K = self._read(tmp_path, table | {"x_fov": 90.0, "y_fov": 60.0}).cameras.K[0]
        # tan(45 degrees) = 1 of half the width of 40, tan(30 degrees) = 1 / sqrt(3) of half the height of 30
        torch.testing.assert_close(K.diagonal(), torch.tensor([20.0, 15 * 3**0.5, 1.0]))

    def test_an_empty_name_of_points(self, tmp_path: Path, table: dict[str, Any]) -> None:
        capture = self._read(tmp_path, table | {"ply_file_path": ""})
        assert capture.points is None
        assert capture.notes == ()

    def test_a_scale_in_the_matrix_is_left_out(self, tmp_path: Path, table: dict[str, Any]) -> None:
        plain = self._read(tmp_path, table)
        for frame in table["frames"]:
            for row in frame["transform_matrix"][:3]:
                row[:3] = [0.25 * value for value in row[:3]]
        capture = self._read(tmp_path, table)
        torch.testing.assert_close(capture.cameras.cam_from_world, plain.cameras.cam_from_world, **POSE)
        assert any("scales as well" in note for note in capture.notes)

    def test_equal_duplicates(self, tmp_path: Path, table: dict[str, Any]) -> None:
        table["frames"].append({**table["frames"][1], "file_path": "./images/01.png"})
        capture = self._read(tmp_path, table)
        assert len(capture) == 4
        assert any("listed twice" in note for note in capture.notes)


def test_colmap_text_as_other_programs_write_it(tmp_path: Path) -> None:
    """A byte order mark, sizes as floats, an image listed twice."""
    write_photo(tmp_path / "images" / "a.png")
    (tmp_path / "cameras.txt").write_text("1 PINHOLE 40.0 30.0 50 50 20 15\n", encoding="utf-8-sig")
    (tmp_path / "images.txt").write_text(2 * "1 1 0 0 0 0 0 0 1 a.png\n\n", encoding="utf-8-sig")
    capture = read_capture(tmp_path)
    assert capture.names == ["a.png"]
    assert any("listed twice" in note for note in capture.notes)
    (tmp_path / "cameras.txt").write_text("1 PINHOLE 40.5 30 50 50 20 15\n")
    with pytest.raises(BadInputError, match="line 1: camera id"):
        read_capture(tmp_path)
