"""The scripts in `examples/`, run as a person runs them, with small sizes."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
from fewview.recon.methods import registry
from fewview.scene.formats import load_splat, save_splat
from fewview.scene.splat import StaticSplat
from PIL import Image
from support.capture_folder import write_capture
from support.nuscenes_folder import write_nuscenes
from support.small_run import small_gaussians

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A function that runs `examples/NAME.py ARGS` in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run_example(name: str, *args: object) -> None:
        path = EXAMPLES / f"{name}.py"
        monkeypatch.setattr(sys, "argv", [str(path), *map(str, args)])
        runpy.run_path(str(path), run_name="__main__")

    return run_example


def test_every_example_is_run_here() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    assert [path.stem for path in EXAMPLES.glob("*.py") if path.stem not in source] == []


def test_photographs_to_splat(run, capsys: pytest.CaptureFixture[str]) -> None:
    photos = write_capture(Path("capture"))  # has cameras: finding those of the bundled photographs takes longer
    run("01_photographs_to_splat", photos, "--steps", 10)
    count = len(load_splat("first_splat/splat.ply"))
    printed = capsys.readouterr().out
    assert f"{count:,} Gaussians" in printed
    assert "psnr of held-out photographs" in printed


def test_render_from_your_own_camera(run) -> None:
    run("02_render_from_your_own_camera", "--width", 64, "--height", 48, "--focal-px", 50)
    assert Image.open("picture.png").size == (64, 48)
    save_splat("own.ply", StaticSplat(small_gaussians()))
    run("02_render_from_your_own_camera", "own.ply", "--eye", 0, -1, -5, "--output", "own.png")
    low, high = Image.open("own.png").convert("L").getextrema()
    assert low == 0  # the background
    assert high > 100


def test_train_with_your_own_loss(run, capsys: pytest.CaptureFixture[str]) -> None:
    photos = write_capture(Path("capture"))

    def flatness(weight: float) -> float:
        run("03_train_with_your_own_loss", photos, "--steps", 60, "--weight", weight)
        return float(capsys.readouterr().out.split("thinner than ")[1].split()[0])

    assert flatness(20.0) < flatness(0.0)
    assert len(load_splat("flat.ply")) > 0


def test_write_a_new_method(run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})  # the tests of other files know nothing of it
    run("04_write_a_new_method", write_capture(Path("capture")), "--steps", 10)
    assert "Gaussians in blobs/splat.ply" in capsys.readouterr().out
    assert len(load_splat("blobs/splat.ply")) > 0


def test_detect_in_one_frame(run, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run("05_detect_in_one_frame", write_nuscenes(tmp_path / "data").root, "--frame", 1)
    assert "boxes; picture: detections.jpg" in capsys.readouterr().out
    assert Image.open("detections.jpg").width > 64
