"""The choice between methods by how they show training photographs that they were fitted without."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from fewview.recon.evidence import DepthMap
from fewview.recon.evidence.depth_file import check_size
from fewview.recon.evidence.evidence_kinds import MONOCULAR_DEPTH
from fewview.recon.evidence.stereo import stereo_depth
from fewview.recon.optimise.dataset import Dataset
from fewview.recon.pipeline import first_stage, leave_one_out
from fewview.recon.pipeline import prepare_method as preparing
from fewview.recon.pipeline.leave_one_out import MARGIN_DB, TABLE, Comparison, Measured, reduced, without
from fewview.recon.pipeline.prepare_method import Prepared, prepare_method
from fewview.recon.pipeline.reconstruct_config import ReconstructConfig
from fewview.scene.errors import BadInputError
from fewview.scene.files import read_json
from fewview.scene.point_cloud import PointCloud
from fewview.scene.run import Run
from support.capture_folder import write_capture
from support.command import assert_one_sentence, fewview
from support.few_views import few_views
from support.stereo_scenes import Plane, Sphere, StereoScene, row_of_cameras, stereo_scene
from support.threads import one_torch_thread as one_torch_thread
from support.training import capture_of

WIDTH, HEIGHT = 64, 48
SURFACES = [Plane((0.1, 0.05, 1.0), 4.5), *(Sphere((x, 0.1 * x, 3.0), 0.6) for x in (-1.2, 0.2, 1.4))]


def scene() -> StereoScene:
    """Six photographs, five of them to train on: of fewer the depth network's guesses are taken in any case."""
    return stereo_scene(SURFACES, row_of_cameras(6, WIDTH, HEIGHT, 0.5))


@pytest.fixture
def poor_stereo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stereo that is right in the upper third of each photograph and guesses far too near below.

    One method is measured with and without the prior; the others would only take longer.
    """
    monkeypatch.setattr(preparing, "WORTH_MEASURING", 0.9)
    exact = scene()
    depths = {image.numpy().tobytes(): depth for image, depth in zip(exact.images, exact.depths, strict=True)}

    def estimate(images: list[torch.Tensor], *_: Any, **__: Any) -> tuple[DepthMap, ...]:
        maps = []
        for image in images:
            depth = depths[image.contiguous().numpy().tobytes()].float()
            trusted = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
            trusted[: HEIGHT // 3] = True
            trusted[:, ::8] = True
            maps.append(DepthMap(torch.where(trusted, depth, 0.6 * depth), torch.where(trusted, 6.0, 1.0)))
        return tuple(maps)

    monkeypatch.setattr(stereo_depth, "estimate_depths", estimate)


def photographs() -> Dataset:
    dataset, _ = few_views(scene(), test=[2])
    return dataset


def prior(folder: Path, kind: str) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number, depth in enumerate(scene().depths):
        noise = cv2.resize(rng.random((9, 12)).astype(np.float32), (WIDTH, HEIGHT))
        np.save(folder / f"view_{number}.npy", (1 / depth).numpy() if kind == "true" else noise)
    return folder


def prepared(tmp_path: Path, kind: str, name: str = "run", dataset: Dataset | None = None) -> tuple[Prepared, Run]:
    path = tmp_path / name
    run = Run.open(path) if path.is_dir() else Run.create(path, {})
    dataset = photographs() if dataset is None else dataset
    given = tmp_path / kind
    config = ReconstructConfig(depth_prior=given if given.is_dir() else prior(given, kind), steps=60)
    return prepare_method(run, capture_of(dataset), dataset, config), run


def test_a_true_prior_is_chosen_and_the_comparison_told(
    tmp_path: Path, poor_stereo: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparing, "WORTH_MEASURING", 0.3)
    found, run = prepared(tmp_path, "true")
    assert found.comparison is not None
    names = [row.name for row in found.comparison.rows]
    assert names[:2] == ["instantsplat", "instantsplat + monocular depth"]
    assert "coherentgs" in names
    assert MONOCULAR_DEPTH in (*found.taken, *found.choice.method.needs)
    best = max(found.comparison.rows, key=lambda row: row.mean_psnr)
    assert best.mean_psnr > found.comparison.rows[0].mean_psnr
    for row in found.comparison.rows:
        assert len(row.psnr) == (0 if row.refusal else 3)
        assert (row.name if row.refusal else f"{row.mean_psnr:.2f} dB") in found.choice.reason
    assert not list(run.path.glob("fewview_choice*"))


def test_a_wrong_prior_is_not_chosen(tmp_path: Path, poor_stereo: None) -> None:
    found, _ = prepared(tmp_path, "noise")
    assert found.comparison is not None
    first, second = found.comparison.rows[:2]
    assert second.mean_psnr == pytest.approx(first.mean_psnr, abs=0.3)  # it was refused pixel by pixel
    if second.mean_psnr <= first.mean_psnr + MARGIN_DB:
        assert found.taken == ()


def test_the_choice_is_made_once_and_the_same_again(
    tmp_path: Path, poor_stereo: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, run = prepared(tmp_path, "true")
    again, other = prepared(tmp_path, "true", "other")
    assert read_json(run.path / TABLE) == read_json(other.path / TABLE)  # bit for bit
    assert first.choice.config == again.choice.config

    def never(*_: object, **__: object) -> None:
        raise AssertionError("nothing is left to measure")

    monkeypatch.setattr(leave_one_out, "fit", never)
    kept, _ = prepared(tmp_path, "true")
    assert kept.choice.reason == first.choice.reason
    assert kept.taken == first.taken
    assert torch.equal(kept.model.splat().means, first.model.splat().means)


def test_held_out_photographs_are_not_looked_at(tmp_path: Path, poor_stereo: None) -> None:
    dataset = photographs()
    views = list(dataset.views)
    views[2] = replace(views[2], pixels=255 - views[2].pixels)
    one, _ = prepared(tmp_path, "true")
    other, _ = prepared(tmp_path, "true", "other", replace(dataset, views=tuple(views)))
    assert one.comparison is not None
    assert other.comparison is not None
    assert one.comparison.rows == other.comparison.rows


def test_without_a_prior_nothing_is_measured(tmp_path: Path, poor_stereo: None) -> None:
    dataset, run = photographs(), Run.create(tmp_path / "run", {})
    found = prepare_method(run, capture_of(dataset), dataset, ReconstructConfig(steps=150))
    assert found.comparison is None
    assert found.choice.method.name == "instantsplat"
    assert not (run.path / TABLE).exists()


def test_methods_are_compared_where_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a prior, too: all methods that suit are measured, and the best, or the first, is taken."""
    measured: list[str] = []

    def compare(*arguments: Any) -> Comparison:
        candidates = arguments[5]
        measured.extend(candidate.name for candidate in candidates)
        return Comparison(candidates[-1], (Measured(candidates[-1].name, (30.0,), (0.9,)),))

    monkeypatch.setattr(preparing, "compare", compare)
    dataset, run = replace(photographs(), train=(0, 1, 2, 3), test=()), Run.create(tmp_path / "run", {})
    found = prepare_method(run, capture_of(dataset), dataset, ReconstructConfig(steps=60, compare_methods=True))
    assert measured[0] == "instantsplat"  # which suits best, and is taken where none is clearly better
    assert {"3dgs", "coherentgs", "rdg_gs"} == set(measured[1:])
    assert found.choice.method.name == measured[-1]
    assert f"{measured[-1]} 30.00 dB" in found.choice.reason


