"""Every reconstruction method goes through the same questions; a toy in one file shows that nothing else is needed."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from fewview.recon.methods.registry import choose, method
from fewview.recon.optimise.adam import Optimiser
from fewview.recon.optimise.contract import Model, Stage
from fewview.recon.optimise.dataset import Dataset
from fewview.recon.optimise.table import Table
from fewview.recon.optimise.train_config import TrainConfig
from fewview.recon.optimise.trainer import FitResult, Trainer, fit
from fewview.render.film import film_pictures
from fewview.scene.errors import BadInputError, FewviewError
from fewview.scene.formats import load_splat
from fewview.scene.gaussians import Gaussians
from fewview.scene.run import Run
from fewview.scene.run_splat import load_run_splat, save_run_splat
from fewview.scene.splat import MovingSplat, StaticSplat
from fewview.viewer.clock import Timeline
from fewview.viewer.subjects.loader import load_subject
from support import toy_method
from support.command import assert_one_sentence, fewview
from support.small_methods import METHODS, SETTINGS, inputs_for
from support.small_methods import with_the_toy as with_the_toy
from support.training import ring, same_bits, tiny_dataset
from torch import Tensor, nn


def model_of(name: str, **asked: Any) -> tuple[Model, Dataset, TrainConfig]:
    inputs, chosen = inputs_for(name), method(name)
    settings = {"steps": 12, "checkpoint_every_s": 0.0} | SETTINGS.get(name, {}) | asked
    config = chosen.configure(inputs, settings)
    torch.manual_seed(0)  # the toy's network starts from the global generator
    return chosen.initialise(inputs, config), inputs.dataset, config


def moments_of(result: FitResult) -> list[Gaussians]:
    return [result.splat.at(time_s) for time_s in (None, 0.0, 0.7, 2.0)]


@pytest.mark.parametrize("name", METHODS)
def test_the_loss_falls(name: str) -> None:
    steps = 240 if name == "sc_gs" else 80  # in its second part it begins anew
    # One loss throughout; the first part of DreamMesh4D learns one view alone, so its second begins worse.
    asked: dict[str, dict[str, Any]] = {"coherentgs": {"alignment": "inverse"}, "dreammesh4d": {"static_steps": 0.0}}
    model, dataset, config = model_of(name, steps=steps, **asked.get(name, {}))
    losses: list[float] = []
    result = fit(model, dataset, config, callbacks=[lambda step, model, figures: losses.append(figures["loss"])])
    assert (result.step, result.interrupted) == (steps, False)
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])


DISAGREEING = {"appearance": "on", "transient_masks": True}  # photographs of different cameras with people in them


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(("stops", "asked"), [([1], {}), ([5, 6], {}), ([7, 11], {}), ([5, 6], DISAGREEING)], ids=str)
def test_interrupted_and_resumed_equals_uninterrupted(
    tmp_path: Path, name: str, stops: list[int], asked: dict[str, Any]
) -> None:
    whole = fit(*model_of(name, **asked))
    run = Run.create(tmp_path / "run", {})
    for i, stop in enumerate(stops):

        def interrupt(step: int, model: Model, figures: Any, stop: int = stop) -> None:
            if step == stop:
                os.kill(os.getpid(), signal.SIGINT)

        part = fit(*model_of(name, **asked), run=run, resume=i > 0, callbacks=[interrupt])
        assert (part.interrupted, part.step) == (True, stop)
    resumed = fit(*model_of(name, **asked), run=run, resume=True)
    assert resumed.step == whole.step
    assert resumed.appearance.used == ("appearance" in asked)
    assert all(same_bits(a, b) for a, b in zip(moments_of(resumed), moments_of(whole), strict=True))
    assert torch.equal(resumed.cameras.cam_from_world, whole.cameras.cam_from_world)


@pytest.mark.parametrize("name", METHODS)
def test_colour_transforms_and_masks_reach_every_method_and_change_nothing_when_off(name: str) -> None:
    # Until something stands out from a rough picture, as holes do over black.
    asked: dict[str, Any] = {"steps": 24, "background": (0.0, 0.0, 0.0)}
    plain, off = fit(*model_of(name, **asked)), fit(*model_of(name, **asked, appearance="off"))
    transforms = fit(*model_of(name, **asked, appearance="on"))
    masks = fit(*model_of(name, **asked, transient_masks=True))
    assert same_bits(plain.splat.at(), off.splat.at())
    assert not same_bits(plain.splat.at(), transforms.splat.at())
    assert not same_bits(plain.splat.at(), masks.splat.at())


@pytest.mark.parametrize("name", METHODS)
def test_the_seed_decides_and_the_global_generator_does_not(name: str) -> None:
    first, again, other = model_of(name), model_of(name), model_of(name, seed=1)
    torch.manual_seed(123)
    results = [fit(*first), fit(*again), fit(*other)]
    assert same_bits(results[0].splat.at(), results[1].splat.at())
    assert not same_bits(results[0].splat.at(), results[2].splat.at())


@pytest.mark.parametrize("name", METHODS)
def test_settings_of_another_run_are_refused(tmp_path: Path, name: str) -> None:
    run = Run.create(tmp_path / "run", {})
    fit(*model_of(name), run=run)
    with pytest.raises(BadInputError, match=r"dssim_weight=0\.2 \(now 0\.3\)"):
        fit(*model_of(name, dssim_weight=0.3), run=run, resume=True)
    with pytest.raises(BadInputError, match="steps is 0"):
        model_of(name, steps=0)


@pytest.mark.parametrize("name", METHODS)
def test_the_result_goes_through_a_run(tmp_path: Path, name: str) -> None:
    result = fit(*model_of(name))
    run = Run.create(tmp_path / "run", {})
    save_run_splat(run, result.splat)
    read = load_run_splat(run)
    assert isinstance(read, MovingSplat if method(name).uses_time else StaticSplat)
    for time_s in (None, 0.0, 0.7, 2.0):
        assert torch.equal(read.at(time_s).means, result.splat.at(time_s).means)
    assert torch.equal(load_splat(run.splat_path).gaussians.means, result.splat.at().means)


def test_a_moving_scene_chooses_the_method_that_follows_time() -> None:
    assert choose("auto", inputs_for("drift"), lambda _: {}).method.uses_time
    assert choose("auto", inputs_for("3dgs"), lambda _: {}).method.name == "instantsplat"


def test_a_toy_method_is_short_and_moves() -> None:
    lines = Path(toy_method.__file__).read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 80
    result = fit(*model_of("drift", steps=40))
    assert result.splat.time_range_s == (0.0, 2.0)
    assert len(result.splat) == 15  # 12 nodes, and one more in each of three steps
    assert not torch.equal(result.splat.at(0.0).means, result.splat.at(2.0).means)


def test_the_toys_run_is_viewed_filmed_and_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    splat = fit(*model_of("drift")).splat
    run = Run.create(tmp_path / "run", {})
    save_run_splat(run, splat)
    subject = load_subject(run)
    assert subject.timeline == Timeline(0.0, 2.0)
    assert subject.splat is not None
    assert torch.equal(subject.splat.at(1.5).means, splat.at(1.5).means)
    first, last = film_pictures(splat, ring(1)[torch.tensor([0, 0])])  # plays its motion
    assert (first != last).any()
    for moment, name in ((0.0, "first.spz"), (2.0, "last.ply")):
        outcome = fewview(capsys, "convert", run.path, tmp_path / name, "--time", moment, "--json")
        assert outcome.code == 0, outcome.err
        assert any("moves from 0 s to 2 s" in note for note in outcome.json["notes"])
    written = load_splat(tmp_path / "last.ply").gaussians.means
    torch.testing.assert_close(written, splat.at(2.0).means)
    refused = fewview(capsys, "convert", run.path, tmp_path / "never.ply", "--time", 3.0)
    assert_one_sentence(refused, 2, "--time 3", "0 to 2")


class Blobs(Model):
    """A still scene made of what each test gives; nothing in it is called means."""

    def __init__(
        self, tables: dict[str, Table], modules: dict[str, nn.Module], optimisers: dict[str, Optimiser]
    ) -> None:
        self.tables, self.modules, self._optimisers = tables, modules, optimisers

    def stages(self) -> list[Stage]:
        return [Stage(8, self._optimisers)]

    def positions(self) -> Tensor:
        return self.tables["blobs"]["where"]

    def splat(self, time_s: float | None = None) -> Gaussians:
        where = self.positions()
        n, ones = len(where), torch.ones(len(where), 3)
        return Gaussians(where, torch.eye(4)[:1].expand(n, 4), -1.5 * ones, ones[:, 0], 0.5 * ones[:, None])

    def result(self) -> StaticSplat:
        return StaticSplat(self.splat().detach())


def where(count: int = 20) -> Tensor:
    return 0.5 * torch.randn(count, 3, generator=torch.Generator().manual_seed(0))


FAST = Optimiser(lambda step: 0.01)
PLAIN = TrainConfig(steps=8, checkpoint_every_s=0)


def trained(model: Model) -> FitResult:
    return fit(model, tiny_dataset(), PLAIN)


def test_a_model_without_means() -> None:
    model = Blobs({"blobs": Table({"where": where()})}, {}, {"blobs.where": FAST})
    assert not torch.equal(trained(model).splat.gaussians.means, where())


def test_control_points_beside_gaussians_that_are_densified() -> None:
    """Two tables of different and changing row counts; each keeps to itself."""

    class Carried(Blobs):
        def positions(self) -> Tensor:
            return self.tables["blobs"]["where"] + self.tables["nodes"]["offset"].mean(0)

        def after_step(self, step: Any) -> None:
            rows = self.tables["blobs"].rows
            self.tables["blobs"].edit_rows(torch.arange(rows), {}, torch.tensor([0, 1]))

    tables = {"blobs": Table({"where": where()}), "nodes": Table({"offset": torch.zeros(3, 3)})}
    model = Carried(tables, {}, {"blobs.where": FAST, "nodes.offset": FAST})
    assert len(trained(model).splat) == 20 + 2 * 8
    assert tables["nodes"].rows == 3
    assert bool((tables["nodes"]["offset"] != 0).all())


def test_scalars_and_networks_of_many_tensors_learn_and_all_else_stands_still() -> None:
    class Decoded(Blobs):
        def positions(self) -> Tensor:
            return self.modules["decoder"](self.tables["blobs"]["where"]) * self.tables["unit"]["scale"]

    layers = [nn.Linear(3, 3) for _ in range(15)]  # 30 tensors
    decoder = nn.Sequential(*layers)
    tables = {"blobs": Table({"where": where()}), "unit": Table({"scale": torch.tensor(1.0)})}
    torch.manual_seed(0)
    before = [p.detach().clone() for p in decoder.parameters()]
    model = Decoded(tables, {"decoder": decoder}, {"unit.scale": FAST, "decoder": FAST})
    trained(model)
    assert float(tables["unit"]["scale"].detach()) != 1.0
    assert torch.equal(tables["blobs"]["where"], where())
    assert all(not torch.equal(a, b) for a, b in zip(before, decoder.parameters(), strict=True))
    part = Decoded(tables, {"decoder": decoder}, {"decoder.14": FAST})
    before = [p.detach().clone() for p in decoder.parameters()]
    trained(part)
    moved = [not torch.equal(a, b) for a, b in zip(before, decoder.parameters(), strict=True)]
    assert moved == [False] * 28 + [True] * 2


def test_tables_may_come_with_a_stage_and_resume(tmp_path: Path) -> None:
    """The second stage trades its nodes for a table that grows; a checkpoint within it finds all of it again."""

    class Growing(Blobs):
        def stages(self) -> list[Stage]:
            return [Stage(4, {"blobs.where": FAST}), Stage(8, {"fine.where": FAST}, forgets=True)]

        def begin_stage(self, index: int, generator: torch.Generator) -> None:
            if index == 1:
                coarse = self.tables.pop("blobs")["where"].detach()
                self.tables["fine"] = Table({"where": coarse + 0.01 * torch.randn(coarse.shape, generator=generator)})

        def positions(self) -> Tensor:
            return next(iter(self.tables.values()))["where"]

        def after_step(self, step: Any) -> None:
            if step.stage == 1:
                self.tables["fine"].edit_rows(
                    torch.arange(self.tables["fine"].rows), {}, torch.tensor([step.stage_step])
                )

    def model() -> Growing:
        return Growing({"blobs": Table({"where": where()})}, {}, {})

    whole = trained(model())
    assert len(whole.splat) == 28
    for stop in (3, 4, 5, 9):
        run = Run.create(tmp_path / str(stop), {})

        def interrupt(step: int, model: Model, figures: Any, stop: int = stop) -> None:
            if step == stop:
                os.kill(os.getpid(), signal.SIGINT)

        fit(model(), tiny_dataset(), PLAIN, run=run, callbacks=[interrupt])
        resumed = fit(model(), tiny_dataset(), PLAIN, run=run, resume=True)
        assert same_bits(resumed.splat.at(), whole.splat.at())


def test_several_views_a_step_share_one_loss() -> None:
    class Seen(Blobs):
        def stages(self) -> list[Stage]:
            return [Stage(4, self._optimisers, views_per_step=3)]

        def after_step(self, step: Any) -> None:
            assert set(step.renders) == set(step.views)
            counts.append(len(step.views))

    counts: list[int] = []
    trained(Seen({"blobs": Table({"where": where()})}, {}, {"blobs.where": FAST}))
    assert counts == [3] * 4


def test_what_a_stage_names_must_be_there() -> None:
    tables = {"blobs": Table({"where": where()})}
    for key in ("blobs.colour", "nodes.where", "decoder"):
        with pytest.raises(ValueError, match=f"optimises '{key}'.*blobs.where"):
            Trainer(Blobs(tables, {}, {key: FAST}), tiny_dataset(), PLAIN)
    with pytest.raises(ValueError, match="nothing to optimise"):
        Trainer(Blobs({}, {}, {}), tiny_dataset(), PLAIN)


def test_a_loss_that_is_no_number_is_named() -> None:
    class Bad(Blobs):
        def loss(self, step: Any) -> dict[str, Tensor]:
            return super().loss(step) | {"smoothness": torch.tensor(float("nan"))}

    with pytest.raises(FewviewError, match=r"at step 1 \(smoothness\)"):
        trained(Bad({"blobs": Table({"where": where()})}, {}, {"blobs.where": FAST}))


def test_a_step_draws_depth_features_and_other_cameras() -> None:
    class Looking(Blobs):
        def loss(self, step: Any) -> dict[str, Tensor]:
            view = step.views[0]
            render = step.draw(view, depth=True, features=torch.ones(len(self.positions()), 2))
            assert render.depth.shape == render.alpha.shape == render.features.shape[:2]
            torch.testing.assert_close(render.features[..., 0], render.alpha)
            camera = step.camera(view)
            again = step.draw_from(camera, depth=True)
            torch.testing.assert_close(again.depth, render.depth)
            torch.testing.assert_close(again.rgb, render.rgb)
            target, mask = step.target(view)
            assert target.shape == render.rgb.shape
            assert mask is None
            seen.append(step.time_s(view))
            return super().loss(step)

    seen: list[float | None] = []
    trained(Looking({"blobs": Table({"where": where()})}, {}, {"blobs.where": FAST}))
    assert seen == [None] * 8
