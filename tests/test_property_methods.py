"""The method that a run uses, and the values of its config."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fewview.recon.evidence import DepthMap
from fewview.recon.evidence.stereo import stereo_depth
from fewview.recon.methods.gaussian_splatting.config import GaussianSplattingConfig
from fewview.recon.methods.instantsplat.config import InstantSplatConfig
from fewview.recon.methods.registry import method, method_names
from fewview.recon.methods.setting_text import list_settings, parse_settings
from fewview.recon.optimise.dataset import Dataset
from fewview.recon.pipeline.prepare_method import Prepared, prepare_method
from fewview.recon.pipeline.reconstruct_config import ReconstructConfig
from fewview.scene.errors import BadInputError
from fewview.scene.files import write_json
from fewview.scene.run import Run
from support.few_views import few_views, wall_and_ball
from support.training import capture_of, tiny_dataset


def run_with(tmp_path: Path, cameras: str | None) -> Run:
    run = Run.create(tmp_path / "run", {})
    if cameras is not None:
        write_json(run.poses_path, {"cameras": cameras})
    return run


def prepared(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cameras: str | None,
    dataset: Dataset | None = None,
    times_s: list[float] | None = None,
    **options: Any,
) -> Prepared:
    """A method made ready for photographs with cameras of some origin; depth is a plane."""
    plain, _ = few_views(wall_and_ball(3))
    dataset = plain if dataset is None else dataset
    maps = [
        DepthMap(torch.full((view.height, view.width), 3.0), torch.full((view.height, view.width), 5.0))
        for view in (dataset.views[i] for i in dataset.train)
    ]
    monkeypatch.setattr(stereo_depth, "estimate_depths", lambda *_, **__: tuple(maps))
    capture = capture_of(dataset, times_s)
    return prepare_method(run_with(tmp_path, cameras), capture, dataset, ReconstructConfig(**options))


@pytest.mark.parametrize(
    ("views", "cameras", "expected"),
    [
        (1, "estimated", "3dgs"),
        (2, "estimated", "instantsplat"),
        (12, "estimated", "instantsplat"),
        (24, "estimated", "instantsplat"),
        (25, "estimated", "3dgs"),
        (1, "given", "3dgs"),
        (2, "given", "instantsplat"),
        (12, None, "instantsplat"),
        (25, "given", "3dgs"),
    ],
)
def test_few_photographs_are_instantsplats_wherever_their_cameras_come_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, views: int, cameras: str | None, expected: str
) -> None:
    found = prepared(tmp_path, monkeypatch, cameras, tiny_dataset(views))
    assert found.choice.method.name == expected
    assert f"{expected} was chosen because" in found.choice.reason


@pytest.mark.parametrize("asked", ["3dgs", "instantsplat"])
def test_the_method_that_is_asked_for_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    assert prepared(tmp_path, monkeypatch, "estimated", tiny_dataset(26), method=asked).choice.method.name == asked


def test_a_way_of_adding_gaussians_is_a_choice_of_3dgs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert prepared(tmp_path, monkeypatch, "estimated", tiny_dataset(4), densify="mcmc").choice.method.name == "3dgs"
    with pytest.raises(BadInputError, match="instantsplat keeps the number of its Gaussians"):
        ReconstructConfig(method="instantsplat", densify="mcmc")


def test_a_setting_that_one_method_alone_has_is_a_choice_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = prepared(tmp_path, monkeypatch, "given", tiny_dataset(4), set=("border=0.2", "antialiased=true"))
    assert found.choice.method.name == "instantsplat"
    assert isinstance(found.choice.config, InstantSplatConfig)
    assert (found.choice.config.border, found.choice.config.antialiased) == (0.2, True)


def test_only_the_training_photographs_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    some = replace(tiny_dataset(26), train=tuple(range(24)), test=(24, 25))
    assert prepared(tmp_path, monkeypatch, "estimated", some).choice.method.name == "instantsplat"


@pytest.mark.parametrize(
    ("cameras", "asked", "refined"),
    [("estimated", "auto", True), ("given", "auto", False), ("estimated", "off", False), ("given", "on", True)],
)
def test_cameras_are_refined_where_they_were_estimated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cameras: str, asked: str, refined: bool
) -> None:
    found = prepared(tmp_path, monkeypatch, cameras, method="instantsplat", refine_poses=asked)
    assert found.choice.config.refine_poses == refined
    assert list(found.seconds) == ["stereo", "continued_depth"]


@pytest.mark.parametrize(
    ("views", "asked", "takes"), [(4, (), True), (5, (), False), (4, ("network_guesses=false",), False)]
)
def test_the_depth_network_guesses_where_photographs_are_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, views: int, asked: tuple[str, ...], takes: bool
) -> None:
    dataset = replace(tiny_dataset(6), train=tuple(range(views)), test=())
    found = prepared(tmp_path, monkeypatch, "given", dataset, method="instantsplat", set=asked)
    assert ("continued_depth" in found.seconds) == takes
    assert any("farther than interpolation" in note for note in found.model.notes) == takes


def test_what_is_asked_for_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"steps": 200, "max_gaussians": 321, "sh_degree": 2, "seed": 4}
    found = prepared(tmp_path, monkeypatch, "estimated", method="instantsplat", **options)
    chosen = found.choice.config
    assert isinstance(chosen, InstantSplatConfig)
    assert (chosen.steps, chosen.max_gaussians, chosen.sh_degree, chosen.seed) == (200, 321, 2, 4)
    assert [chosen.degree_at(step) for step in (0, 66, 67, 133, 134, 199)] == [0, 0, 1, 1, 2, 2]
    assert chosen.densification == "none"
    assert found.model.tables["gaussians"].rows <= 321


def test_the_paper_takes_a_thousand_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert prepared(tmp_path, monkeypatch, "estimated", method="instantsplat").choice.config.steps == 1000


def test_3dgs_computes_no_depth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = prepared(tmp_path, monkeypatch, "given", tiny_dataset(), method="3dgs", steps=10, densify="none")
    assert type(found.choice.config) is GaussianSplattingConfig
    assert (found.choice.config.steps, found.choice.config.densification, found.choice.config.refine_poses) == (
        10,
        "none",
        False,
    )
    assert found.seconds == {}
    assert not (tmp_path / "run" / "evidence").exists()


def test_a_moving_scene_is_never_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"method": "instantsplat"}
    times = [0.0, 0.5, 1.0, 1.5, 2.0]
    (note,) = prepared(tmp_path, monkeypatch, "given", tiny_dataset(), times, **asked).choice.notes
    assert "2 from first to last" in note
    assert "instantsplat takes the scene as still" in note
    assert "follow" in note
    assert prepared(tmp_path / "other", monkeypatch, "given", tiny_dataset(), [1.0] * 5, **asked).choice.notes == ()


def test_the_registry_names_its_methods() -> None:
    assert method_names()[:2] == ("3dgs", "instantsplat")
    for name in method_names():
        found = method(name)
        assert found.name == name
        assert found.summary.endswith(".")
        assert all(setting.text for setting in list_settings(found.config)), name
    with pytest.raises(BadInputError, match="did you mean instantsplat"):
        method("instantsplot")
    with pytest.raises(BadInputError, match="did you mean instantsplat"):
        ReconstructConfig(method="instantsplot")


def test_every_field_of_every_config_can_be_set_from_its_own_text() -> None:
    for name in method_names():
        found = method(name)
        for setting in list_settings(found.config):
            value = getattr(found.config, setting.name)
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            assert parse_settings(found, [f"{setting.name}={text}"]) == {setting.name: value}


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["sh_degre=2"], "did you mean sh_degree"),
        (["nonsense=2"], "has no setting 'nonsense'"),
        (["sh_degree"], "FIELD=VALUE is expected"),
        (["sh_degree=two"], "a whole number is expected"),
        (["antialiased=maybe"], "true or false is expected"),
        (["densification=often"], "default or mcmc or none is expected"),
        (["background=1,1"], "3 numbers with commas between is expected"),
        (["sh_degree=1", "sh-degree=2"], "gives sh_degree twice"),
    ],
)
def test_settings_that_cannot_be_read_are_one_sentence(texts: list[str], words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        parse_settings(method("3dgs"), texts)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("network_guesses=maybe", "these settings: .*network_guesses.* true or false is expected"),  # not 3dgs's
        ("nonsense=2", "these settings: The method 3dgs has no setting 'nonsense'"),
    ],
)
def test_of_all_methods_the_one_that_has_a_setting_says_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    with pytest.raises(BadInputError, match=words):
        prepared(tmp_path, monkeypatch, "given", tiny_dataset(), method="auto", set=(text,))


def test_bounds_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInputError, match="sh_degree is 9"):
        prepared(tmp_path, monkeypatch, "given", tiny_dataset(), set=("sh_degree=9",))