def test_a_comparison_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="--method 3dgs names one"):
        ReconstructConfig(method="3dgs", compare_methods=True)
    dataset = replace(photographs(), train=(0, 1, 3))
    with pytest.raises(BadInputError, match="4 to 8 photographs of one moment; found 3 training"):
        prepare_method(
            Run.create(tmp_path / "run", {}),
            capture_of(dataset),
            dataset,
            ReconstructConfig(steps=60, compare_methods=True),
        )


def test_too_few_photographs_to_compare_are_refused_before_they_are_placed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(first_stage, "place", None)
    capture, run = tmp_path / "capture", tmp_path / "run"
    write_capture(capture, views=3)
    outcome = fewview(capsys, "reconstruct", capture, "-o", run, "--compare-methods", "--quiet")
    assert_one_sentence(outcome, 2)
    assert "4 to 8 photographs of one moment; found 3 training photographs" in outcome.err
    assert not run.exists()


def test_what_is_left_out_says_nothing() -> None:
    dataset = replace(photographs(), train=(0, 1, 3))
    g = torch.Generator().manual_seed(0)
    points = PointCloud(
        torch.rand(4, 3, generator=g),
        torch.zeros(4, 3, dtype=torch.uint8),
        torch.tensor([0, 0, 1, 1, 1, 2, 2, 3, 3]),
        torch.tensor([0, 1, 0, 1, 3, 1, 3, 0, 2]),
    )
    rest = without(replace(dataset, points=points), 1)
    assert rest.train == (0, 3)
    assert rest.test == (1,)
    assert rest.points is not None
    assert torch.equal(rest.points.xyz, points.xyz[[1]])  # the one point that views 0 and 3 both see
    assert rest.points.seen_view is not None
    assert rest.points.seen_view.tolist() == [0, 3]


def test_maps_of_the_photographs_fit_them_when_they_are_small() -> None:
    for width, height in ((270, 480), (1013, 761), (333, 500)):
        small = width, height
        while max(small) > 100:
            small = max(1, small[0] // 2), max(1, small[1] // 2)
            check_size(torch.zeros(height, width), *small)
    with pytest.raises(ValueError, match="does not fit"):
        check_size(torch.zeros(480, 270), 60, 80)


def test_photographs_are_halved_with_their_cameras() -> None:
    dataset = photographs()
    small = reduced(dataset, 50)
    assert (small.views[0].width, small.views[0].height) == (WIDTH // 2, HEIGHT // 2)
    assert torch.allclose(small.cameras.K[:, :2], dataset.cameras.K[:, :2] / 2)
    assert reduced(dataset, WIDTH).views[0].width == WIDTH
