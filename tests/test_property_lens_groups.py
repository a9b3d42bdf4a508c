"""Lenses told apart: photographs of one size from two lenses are, those from one are not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fewview.recon.poses import PosesConfig
from fewview.recon.poses.best_model import solve
from fewview.recon.poses.features import Features
from fewview.recon.poses.focal_prior import Lenses
from fewview.recon.poses.lens_groups import lenses_apart, note_on_lenses
from fewview.recon.poses.mapping import quiet_pycolmap
from fewview.recon.poses.verification import verify

WIDTH, HEIGHT = 640, 480
VIEWS, POINTS = 8, 250


def photographs(focal_px: np.ndarray, seed: int = 0) -> tuple[list[Features], dict[tuple[int, int], np.ndarray]]:
    """Keypoints and matches of a ball of points, seen along an arc through a lens of `focal_px` [V]."""
    rng = np.random.default_rng(seed)
    points = rng.normal(0, 0.5, (POINTS, 3)).clip(-1, 1)
    features = []
    for view, focal in enumerate(focal_px):
        angle = np.radians(12.0 * view)
        rotation = np.array([[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0], [np.sin(angle), 0, np.cos(angle)]])
        in_cam = points @ rotation.T + [0.1 * (view % 2), 0.15 * (view % 3), 5.0 + 0.7 * (view % 4)]
        xy = focal * in_cam[:, :2] / in_cam[:, 2:] + np.array([WIDTH, HEIGHT]) / 2 + rng.normal(0, 0.4, (POINTS, 2))
        features.append(Features(torch.from_numpy(xy).float(), torch.zeros(POINTS, 0), WIDTH, HEIGHT))
    every = np.stack([np.arange(POINTS)] * 2, axis=1)
    return features, {(a, b): every for a in range(VIEWS) for b in range(a + 1, min(a + 4, VIEWS))}


@pytest.mark.parametrize("zoom", [1.0, 1.6])
def test_two_lenses_of_one_size_are_told_apart_and_one_is_not(zoom: float) -> None:
    long = np.isin(np.arange(VIEWS), [1, 4, 6])
    features, matches = photographs(np.where(long, 560.0 * zoom, 560.0))
    lenses = Lenses([1] * VIEWS, [(WIDTH, HEIGHT)], [None])
    graph = verify(features, matches, lenses.of_views(lenses.cameras("SIMPLE_PINHOLE", 1.0)), seed=0)
    config = PosesConfig(distortion="off")
    with quiet_pycolmap():
        apart = lenses_apart(graph, lenses, solve(graph, lenses, config), config)
    if zoom == 1.0:
        assert apart is None
        return
    assert apart is not None
    grouped, model = apart
    assert len(model.views) == VIEWS
    assert {view for view, lens in enumerate(grouped.camera_of_view) if lens == 2} == set(np.flatnonzero(long))
    px = [model.reconstruction.camera(lens).mean_focal_length() for lens in (1, 2)]
    # Eight views along 84 degrees fix a focal length to a few per cent at 0.4 px of noise; the zoom is 60 % more.
    assert px[1] / px[0] == pytest.approx(zoom, rel=0.1)
    (note,) = note_on_lenses([f"{i}.jpg" for i in range(VIEWS)], lenses, grouped, model)
    assert "1.jpg, 4.jpg, 6.jpg" in note
    zoomed = model.reconstruction.camera(2)
    zoomed.focal_length = px[0]  # as where they came out alike in the end
    assert note_on_lenses([f"{i}.jpg" for i in range(VIEWS)], lenses, grouped, model) == []
    zoomed.focal_length = px[1]
    for view in (1, 4, 6):  # as where the judge takes a group out again
        model.reconstruction.deregister_frame(model.reconstruction.image(view + 1).frame_id)
    assert note_on_lenses([f"{i}.jpg" for i in range(VIEWS)], lenses, grouped, model) == []


def test_photographs_with_exif_keep_their_lenses() -> None:
    lenses = Lenses([1] * VIEWS, [(WIDTH, HEIGHT)], [560.0])
    features, matches = photographs(np.full(VIEWS, 560.0))
    graph = verify(features, matches, lenses.of_views(lenses.cameras("SIMPLE_PINHOLE", 1.0)), seed=0)
    with quiet_pycolmap():
        model = solve(graph, lenses, PosesConfig())
        assert model is not None
        assert lenses_apart(graph, lenses, model, PosesConfig()) is None
    assert note_on_lenses([f"{i}.jpg" for i in range(VIEWS)], lenses, lenses, model) == []
