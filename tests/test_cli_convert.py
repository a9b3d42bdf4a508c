"""`fewview convert`: what it writes, says and refuses."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fewview.scene.formats import load_splat, save_splat, side_path
from fewview.scene.run_splat import save_run_splat
from fewview.scene.splat import StaticSplat
from support.command import assert_one_sentence, fewview
from support.datasets import random_gaussians
from support.small_run import small_gaussians, small_run
from support.small_splats import FIRST_S, LAST_S, moving_run, moving_splat


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    save_splat(tmp_path / "scene.ply", StaticSplat(small_gaussians(50), antialiased=True, up=(0.0, 0.0, 1.0)))
    return tmp_path / "scene.ply"


def test_to_spz_and_back(tmp_path: Path, scene: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there = fewview(capsys, "convert", scene, tmp_path / "b.spz", "--json")
    assert there.code == 0, there.err
    assert there.json["input"] | {"path": ""} == {
        "path": "", "bytes": scene.stat().st_size, "gaussians": 50, "sh_degree": 1
    }  # fmt: skip
    assert there.json["output"]["format"] == "SPZ"
    assert there.json["output"]["bytes"] == (tmp_path / "b.spz").stat().st_size
    assert there.json["side_file"] == str(side_path(tmp_path / "b.spz"))
    assert there.json["up"] == [0, 0, 1]
    assert there.json["antialiased"] is True
    assert there.json["notes"] == []
    assert "Side file" in there.out
    back = fewview(capsys, "convert", tmp_path / "b.spz", tmp_path / "c.ply")
    assert back.code == 0, back.err
    found, original = load_splat(tmp_path / "c.ply"), load_splat(scene)
    assert (found.up, found.antialiased) == (original.up, original.antialiased)
    # Half a step of 2^-12 along each axis of the file.
    torch.testing.assert_close(found.gaussians.means, original.gaussians.means, rtol=0, atol=2**-12)


@pytest.mark.parametrize("words", [["--up", "-y"], ["--up=-y"], ["--up", "0 -1 0"]])
def test_up_overrules_the_file(
    tmp_path: Path, scene: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    done = fewview(capsys, "convert", scene, tmp_path / "b.spz", *words, "--json")
    assert done.code == 0, done.err
    assert done.json["up"] == [0, -1, 0]
    side_path(tmp_path / "b.spz").unlink()
    means = load_splat(scene).gaussians.means * torch.tensor([1.0, -1, -1])
    torch.testing.assert_close(load_splat(tmp_path / "b.spz").gaussians.means, means, rtol=0, atol=2**-12)


def test_degree_and_version(tmp_path: Path, scene: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--sh-degree", "0", "--spz-version", "4", "--json")
    done = fewview(capsys, "convert", scene, tmp_path / "b.spz", *options)
    assert done.code == 0, done.err
    assert (tmp_path / "b.spz").read_bytes()[:8] == b"NGSP\x04\0\0\0"
    assert load_splat(tmp_path / "b.spz").gaussians.sh_degree == 0
    assert "cut down to 0, as asked for" in done.json["notes"][0]


def test_losses_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    g = random_gaussians(5, 2)
    g.means[0, 0] = torch.nan
    save_splat(tmp_path / "a.compressed.ply", StaticSplat(random_gaussians(5, 2)))
    done = fewview(capsys, "convert", tmp_path / "a.compressed.ply", tmp_path / "b.splat")
    assert done.code == 0, done.err
    assert "spherical harmonics of degree 2 were lost" in done.out
    assert fewview(capsys, "convert", tmp_path / "b.splat", tmp_path / "c.ply", "--quiet").out == ""


def test_a_run_is_its_splat(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = small_run(tmp_path / "run")
    assert fewview(capsys, "convert", run.path, tmp_path / "a.spz").code == 0
    assert len(load_splat(tmp_path / "a.spz").gaussians) == 400
    run.splat_path.unlink()
    assert_one_sentence(fewview(capsys, "convert", run.path, tmp_path / "a.spz"), 2, "no splat yet")


def test_what_is_refused(tmp_path: Path, scene: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(*args: object, words: str) -> None:
        assert_one_sentence(fewview(capsys, "convert", *args), 2, words)

    before = scene.read_bytes()
    refused(scene, scene, words="never overwritten")
    (tmp_path / "link.ply").symlink_to(scene)
    refused(scene, tmp_path / "link.ply", words="never overwritten")
    assert scene.read_bytes() == before
    refused(scene, tmp_path / "b.obj", words="does not end like a splat file")
    refused(tmp_path / "absent.ply", tmp_path / "b.spz", words="could not be read")
    refused(scene, tmp_path / "b.ply", "--spz-version", "3", words="no SPZ file")
    refused(scene, tmp_path / "b.spz", "--spz-version", "1", words="2, 3 and 4")
    refused(scene, tmp_path / "b.spz", "--sh-degree", "5", words="0 to 4")
    refused(scene, tmp_path / "b.spz", "--up", "up", words="no axis")
    refused(scene, tmp_path / "b.spz", "-o", tmp_path / "c.spz", words="not needed here")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.ply", "scene.ply", "scene.ply.json"]


def test_an_output_that_exists_is_replaced(tmp_path: Path, scene: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "b.spz").write_bytes(b"old")
    assert fewview(capsys, "convert", scene, tmp_path / "b.spz").code == 0
    assert len(load_splat(tmp_path / "b.spz").gaussians) == 50


def test_pictures_of_any_format_from_above_the_ground(
    tmp_path: Path, scene: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fewview(capsys, "convert", scene, tmp_path / "b.spz").code == 0
    done = fewview(capsys, "render", tmp_path / "b.spz", "-o", tmp_path / "out", "--frames", 2, "--size", 32, "--json")
    assert done.code == 0, done.err
    assert done.json["frames"] == 2


@pytest.mark.parametrize(
    ("ending", "how"),
    [(".ply", ("--frames", 3)), (".compressed.ply", ("--frames", 3)), (".spz", ("--fps", 1)), (".sog", ("--fps", 1.1))],
)
def test_a_sequence_of_a_moving_splat(
    tmp_path: Path, ending: str, how: tuple, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every file is upright, and nothing but them is in their folder, which SuperSplat then plays."""
    run, splat = moving_run(tmp_path / "run"), moving_splat()
    save_run_splat(run, replace(splat, up=(0.0, 0.0, 1.0)))
    done = fewview(capsys, "convert", run.path, tmp_path / "frames" / f"a{ending}", *how, "--json")
    assert done.code == 0, done.err
    names = [f"a_{i:04d}{ending}" for i in range(3)]
    assert sorted(path.name for path in (tmp_path / "frames").iterdir()) == names
    assert done.json["output"]["files"] == 3
    assert done.json["side_file"] is None
    assert done.json["notes"] == []
    # The frame of such a file, by the rule of axes: the world's z is up in it, and its x stays.
    for name, moment in zip(names, (FIRST_S, (FIRST_S + LAST_S) / 2, LAST_S), strict=True):
        x, y, z = splat.at(moment).means.double().unbind(-1)
        expected = torch.stack([x, z, -y] if ending in (".spz",) else [x, -z, y], dim=-1)
        found = load_splat(tmp_path / "frames" / name)
        assert found.up == ((0, 1, 0) if ending == ".spz" else (0, -1, 0))
        # The coarsest is the compressed PLY: half a step of 1023 over the cube and its drift.
        nearest = torch.cdist(expected, found.gaussians.means.double()).min(1)
        assert float(nearest.values.max()) < 3 / 1023
        assert len(nearest.indices.unique()) == len(expected)


