"""Pixels of a new view that training photographs have seen, and the figures of these."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from fewview.recon.optimise.dataset import Dataset
from fewview.recon.pipeline.evaluate import evaluate
from fewview.recon.pipeline.seen_pixels import SeenPixels, marked_unseen
from fewview.scene.cameras import Cameras
from fewview.scene.gaussians import Gaussians
from fewview.scene.geometry import se3_from
from fewview.scene.images import load_pixels
from fewview.scene.readers import load_run_capture
from fewview.scene.splat import StaticSplat
from fewview.viewer.panel_context import Context
from fewview.viewer.pictures import behind
from support.small_run import small_gaussians, small_run
from torch import Tensor


def camera(x: float) -> Cameras:
    """A camera that looks along z from a place on the x axis."""
    pose = se3_from(torch.eye(3), torch.tensor([-x, 0.0, 0.0]))
    return Cameras.pinhole(pose, 40.0, 64, 48)


def wall(z: float, low: float, high: float, spacing: float = 0.05) -> Tensor:
    """Points [N, 3] of an upright wall at a depth, between two x."""
    x = torch.arange(low, high, spacing)
    y = torch.arange(-4.0, 4.0, spacing)
    grid = torch.stack(torch.meshgrid(x, y, indexing="ij"), dim=-1).reshape(-1, 2)
    return torch.cat([grid, torch.full((len(grid), 1), z)], dim=1)


def splat_of(points: Tensor) -> Gaussians:
    count = len(points)
    return Gaussians(
        points,
        torch.tensor([1.0, 0, 0, 0]).repeat(count, 1),
        torch.full((count, 3), 0.04).log(),
        torch.full((count,), 4.0),
        torch.zeros(count, 1, 3),
    )


def test_a_camera_has_seen_what_it_shows_itself() -> None:
    gaussians = splat_of(wall(4.0, -6.0, 6.0))
    one = camera(0.0)
    assert bool(SeenPixels(gaussians, Cameras.stack([one])).of(one).all())


def test_what_is_hidden_outside_or_empty_was_not_seen() -> None:
    """A plate at depth 2 hides a stripe of a wall at depth 4, which ends at x = 3."""
    gaussians = splat_of(torch.cat([wall(4.0, -6.0, 3.0), wall(2.0, -0.4, 0.4)]))
    seen = SeenPixels(gaussians, Cameras.stack([camera(0.0)])).of(camera(1.5))
    row = seen[24]
    # Pixel x shows the wall at x = 1.5 + (x - 32) / 10; the plate, at depth 2, lies at pixels -6 to 10.
    hidden = [x for x in range(12, 64) if abs(1.5 + (x + 0.5 - 32) / 10) < 0.7]
    assert not any(bool(row[x]) for x in hidden)
    shown = [x for x in range(26, 44) if 0.95 < 1.5 + (x + 0.5 - 32) / 10 < 2.8]
    assert all(bool(row[x]) for x in shown)
    assert not bool(row[50:].any())  # nothing is there
    both = SeenPixels(gaussians, Cameras.stack([camera(0.0), camera(1.5)])).of(camera(1.5))
    assert bool(both[24, hidden].all())
    nothing = replace(gaussians, opacity_logits=torch.full_like(gaussians.opacity_logits, -9.0))
    assert not bool(SeenPixels(nothing, Cameras.stack([camera(0.0)])).of(camera(0.0)).any())


def test_stripes_lie_over_what_was_not_seen_alone() -> None:
    picture = torch.rand(48, 64, 3, generator=torch.Generator().manual_seed(0))
    seen = torch.zeros(48, 64, dtype=torch.bool)
    seen[:, :30] = True
    found = marked_unseen(picture, seen)
    assert torch.equal(found[:, :30], picture[:, :30])
    changed = (found - picture).abs().amax(-1)[:, 30:]
    assert bool((changed > 0).all())
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    # Stripes and what lies between them take turns along a row.
    bright = found[20, 30:, 0] > 0.55
    assert 2 <= int((bright[1:] != bright[:-1]).sum()) <= 14


def test_the_page_shows_emptiness_as_stripes_where_that_is_wanted() -> None:
    plain, striped = (behind((0.2, 0.4, 0.6), wanted) for wanted in (False, True))
    assert (plain == np.array([51, 102, 153])).all()
    assert len(np.unique(striped.reshape(-1, 3), axis=0)) == 2
    sent: list[np.ndarray] = []
    scene = SimpleNamespace(set_background_image=lambda picture, format: sent.append(picture))
    subject = SimpleNamespace(splat=SimpleNamespace(background=(0.2, 0.4, 0.6)))
    parts = [SimpleNamespace(scene=scene), [subject], subject, *[None] * 6]
    context = Context(*parts)  # type: ignore[arg-type]
    context.show_background()
    context.look.marks_unseen = True
    context.show_background()
    assert np.array_equal(sent[0], plain)
    assert np.array_equal(sent[1], striped)


def test_a_measured_run_has_a_picture_of_what_was_not_seen(tmp_path: Path) -> None:
    run = small_run(tmp_path / "run")
    dataset = Dataset.from_capture(load_run_capture(run), test=(1, 3))
    found = evaluate(run, dataset, StaticSplat(small_gaussians()))
    for view in found["views"]:
        drawn, striped = (load_pixels(run.path / view[key])[..., :3] for key in ("render", "unseen"))
        assert drawn.shape == striped.shape
        same = (drawn == striped).all(-1)
        share = view["seen"]["share"]
        assert share < 1
        # Black stays black between the stripes, which are half of what was not seen.
        assert share - 0.02 <= same.mean() <= share + 0.6 * (1 - share)


def test_each_photograph_has_seen_its_own_part() -> None:
    gaussians = splat_of(wall(4.0, -6.0, 6.0))
    left, right = camera(-1.0), camera(1.0)
    seen = SeenPixels(gaussians, Cameras.stack([left, right]))
    apart = seen.by_photograph(camera(0.0))
    assert apart.shape == (2, 48, 64)
    assert bool(apart[0, :, :30].all())
    assert not bool(apart[0, :, -8:].any())  # beyond the left photograph's border
    assert torch.equal(apart[0], apart[1].flip(1))
    assert torch.equal(apart.any(0), seen.of(camera(0.0)))
