"""Which method a run uses, and with which of its values."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fewview.recon.methods.gaussian_splatting.model import GaussianSplattingConfig
from fewview.recon.methods.instantsplat.model import InstantSplatConfig
from fewview.recon.optimise.contract import TrainConfig
from fewview.recon.optimise.dataset import Dataset
from fewview.recon.pipeline import choose_method as methods
from fewview.recon.pipeline.choose_method import method_name
from fewview.recon.pipeline.reconstruct_config import ReconstructConfig
from fewview.scene.errors import BadInputError
from fewview.scene.files import write_json
from fewview.scene.run import Run
from support.few_views import few_views, wall_and_ball
from support.training import tiny_dataset


def run_with(tmp_path: Path, cameras: str | None) -> Run:
    run = Run.create(tmp_path / "run", {})
    if cameras is not None:
        write_json(run.poses_path, {"cameras": cameras})
    return run


@pytest.mark.parametrize(
    ("views", "cameras", "expected"),
    [
        (1, "estimated", "3dgs"),
        (2, "estimated", "instantsplat"),
        (12, "estimated", "instantsplat"),
        (24, "estimated", "instantsplat"),
        (25, "estimated", "3dgs"),
        (2, "given", "3dgs"),
        (12, "given", "3dgs"),
        (12, None, "3dgs"),
    ],
)
def test_few_photographs_without_cameras_are_instantsplats(
    tmp_path: Path, views: int, cameras: str | None, expected: str
) -> None:
    run, dataset = run_with(tmp_path, cameras), tiny_dataset(views)
    assert method_name(run, dataset, ReconstructConfig()) == expected
    for asked in ("3dgs", "instantsplat"):
        assert method_name(run, dataset, ReconstructConfig(method=asked)) == asked


def test_a_way_of_adding_gaussians_is_a_choice_of_3dgs(tmp_path: Path) -> None:
    run, dataset = run_with(tmp_path, "estimated"), tiny_dataset(4)
    assert method_name(run, dataset, ReconstructConfig(densify="mcmc")) == "3dgs"
    with pytest.raises(BadInputError, match="instantsplat keeps the number of its Gaussians"):
        ReconstructConfig(method="instantsplat", densify="mcmc")


def test_only_the_training_photographs_are_counted(tmp_path: Path) -> None:
    dataset = tiny_dataset(26)
    some = replace(dataset, train=tuple(range(24)), test=(24, 25))
    run = run_with(tmp_path, "estimated")
    assert method_name(run, dataset, ReconstructConfig()) == "3dgs"
    assert method_name(run, some, ReconstructConfig()) == "instantsplat"


def instantsplat_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cameras: str, dataset: Dataset | None = None, **options: Any
) -> TrainConfig:
    plain, stereo = few_views(wall_and_ball(3))
    monkeypatch.setattr(methods, "estimate_depths", lambda *_, **__: stereo.maps)
    config = ReconstructConfig(method="instantsplat", **options)
    chosen, model, seconds = methods.model_for(run_with(tmp_path, cameras), dataset or plain, config)
    assert isinstance(chosen, InstantSplatConfig)
    assert list(seconds) == ["stereo"]
    assert len(model.groups["means"].tensor) <= chosen.max_gaussians
    return chosen


@pytest.mark.parametrize(
    ("cameras", "asked", "refined"),
    [("estimated", "auto", True), ("given", "auto", False), ("estimated", "off", False), ("given", "on", True)],
)
def test_cameras_are_refined_where_they_were_estimated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cameras: str, asked: str, refined: bool
) -> None:
    assert instantsplat_values(tmp_path, monkeypatch, cameras, refine_poses=asked).refine_poses == refined


def test_what_is_asked_for_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = instantsplat_values(tmp_path, monkeypatch, "estimated", steps=200, max_gaussians=321, sh_degree=2, seed=4)
    assert isinstance(chosen, InstantSplatConfig)
    assert (chosen.steps, chosen.max_gaussians, chosen.sh_degree, chosen.seed) == (200, 321, 2, 4)
    assert [chosen.degree_at(step) for step in (0, 66, 67, 133, 134, 199)] == [0, 0, 1, 1, 2, 2]
    assert chosen.densification == "none"


def test_the_paper_takes_a_thousand_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert instantsplat_values(tmp_path, monkeypatch, "estimated").steps == 1000


def test_3dgs_computes_no_depth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(methods, "estimate_depths")
    run = run_with(tmp_path, "given")
    chosen, _, seconds = methods.model_for(run, tiny_dataset(), ReconstructConfig(steps=10, densify="none"))
    assert type(chosen) is GaussianSplattingConfig
    assert (chosen.steps, chosen.densification, chosen.refine_poses) == (10, "none", False)
    assert seconds == {}
    assert not run.stereo_path.exists()