def test_sequences_that_cannot_be(tmp_path: Path, scene: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = moving_run(tmp_path / "run")

    def refused(*args: object, words: str) -> None:
        assert_one_sentence(fewview(capsys, "convert", *args), 2, words)

    refused(scene, tmp_path / "b.ply", "--frames", "3", words="does not move, so --frames 3")
    refused(scene, tmp_path / "b.ply", "--time", "1", words="does not move, so --time 1")
    refused(run.path, tmp_path / "b.ply", "--frames", "0", words="1 to 10000")
    refused(run.path, tmp_path / "b.ply", "--frames", "2", "--time", "1", words="leave one of them out")
    refused(run.path, tmp_path / "meta.json", "--frames", "2", words="would write over itself")
    assert not list(tmp_path.glob("b*"))


def test_what_no_file_can_be_is_told_before_anything_is_opened(
    tmp_path: Path, scene: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "pipe.spz")
    (tmp_path / "folder.spz").mkdir()
    (tmp_path / "loop.ply").symlink_to("loop.ply")
    endless = "n" * 300 + ".ply"
    before = sorted(tmp_path.iterdir())
    for given, target, words in (
        (endless, "b.ply", "File name too long"),
        ("loop.ply", "b.ply", "loop.ply cannot be used: Too many levels of symbolic links"),
        ("scene.ply/scene.ply", "b.ply", "Not a directory"),
        ("scene.ply", "pipe.spz", "pipe.spz is a pipe"),
        ("scene.ply", "folder.spz", "folder.spz could not be written: Is a directory"),
        ("scene.ply", endless, "File name too long"),
        ("scene.ply", "scene.ply/b.spz", "Not a directory"),
        ("scene.ply", "gone/b.spz", "could not be written: No such file or directory"),
        ("pipe.spz", "b.ply", "pipe.spz is a pipe"),  # nobody writes into it: a reader would wait for ever
    ):
        assert_one_sentence(fewview(capsys, "convert", tmp_path / given, tmp_path / target), 2, words)
    assert_one_sentence(fewview(capsys, "convert", "/dev/null", tmp_path / "b.ply"), 2, "/dev/null is a device")
    assert sorted(tmp_path.iterdir()) == before
