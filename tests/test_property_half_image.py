"""The half-image protocol: colours fitted on the left half of a held-out photograph, figures of the right half."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fewview.commands.summary import quality
from fewview.recon.optimise.dataset import Dataset
from fewview.recon.pipeline.evaluate import evaluate
from fewview.recon.pipeline.half_image import fitted_colours, halves
from fewview.recon.pipeline.reconstruction import measure
from fewview.recon.pipeline.refine_held_out import refine_camera
from fewview.render import render
from fewview.render.metrics import psnr
from fewview.scene.capture import Capture, Frame
from fewview.scene.formats import save_splat
from fewview.scene.geometry import rotation_angle, se3_exp
from fewview.scene.readers import load_run_capture, save_capture
from fewview.scene.run import Run
from fewview.scene.splat import StaticSplat
from fewview.viewer.report import write_report
from PIL import Image
from support.small_run import HEIGHT, WIDTH, small_cameras, small_gaussians
from torch import Tensor

# Another camera's colours, which clip nothing; the offset is a veil of light.
CHANGE = torch.tensor([[0.7, 0.05, 0.0, 0.06], [0.0, 0.6, 0.05, 0.03], [0.02, 0.0, 0.5, 0.1]])
HELD_OUT = 3


def drawn(camera: int = HELD_OUT) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        found = render(small_gaussians(), small_cameras()[camera])
    return found.rgb.clamp(0, 1), found.alpha


def changed(rgb: Tensor, alpha: Tensor) -> Tensor:
    return (rgb @ CHANGE[:, :3].T + alpha[..., None] * CHANGE[:, 3]).clamp(0, 1)


def run_of(folder: Path, photographs: list[Tensor], used: bool) -> Run:
    """A finished run whose photographs are these, and whose training had colour transforms or not."""
    pixels = [(p * 255).round().to(torch.uint8).numpy() for p in photographs]
    names = [f"photo_{i}.png" for i in range(len(pixels))]
    frames = tuple(Frame(n, WIDTH, HEIGHT, lambda p=p: p) for n, p in zip(names, pixels, strict=True))
    run = Run.create(folder, {"command": "reconstruct", "input": "photos", "version": "0.1.0"})
    save_capture(run, Capture(frames, "synthetic", small_cameras(len(names)), test=(1, HELD_OUT)), WIDTH)
    save_splat(run.splat_path, StaticSplat(small_gaussians()))
    run.update_metrics(training={"appearance": {"used": used, "reason": "Said by the test."}})
    return run


def dataset_of(run: Run) -> Dataset:
    capture = load_run_capture(run)
    return Dataset.from_capture(capture, test=capture.test or ())


def measured(folder: Path, photographs: list[Tensor]) -> dict[str, Any]:
    run = run_of(folder, photographs, True)
    return evaluate(run, dataset_of(run), StaticSplat(small_gaussians()), fit_colours=True)


def test_a_fitted_transform_is_the_one_that_made_the_photograph() -> None:
    rgb, alpha = drawn()
    left, right = halves(torch.ones(HEIGHT, WIDTH, dtype=torch.bool))
    assert int(left.sum()) + int(right.sum()) == HEIGHT * WIDTH
    assert not bool((left & right).any())
    found = fitted_colours(rgb, alpha, changed(rgb, alpha), left, torch.zeros(3))
    # Held towards the identity with a weight of 1e-5: colours of noise vary by 0.001 at least in each direction.
    torch.testing.assert_close(found, CHANGE, atol=0.02, rtol=0)
    nothing = fitted_colours(rgb, alpha, changed(rgb, alpha), torch.zeros_like(left), torch.zeros(3))
    assert torch.equal(nothing, torch.eye(3, 4))


def test_figures_are_of_the_right_half_in_colours_of_the_left(tmp_path: Path) -> None:
    photographs = [changed(*drawn(i)) for i in range(5)]
    whole = measured(tmp_path / "whole", photographs)
    # The photographs have 8 bits, and the picture too: about 53 dB at best.
    assert whole["mean"]["psnr"] > 40
    assert whole["unfitted"]["psnr"] < 25
    spoilt = [p.clone() for p in photographs]
    for photograph in spoilt:
        photograph[:, WIDTH // 2 :] = 1 - photograph[:, WIDTH // 2 :]
    right = measured(tmp_path / "right", spoilt)
    assert right["mean"]["psnr"] < 15, "what is wrong on the right is measured there, and not fitted away"
    one = {v["name"]: v for v in right["views"]}["photo_3.png"]
    rendered = load(tmp_path / "right" / one["render"])
    assert psnr(rendered[:, : WIDTH // 2], photographs[HELD_OUT][:, : WIDTH // 2]) > 40
    for photograph, good in zip(spoilt, photographs, strict=True):
        photograph[:, : WIDTH // 2] = drawn()[0][:, : WIDTH // 2]
        photograph[:, WIDTH // 2 :] = good[:, WIDTH // 2 :]
    assert measured(tmp_path / "left", spoilt)["mean"]["psnr"] < 30, "colours are those of the left half"


def load(path: Path) -> Tensor:
    return torch.from_numpy(np.array(Image.open(path))).float() / 255


@pytest.mark.parametrize("used", [True, False])
def test_a_run_is_measured_as_it_was_trained_and_says_so(tmp_path: Path, used: bool) -> None:
    run = run_of(tmp_path / "run", [changed(*drawn(i)) for i in range(5)], used)
    for again in (False, True):
        measure(run, dataset_of(run), again=again)
        metrics = run.metrics()
        found, notes = metrics["eval"], metrics.get("notes", [])
        assert ("unfitted" in found) == used
        assert sum("left half" in note for note in notes) == int(used)
        assert (found["mean"]["psnr"] > 40) == used
        assert ("the right half of 2 held-out photographs" in quality(metrics)) == used
    page = write_report(run).read_text(encoding="utf-8")
    assert ("right half" in page) == used
    assert ("Said by the test." in page) == used
    assert (f"{found['unfitted']['psnr']:.2f} dB" in page) if used else ("without that" not in page)


def test_a_held_out_camera_is_aligned_in_its_own_colours(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", [changed(*drawn(i)) for i in range(5)], True)
    dataset = dataset_of(run)
    true = dataset.cameras.cam_from_world[HELD_OUT]
    turn = se3_exp(torch.tensor([0.008, -0.01, 0.006, 0.01, 0.02, -0.01]))
    moved = dataset.cameras.cam_from_world.clone()
    moved[HELD_OUT] = turn @ true
    dataset = replace(dataset, cameras=replace(dataset.cameras, cam_from_world=moved))
    errors = []
    for fit_colours in (False, True):
        refined = refine_camera(StaticSplat(small_gaussians()), dataset, HELD_OUT, fit_colours=fit_colours)
        errors.append(float(rotation_angle((refined.cam_from_world @ true.inverse())[:3, :3])))
    before = float(rotation_angle(turn[:3, :3]))
    assert errors[1] < 0.1 * before
    assert errors[1] < errors[0]
