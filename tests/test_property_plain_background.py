"""Objects cut out of plain backgrounds, as mattes of opaque films."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fewview.recon.evidence.plain_background import cut_out, with_plain_backgrounds_cut_out
from fewview.scene.capture import Capture, Frame
from fewview.scene.errors import BadInputError
from fewview.scene.readers import load_run_capture
from fewview.scene.run import Run
from PIL import Image
from support.bending_bar import bending_bar, films
from support.command import fewview

SIZE = 120


def disk(shift: float = 0.0, radius: float = 0.25) -> np.ndarray:
    """[SIZE, SIZE] bool"""
    y, x = (np.mgrid[:SIZE, :SIZE] + 0.5) / SIZE
    ring: np.ndarray = (np.hypot(x - 0.5 - shift, y - 0.5) < radius) & (np.hypot(x - 0.5 - shift, y - 0.5) > 0.08)
    return ring


def filmed(shape: np.ndarray, color: tuple[int, int, int] = (190, 60, 40), seed: int = 0) -> np.ndarray:
    """[SIZE, SIZE, 3] uint8: a shape before a grey wall that a lamp shades, with a camera's noise."""
    shade = np.linspace(120, 200, SIZE)[None, :, None] * np.array([0.95, 1.0, 1.02])
    picture = np.where(shape[..., None], np.array(color), np.broadcast_to(shade, (SIZE, SIZE, 3)))
    noise = np.random.default_rng(seed).normal(0, 3, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def overlap(found: np.ndarray, truth: np.ndarray) -> float:
    return float((found & truth).sum() / (found | truth).sum())


def capture_of(pictures: list[np.ndarray]) -> Capture:
    return Capture(
        tuple(Frame(f"{i}.png", SIZE, SIZE, lambda p=p: p, time_s=float(i)) for i, p in enumerate(pictures)), "a film"
    )


def test_property_a_shaded_wall_and_a_hole_are_background() -> None:
    found = cut_out(filmed(disk()))
    assert overlap(found.mask, disk()) > 0.95  # the border is 4 % of the area
    assert found.plain > 0.95
    assert not found.faint


def test_property_what_touches_the_border_is_kept() -> None:
    shape = disk()
    shape[60:, 50:70] = True  # it stands on the floor
    assert overlap(cut_out(filmed(shape)).mask, shape) > 0.93


def test_property_a_film_has_masks_and_says_where_they_are_doubtful() -> None:
    pictures = [filmed(disk(0.02 * i), seed=i) for i in range(5)]
    sure = with_plain_backgrounds_cut_out(capture_of(pictures))
    for i, frame in enumerate(sure.frames):
        assert frame.load_mask is not None
        assert overlap(frame.load_mask(), disk(0.02 * i)) > 0.95
    assert len(sure.notes) == 1
    pictures[3] = filmed(disk(radius=0.4), seed=3)
    doubted = with_plain_backgrounds_cut_out(capture_of(pictures))
    assert "not sure of 1 of them (3.png)" in doubted.notes[1]


def test_property_masks_and_transparency_are_left_alone() -> None:
    pictures = [filmed(disk())] * 2
    masked = replace(capture_of(pictures).frames[0], load_mask=lambda: disk())
    for capture in (
        replace(capture_of(pictures), frames=(masked, capture_of(pictures).frames[1])),
        capture_of([np.dstack([p, 255 * disk()]).astype(np.uint8) for p in pictures]),
    ):
        assert with_plain_backgrounds_cut_out(capture) is capture


def test_malformed_a_background_of_many_colours_is_refused() -> None:
    checks = (np.indices((SIZE, SIZE)).sum(0) // 9 % 2 * 150 + 50)[..., None].repeat(3, -1).astype(np.uint8)
    pictures = [np.where(disk()[..., None], filmed(disk()), checks)] * 3
    with pytest.raises(BadInputError, match=r"neither transparent nor masked.*not plain \(\d+% of the border"):
        with_plain_backgrounds_cut_out(capture_of(pictures))


def test_pipeline_an_opaque_film_becomes_a_mesh(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    film = films().film_of(bending_bar(3, rings=9, around=6), films().cameras_around([0.0], 40, 4.0), [0.0, 0.5, 1.0])
    truths = []
    (tmp_path / "film").mkdir()
    for i, view in enumerate(film.views):
        alpha = view.pixels[..., 3:].float() / 255
        opaque = view.pixels[..., :3] * alpha + (1 - alpha) * 225
        truths.append((alpha[..., 0] > 0.5).numpy())
        Image.fromarray(opaque.round().byte().numpy()).save(tmp_path / "film" / f"{i}.png")
    done = fewview(
        capsys, "animate", tmp_path / "film", "--fps", 2, "--standing-camera", "--steps", 4, "--quiet", "--set",
        "static_steps=0.5", "nodes=12", "channels=4", "plane_resolution=6", "net_width=16", "-o", tmp_path / "run",
        "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert any("was cut out by its colour" in note for note in done.json["notes"])
    for frame, truth in zip(load_run_capture(Run.open(tmp_path / "run")).frames, truths, strict=True):
        assert frame.load_mask is not None
        assert overlap(frame.load_mask(), truth) > 0.8  # the bar is eight pixels high
