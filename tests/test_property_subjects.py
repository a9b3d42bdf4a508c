"""Every kind of input as a subject of the viewer: the contract of all, and what moves when the clock does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fewview.render.camera_path import CameraPath
from fewview.render.film import film_moments, film_pictures
from fewview.scene.files import write_json
from fewview.scene.formats import load_splat, save_splat
from fewview.scene.readers import load_run_capture, save_capture
from fewview.scene.run import Run
from fewview.scene.run_splat import load_run_splat
from fewview.scene.splat import MovingSplat, StaticSplat
from fewview.viewer import path_edit
from fewview.viewer.app import serve
from fewview.viewer.clock import KEY_FRAMES, Timeline
from fewview.viewer.page import Page
from fewview.viewer.pictures import render_rgb8
from fewview.viewer.subjects import drawn_splat
from fewview.viewer.subjects.capture_subject import CaptureSubject
from fewview.viewer.subjects.driving_subject import DrivingSubject
from fewview.viewer.subjects.loader import load_subject
from fewview.viewer.subjects.photographs import Photographs
from fewview.viewer.subjects.points_subject import PointsSubject
from fewview.viewer.subjects.splat_subject import SplatSubject
from fewview.viewer.subjects.subject import Subject, bounds
from support.browser import until
from support.nuscenes_folder import write_nuscenes
from support.small_run import small_cameras, small_capture, small_gaussians, small_run
from support.small_splats import DRIFT, FIRST_S, LAST_S, moving_run, moving_splat, timed_capture

MIDDLE_S = (FIRST_S + LAST_S) / 2


def made(kind: str, folder: Path) -> Subject:
    if kind == "splat file":
        save_splat(folder / "a.ply", StaticSplat(small_gaussians()))
        return load_subject(folder / "a.ply")
    if kind == "points":
        return load_subject(small_run(folder / "run").points_path)
    if kind == "run":
        return load_subject(small_run(folder / "run").path)
    if kind == "moving run":
        return load_subject(moving_run(folder / "run"))
    if kind == "begun run":
        run = Run.create(folder / "run", {})
        save_capture(run, small_capture(), 96)
        return load_subject(run)
    if kind == "photographs":
        return load_subject(replace(small_capture(), cameras=None, points=None))
    if kind == "capture":
        return load_subject(timed_capture())
    return load_subject(write_nuscenes(folder).root)


KINDS: dict[str, type[Subject]] = {
    "splat file": SplatSubject, "run": SplatSubject, "moving run": SplatSubject, "begun run": SplatSubject,
    "points": PointsSubject, "photographs": CaptureSubject, "capture": CaptureSubject, "driving": DrivingSubject,
}  # fmt: skip


@pytest.fixture
def on_page() -> Iterator[list[Page]]:
    """Pages to be closed after the test."""
    pages: list[Page] = []
    yield pages
    for page in pages:
        page.close()
        page.context.server.stop()


def shown(pages: list[Page], subject: Subject) -> Page:
    pages.append(serve(subject, port=0)[1])
    return pages[-1]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_keeps_the_contract(kind: str, tmp_path: Path, on_page: list[Page]) -> None:
    subject = made(kind, tmp_path)
    assert type(subject) is KINDS[kind]
    assert subject.title
    assert subject.layers == {}  # nothing is drawn before there is a page
    rank, stage = subject.own_stage()
    assert 0 <= rank <= 3
    assert stage.scale > 0
    assert sum(subject.facts().counts.values()) > 0
    page = shown(on_page, subject)
    assert page.context.active is subject
    until(lambda: len(subject.layers) > 0)  # a contact sheet is drawn later
    view = subject.first_view(page.context.stage, page.context.pilot.up)
    assert np.isfinite([*view.position, *view.look_at, view.fov_rad]).all()
    low, high = bounds([subject], page.context.stage)
    assert (low <= high).all()
    changes: list[int] = []
    subject.on_change(lambda: changes.append(1))
    subject.changed()
    assert changes == [1]
    subject.look_through(None)
    subject.visible = False
    assert not any(handle.visible for layer in subject.layers.values() for handle in layer.handles)
    assert (page.context.clock.timeline is None) == (subject.timeline is None)


@pytest.mark.parametrize(
    ("kind", "timeline"),
    [
        ("splat file", None), ("run", None), ("photographs", None), ("capture", Timeline(FIRST_S, LAST_S)),
        ("moving run", Timeline(FIRST_S, LAST_S)), ("driving", Timeline(1, 4, KEY_FRAMES, 1)),
    ],
)  # fmt: skip
def test_timelines(kind: str, timeline: Timeline | None, tmp_path: Path) -> None:
    assert made(kind, tmp_path).timeline == timeline


def centers(subject: Subject) -> np.ndarray:
    """[N, 3] as browsers were sent them."""
    return subject.layers["splat"].handles[0].centers.copy()


def test_the_clock_moves_the_splat_and_its_cameras(tmp_path: Path, on_page: list[Page]) -> None:
    subject = load_subject(moving_run(tmp_path / "run"))
    page = shown(on_page, subject)
    assert isinstance(subject, SplatSubject)
    assert subject.facts().words == ("moves from 1 s to 3 s", "taken from 1 s to 3 s")
    drift = np.array(DRIFT) * page.context.stage.scale
    first = centers(subject)
    page.context.clock.go_to(LAST_S)
    until(lambda: np.abs(centers(subject) - first).max() > 0.1)
    np.testing.assert_allclose(centers(subject), first + drift, atol=1e-4)  # float32
    page.context.clock.go_to(MIDDLE_S)
    until(lambda: np.abs(centers(subject) - first - drift / 2).max() < 1e-4)
    assert all(frustum.visible for frustum in subject.photographs.frusta[:2])
    subject.photographs.only_moment = True
    subject.look_through(None)
    assert [frustum.visible for frustum in subject.photographs.frusta] == [False, False, True, False, False]


def test_only_the_last_of_many_moments_is_drawn(tmp_path: Path, on_page: list[Page]) -> None:
    subject = load_subject(moving_run(tmp_path / "run"))
    page = shown(on_page, subject)
    assert isinstance(subject, SplatSubject)
    assert subject.drawn is not None
    drawn: list[float] = []
    show = subject.drawn.show_moment
    subject.drawn.show_moment = lambda moment: drawn.append(moment) or show(moment)  # type: ignore[method-assign,func-returns-value]
    busy = [True]
    page.context.worker.submit(lambda: until(lambda: not busy[0]))
    for moment in np.linspace(FIRST_S, LAST_S, 50):
        page.context.clock.go_to(float(moment))
    busy[0] = False
    until(lambda: drawn == [LAST_S])


def test_a_large_moving_splat_shows_the_same_part_at_all_moments(
    tmp_path: Path, on_page: list[Page], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawn_splat, "FEW_GAUSSIANS", 100)
    monkeypatch.setattr(drawn_splat, "MANY_GAUSSIANS", 200)
    subject = SplatSubject("cube", moving_splat())
    page = shown(on_page, subject)
    first = centers(subject)
    assert len(first) == 100
    page.context.clock.go_to(LAST_S)
    until(lambda: np.abs(centers(subject) - first).max() > 0.1)
    expected = first + np.array(DRIFT) * page.context.stage.scale
    np.testing.assert_allclose(centers(subject), expected, atol=1e-4)


def test_a_photograph_is_compared_with_its_own_moment(tmp_path: Path, on_page: list[Page]) -> None:
    subject = load_subject(moving_run(tmp_path / "run"))
    panel = shown(on_page, subject).panel("Photographs")
    assert subject.splat is not None
    assert subject.cameras is not None
    panel._viewed(4)
    until(lambda: "at 3 s" in panel._caption.content)
    own = render_rgb8(subject.splat, subject.cameras[4], 560, LAST_S)
    other = render_rgb8(subject.splat, subject.cameras[4], 560, FIRST_S)
    assert not np.array_equal(own, other)
    assert np.array_equal(panel.picture[-own.shape[0] :, -own.shape[1] :], own)


def test_edits_of_a_moving_splat_hold_at_all_moments(tmp_path: Path, on_page: list[Page]) -> None:
    subject = load_subject(moving_run(tmp_path / "run"))
    page = shown(on_page, subject)
    panel = page.panel("Edit")
    page.context.clock.go_to(LAST_S)
    until(lambda: subject.drawn.time_s == LAST_S)  # type: ignore[attr-defined]
    session = panel.bench.session
    torch.testing.assert_close(session.means, small_gaussians().means + torch.tensor(DRIFT))
    assert "selected at 3 s, edited at all moments" in session.facts()
    chosen = session.means[:, 0] > 0.5
    panel.bench.do(lambda: session.select(chosen))
    panel.bench.do(session.delete)
    until(lambda: subject.splat is not None and len(subject.splat) == int((~chosen).sum()))
    for moment in (FIRST_S, LAST_S):
        assert torch.equal(subject.splat.at(moment).means, moving_splat().at(moment).means[~chosen])
    target, lost = session.save("last.ply")
    assert "the one at 3 s" in lost[0]
    torch.testing.assert_close(load_splat(target).gaussians.means, moving_splat().at(LAST_S).means[~chosen])
    target, lost = session.save("edited")
    assert lost == ()
    kept = load_run_splat(Run.open(target))
    assert isinstance(kept, MovingSplat)
    assert torch.equal(kept.at(MIDDLE_S).means, moving_splat().at(MIDDLE_S).means[~chosen])


def test_films_pass_through_time() -> None:
    splat, cameras = moving_splat(), small_cameras(3)
    assert film_moments(splat, cameras) == [FIRST_S, MIDDLE_S, LAST_S]
    timed = replace(cameras, times_s=torch.tensor([3.0, 1.0, 2.0]))
    assert film_moments(splat, timed) == [3.0, 1.0, 2.0]
    assert film_moments(StaticSplat(small_gaussians()), timed) == [None] * 3
    still = replace(cameras, cam_from_world=cameras.cam_from_world[[1, 1, 1]])
    pictures = list(film_pictures(splat, still))
    for picture, moment in zip(pictures, (FIRST_S, MIDDLE_S, LAST_S), strict=True):
        assert np.array_equal(picture, render_rgb8(splat, still[0], 96, moment))
    path = CameraPath.through(cameras, seconds=4)
    assert path_edit.moments(path, None, np.array([0.0])) is None
    assert path_edit.moments(path, splat.time_range_s, np.array([0.0, 2.0, 4.0])) == [FIRST_S, MIDDLE_S, LAST_S]
    timed_path = CameraPath.through(replace(cameras, times_s=torch.tensor([1.0, 1.5, 3.0])), seconds=4)
    assert path_edit.moments(timed_path, splat.time_range_s, np.array([0.0, 2.0, 4.0])) == [1.0, 1.5, 3.0]


def test_key_frames_of_a_drive_follow_the_clock(tmp_path: Path, on_page: list[Page]) -> None:
    subject = load_subject(write_nuscenes(tmp_path).root)
    page = shown(on_page, subject)
    assert isinstance(subject, DrivingSubject)
    page.context.clock.go_to(3)
    until(lambda: subject.index == 2)
    until(lambda: page.panel("Boxes")._slider.value == 3 and page.panel("Time").time == 3)
    page.panel("Boxes")._slider.value = 1
    until(lambda: subject.index == 0 and page.panel("Time").time == 1)


def test_a_run_shows_its_notes(tmp_path: Path) -> None:
    run = small_run(tmp_path / "run")
    run.update_metrics(notes=["The photographs have times, and 3dgs does not use them."])
    assert load_subject(run).notes == ("The photographs have times, and 3dgs does not use them.",)


def test_cameras_that_are_not_sure_are_named_and_coloured(tmp_path: Path) -> None:
    run = small_run(tmp_path / "run")
    capture = load_run_capture(run)
    write_json(run.poses_path, {"confidence": {name: 0.9 for name in capture.names} | {capture.names[1]: 0.4}})
    photographs = Photographs(capture, run)
    assert photographs.unsure() == {1}
    assert "1 camera not sure (red)" in photographs.words()
    assert not Photographs(capture).unsure()
    write_json(run.poses_path, {"confidence": {capture.names[0]: "high", capture.names[1]: 7}})
    assert not photographs.unsure()
