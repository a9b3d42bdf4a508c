"""Folders of photographs as people have them: previews, folders in folders, masks, other formats, odd names."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from fewview.recon.pipeline.reconstruction import ReconstructConfig, reconstruct
from fewview.scene.errors import BadInputError
from fewview.scene.readers import load_run_capture, read_capture, save_capture
from fewview.scene.run import Run
from fewview.viewer.report import write_report
from PIL import Image
from support.capture_folder import write_capture
from support.datasets import rewrite, write_colmap, write_photo, write_transforms
from support.small_run import small_run


def write_photos(folder: Path, count: int, first: int = 0) -> None:
    for i in range(first, first + count):
        write_photo(folder / f"{i}.jpg", seed=i)


def write_mask(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


HALF = np.arange(40)[None].repeat(30, 0) >= 20  # the right half of 40 x 30 counts


@pytest.mark.parametrize("inner", ["images", "trip/photos"])
def test_previews_above_the_photographs_are_no_data_set(tmp_path: Path, inner: str) -> None:
    write_photo(tmp_path / "preview.jpg", seed=50)
    write_photo(tmp_path / "cover.png", seed=51)
    write_photos(tmp_path / inner, 8)
    capture = read_capture(tmp_path)
    assert capture.names == [f"{i}.jpg" for i in range(8)]
    assert any("2 photographs are not used" in note and "itself" in note for note in capture.notes)


def test_photographs_in_several_folders(tmp_path: Path) -> None:
    write_photos(tmp_path / "monday", 3)
    write_photos(tmp_path / "tuesday", 3, first=3)
    capture = read_capture(tmp_path)
    assert capture.names == [*(f"monday/{i}.jpg" for i in range(3)), *(f"tuesday/{i}.jpg" for i in range(3, 6))]
    assert capture.notes == ()
    write_photos(tmp_path, 3, first=6)  # another level, with fewer
    capture = read_capture(tmp_path)
    assert len(capture) == 6
    assert any("3 photographs are not used" in note for note in capture.notes)


def test_smaller_copies_are_not_taken_twice(tmp_path: Path) -> None:
    for folder in ("images", "images_2", "images_4"):
        write_photos(tmp_path / folder, 4)
    capture = read_capture(tmp_path)
    assert capture.names == [f"{i}.jpg" for i in range(4)]
    assert any("8 photographs are not used" in note and "images_2, images_4" in note for note in capture.notes)


@pytest.mark.parametrize(("ending", "form"), [("jfif", "JPEG"), ("gif", "GIF"), ("avif", "AVIF"), ("JPE", "JPEG")])
def test_formats_that_can_be_read_are(tmp_path: Path, ending: str, form: str) -> None:
    if form == "AVIF":
        pytest.importorskip("PIL._avif")
    write_photos(tmp_path, 1)
    write_photo(tmp_path / f"b.{ending}", seed=1, format=form)
    assert read_capture(tmp_path).names == ["0.jpg", f"b.{ending}"]


def test_formats_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    write_photos(tmp_path, 2)
    for name in ("IMG_1.DNG", "IMG_2.cr2"):
        (tmp_path / name).write_bytes(b"raw")
    (note,) = read_capture(tmp_path).notes
    assert "2 pictures of kinds that are not read (.cr2, .dng)" in note
    assert "IMG_1.DNG" in note


def test_links_that_lead_nowhere_are_named(tmp_path: Path) -> None:
    write_photos(tmp_path, 2)
    (tmp_path / "holiday.jpg").symlink_to(tmp_path / "unmounted" / "holiday.jpg")
    (tmp_path / "notes.txt").symlink_to(tmp_path / "unmounted" / "notes.txt")
    (tmp_path / "again.jpg").symlink_to(tmp_path / "0.jpg")
    capture = read_capture(tmp_path)
    assert capture.names == ["0.jpg", "1.jpg", "again.jpg"]
    assert "Links to photographs that lead nowhere were left out: holiday.jpg." in capture.notes


class TestMasks:
    @pytest.mark.parametrize("name", ["0.png", "0.jpg.png"])
    @pytest.mark.parametrize("below", ["", "images"])
    def test_beside_photographs(self, tmp_path: Path, name: str, below: str) -> None:
        write_photos(tmp_path / below, 2)
        write_mask(tmp_path / "masks" / name, HALF * 255)
        capture = read_capture(tmp_path)
        first, second = capture.frames
        assert first.load_mask is not None
        assert np.array_equal(first.load_mask(), HALF)
        assert second.load_mask is None
        assert any("1 of 2 photographs have a mask" in note for note in capture.notes)

    def test_in_colmap_data(self, tmp_path: Path) -> None:
        write_colmap(tmp_path, model="PINHOLE", params=(60, 60, 20, 15))
        names = read_capture(tmp_path).names
        for name in names:
            write_mask(tmp_path / "masks" / f"{name}.png", HALF * 255)
        capture = read_capture(tmp_path)
        assert all(f.load_mask is not None and np.array_equal(f.load_mask(), HALF) for f in capture.frames)
        assert any("4 of 4" in note for note in capture.notes)

    def test_that_cannot_be_used_are_named(self, tmp_path: Path) -> None:
        write_photos(tmp_path, 2)
        (tmp_path / "masks").mkdir()
        (tmp_path / "masks" / "0.png").write_bytes(b"rubbish")
        write_mask(tmp_path / "masks" / "1.png", HALF.T * 255)  # of the turned photograph
        capture = read_capture(tmp_path)
        assert all(frame.load_mask is None for frame in capture.frames)
        assert any("2 masks cannot be read or have another aspect" in note for note in capture.notes)
        shutil.rmtree(tmp_path / "masks")
        write_mask(tmp_path / "masks" / "other.png", HALF * 255)
        assert any("none has the name of a photograph" in note for note in read_capture(tmp_path).notes)

    @pytest.mark.parametrize("by", ["masks", "transparency"])
    def test_that_leave_nothing_are_refused(self, tmp_path: Path, by: str) -> None:
        folder, output = write_capture(tmp_path / "scene"), tmp_path / "run"
        photographs = sorted((folder / "images").iterdir())

        def hide(path: Path) -> None:
            pixels = Image.open(path)
            if by == "transparency":
                pixels.putalpha(0)
                pixels.save(path)
            else:
                write_mask(folder / "masks" / path.name, np.zeros((pixels.height, pixels.width)))

        hide(photographs[2])
        if by == "masks":
            self._name_masks(folder)
        run = reconstruct(folder, output, ReconstructConfig(steps=2, method="3dgs"))
        assert any("leave nothing of 1 photographs" in note for note in run.metrics()["notes"])
        for path in photographs:
            hide(path)
        if by == "masks":
            self._name_masks(folder)
        with pytest.raises(BadInputError, match=r"all 9 photographs .* leave nothing to train on"):
            reconstruct(folder, tmp_path / "other", ReconstructConfig(steps=2, method="3dgs"))
        assert not (tmp_path / "other").exists()

    @staticmethod
    def _name_masks(folder: Path) -> None:
        table = json.loads((folder / "transforms.json").read_text())
        for frame in table["frames"]:
            mask = folder / "masks" / Path(frame["file_path"]).name
            if mask.is_file():
                frame["mask_path"] = f"masks/{mask.name}"
        rewrite(folder / "transforms.json", table)


class TestNames:
    @pytest.fixture
    def not_utf8(self, tmp_path: Path) -> Path:
        folder = tmp_path / os.fsdecode(b"caf\xe9")
        try:
            folder.mkdir()
        except OSError:
            pytest.skip("this file system holds UTF-8 names only")
        return folder

    def test_that_are_not_utf8_reach_the_report(self, tmp_path: Path, not_utf8: Path) -> None:
        shutil.copytree(write_capture(tmp_path / "scene"), not_utf8, dirs_exist_ok=True)
        output = tmp_path / os.fsdecode(b"r\xe9sultat")
        run = reconstruct(not_utf8, output, ReconstructConfig(steps=2, method="3dgs"))
        write_report(run)
        assert run.report_path.stat().st_size > 0

    def test_of_photographs_are_text(self, tmp_path: Path, not_utf8: Path) -> None:
        write_photo(not_utf8 / os.fsdecode(b"\xe9t\xe9.png"))
        write_photo(not_utf8 / "b.png", seed=1)
        capture = read_capture(not_utf8)
        assert capture.names == ["b.png", "%E9t%E9.png"]
        capture.source.encode()
        assert capture.image(1).shape == (30, 40, 3)

    def test_in_colmap_models_find_their_files(self, tmp_path: Path) -> None:
        reconstruction = write_colmap(tmp_path)
        name = sorted(image.name for image in reconstruction.images.values())[0]
        path = tmp_path / "images" / name
        odd = name.encode()[:-5] + b"\xe9.png"
        try:
            path.rename(tmp_path / "images" / os.fsdecode(odd))
        except OSError:
            pytest.skip("this file system holds UTF-8 names only")
        model = tmp_path / "sparse" / "0" / "images.bin"
        model.write_bytes(model.read_bytes().replace(name.encode(), odd))
        capture = read_capture(tmp_path)
        assert len(capture) == 4
        assert capture.notes == ()

    def test_as_long_as_a_file_system_allows(self, tmp_path: Path) -> None:
        _, table = write_transforms(tmp_path / "set")
        for i, frame in enumerate(table["frames"]):
            long = f"images/{'ü' * 120}{i:02d}.png"  # 246 bytes, and alike for longer than what is kept
            (tmp_path / "set" / frame["file_path"]).rename(tmp_path / "set" / long)
            frame["file_path"] = long
        rewrite(tmp_path / "set" / "transforms.json", table)
        capture = read_capture(tmp_path / "set")
        run = Run.create(tmp_path / "run", {})
        save_capture(run, capture, 40)
        saved = load_run_capture(run)
        assert saved.names == capture.names
        assert all((saved.image(i) == capture.image(i)).all() for i in range(4))


def test_a_folder_of_runs_is_no_folder_of_photographs(tmp_path: Path) -> None:
    """The photographs in a run are working copies, small and few."""
    small_run(tmp_path / "runs" / "chair")
    with pytest.raises(BadInputError, match=r"holds runs \(chair\).*reconstruct \S*chair --resume"):
        read_capture(tmp_path / "runs")
