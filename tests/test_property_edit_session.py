"""The viewer's editing without a browser: what buttons do to the session, and where it may save."""

from __future__ import annotations

import json
import os

import pytest
import torch
from fewview.scene.edit import FloaterLimits, centered_at, in_sphere, turned_up
from fewview.scene.errors import BadInputError
from fewview.scene.formats import load_splat, save_splat
from fewview.scene.readers import load_run_capture
from fewview.scene.run import Run
from fewview.scene.splat import Splat, StaticSplat
from fewview.viewer.edit_session import TINT, Session
from fewview.viewer.subjects.loader import load_subject
from support.small_run import small_gaussians, small_run


def session(splat: Splat | None = None, **where) -> Session:
    return Session(splat or StaticSplat(small_gaussians()), lambda g: g.base_colors, **where)


def session_on(path) -> Session:
    subject = load_subject(path)
    return session(subject.splat, splat_path=subject.splat_path, run=subject.run)


@pytest.fixture
def of_run(tmp_path) -> Session:
    return session_on(small_run(tmp_path / "run").path)


def ball(s: Session, radius: float = 0.7) -> torch.Tensor:
    return in_sphere(s.means, torch.zeros(3), radius)


def test_what_is_selected_is_tinted_and_the_rest_is_not() -> None:
    s = session()
    before = s.tint()
    assert torch.equal(before, s.left().base_colors)
    count = s.select(ball(s))
    assert 20 < count < 200
    changed = (s.tint() != before).any(-1)
    assert torch.equal(changed, ball(s))
    assert bool(((s.tint() - TINT).abs() <= (before - TINT).abs() + 1e-6).all())
    assert f"{count} selected" in s.facts()


def test_deleted_gaussians_are_never_selected() -> None:
    s = session()
    count = s.select(ball(s))
    assert s.delete() == count
    assert s.selected_count == 0
    assert len(s.left()) == len(s.tint()) == 400 - count
    assert s.select(ball(s)) == 0
    s.invert()
    assert s.selected_count == 400 - count
    s.select(torch.arange(400) < 200, "remove")
    assert s.selected_count == int((~ball(s)[200:]).sum())
    s.undo()
    assert s.select(ball(s)) == count
    s.keep()
    assert s.editor.count == s.selected_count == count
    s.undo()
    s.redo()
    assert s.editor.count == count


def test_keeping_nothing_is_refused() -> None:
    s = session()
    with pytest.raises(BadInputError, match="Nothing is selected"):
        s.keep()
    assert s.editor.undo_name is None


def test_floaters_are_measured_among_what_is_left() -> None:
    s = session()
    means = s.means.clone()
    means[:3] = torch.tensor([[30.0, 0, 0], [30.1, 0, 0], [60.0, 0, 0]])
    limits = FloaterLimits(min_opacity=None, max_size=None, max_isolation=20.0)
    g = s.editor.original
    s = session(StaticSplat(type(g)(means, *list(vars(g).values())[1:])))
    assert s.floaters(limits).nonzero()[:, 0].tolist() == [0, 1, 2]
    s.select(torch.arange(400) == 2)
    s.delete()
    assert s.floaters(limits).nonzero()[:, 0].tolist() == [0, 1]
    assert s.floaters(FloaterLimits(None, None, None)).tolist() == [False] * 400


def test_picking_meets_only_what_is_left() -> None:
    s = session()
    ray = torch.tensor([0.0, 0, -5]), torch.tensor([0.0, 0, 1])
    front = s.pick(*ray)
    assert front is not None
    s.select(s.means[:, 2] < 0)
    s.delete()
    behind = s.pick(*ray)
    assert behind is not None
    assert float(front[2]) < float(behind[2])
    s.select(torch.ones(400, dtype=torch.bool))
    s.delete()
    assert s.pick(*ray) is None
    with pytest.raises(BadInputError, match="nothing to save"):
        s.splat()


def test_a_scale_is_metric_until_it_is_undone() -> None:
    s = session()
    s.move(turned_up(torch.tensor([0.0, -1, 0])), "Up")
    s.scale_to(torch.zeros(3), torch.tensor([0.0, 0, 2]), 5.0)
    assert s.metric
    assert "a unit is a metre" in s.facts()
    s.move(centered_at(torch.ones(3)), "Origin")
    assert s.metric
    s.undo()
    s.undo()
    assert not s.metric
    s.redo()
    assert s.metric
    assert float(s.editor.similarity.scale) == pytest.approx(2.5)


def test_saving_goes_beside_the_old_splat_and_never_over_anything(of_run) -> None:
    s, folder = of_run, of_run._run.path
    before = {p: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    assert s.new_name() == "edited.ply"
    s.select(ball(s))
    s.keep()
    path, lost = s.save("edited.ply")
    assert (path, lost) == (folder / "edited.ply", ())
    assert torch.equal(load_splat(path).gaussians.means, s.left().means)
    assert s.new_name() == "edited_2.ply"
    for name in ("edited.ply", "splat.ply", "points.ply"):
        with pytest.raises(BadInputError, match=r"exists already|result of a run"):
            s.save(name)
    assert {p: p.read_bytes() for p in before} == before


@pytest.mark.parametrize(
    "name", ["", "../out.ply", "/tmp/out.ply", "a/b.ply", "..", ".hidden.ply", "a\\b.ply", "a\n.ply", "notes.txt"]
)
def test_names_that_lead_elsewhere_are_refused(of_run, name, tmp_path) -> None:
    before = sorted(p for p in tmp_path.rglob("*"))
    for call in (of_run.save, of_run.to_bytes):
        with pytest.raises(BadInputError, match=r"plain name|splat file"):
            call(name)
    assert sorted(p for p in tmp_path.rglob("*")) == before


def test_a_name_without_an_ending_makes_a_run_with_its_cameras(of_run) -> None:
    s = of_run
    s.scale_to(torch.zeros(3), torch.tensor([0.0, 0, 2]), 5.0)
    path, _ = s.save("metric")
    assert path.parent == s._run.path.resolve().parent
    old, new = load_run_capture(s._run), load_run_capture(Run.open(path))
    torch.testing.assert_close(new.cameras.centers, 2.5 * old.cameras.centers, rtol=1e-5, atol=1e-5)
    assert new.points.metric
    assert json.loads((path / "config.json").read_text())["new_from_old"]["scale"] == pytest.approx(2.5)
    with pytest.raises(BadInputError, match="exists already"):
        s.save("metric")


def test_a_download_is_the_file_that_would_be_saved(tmp_path) -> None:
    path = tmp_path / "mine.ply"
    save_splat(path, StaticSplat(small_gaussians(), antialiased=True))
    s = session_on(path)
    assert s.new_name() == "mine_edited.ply"
    s.move(centered_at(torch.ones(3)), "Origin")
    content = s.to_bytes("any.ply")
    saved, _ = s.save("mine_edited.ply")
    assert saved.read_bytes() == content
    assert load_splat(saved).antialiased
    assert sorted(os.listdir(tmp_path)) == ["mine.ply", "mine_edited.ply"]  # noqa: PTH208
    bare = session()
    assert not bare.can_save
    with pytest.raises(BadInputError, match="download"):
        bare.save("edited.ply")
    assert bare.to_bytes("edited.ply")
