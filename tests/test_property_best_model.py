"""Choice among solutions: focal lengths that nothing pinned down, and distortion that nothing asks for."""

from __future__ import annotations

from dataclasses import dataclass, field

import pycolmap
import pytest
from fewview.recon.poses import PosesConfig, best_model
from fewview.recon.poses.best_model import held_once_lost, solve, solve_again
from fewview.recon.poses.focal_prior import Lenses
from fewview.recon.poses.mapping import ATTEMPTS, Attempt, Model
from fewview.recon.poses.verification import ViewGraph

VIEWS = 9
LENS = Lenses([1] * VIEWS, [(640, 480)], [None])


@dataclass(frozen=True)
class Solution:
    """Stands in for a `Model`."""

    focal_ratio: float
    observations: int = 1000
    error_px: float = 0.6
    distortion: float = 0.0
    focal_held: bool = False
    sane: bool = True
    views: list[int] = field(default_factory=lambda: list(range(VIEWS)))

    def is_sane(self) -> bool:
        return self.sane


class Whole(ViewGraph):
    """A graph in which everything hangs together."""

    def __init__(self) -> None:
        pass

    def components(self) -> list[list[int]]:
        return [list(range(VIEWS))]


class Mapper:
    """Stands in for the mapper: solutions that `solutions` gives for cameras, an attempt, and if lenses are refined."""

    def __init__(self, solutions) -> None:
        self._solutions = solutions

    def run(self, cameras, attempt, refine_focal: bool = True) -> Solution:
        return self._solutions(cameras[0], attempt, refine_focal)


def solved(monkeypatch: pytest.MonkeyPatch, run, lens: Lenses = LENS) -> Solution:
    """Solution that `solve` takes; `run` gets the lens model, the starting focal ratio, and if it is refined."""

    def solutions(camera: pycolmap.Camera, _, refine_focal: bool) -> Solution:
        return run(camera.model_name, camera.mean_focal_length() / camera.width, refine_focal)

    monkeypatch.setattr(best_model, "Mapper", lambda *_: Mapper(solutions))
    return solve(Whole(), lens, PosesConfig())


@pytest.mark.parametrize(("first", "tried"), [(2, ATTEMPTS[:2]), (VIEWS - 2, ATTEMPTS[:1])])
def test_a_quick_solution_of_few_views_goes_on_to_the_next_attempt(monkeypatch, first: int, tried) -> None:
    asked = []

    def solutions(camera: pycolmap.Camera, attempt: Attempt, refine_focal: bool) -> Solution:
        asked.append(attempt)
        return Solution(0.9, views=list(range(first + 2 * (attempt is not ATTEMPTS[0]))))

    monkeypatch.setattr(best_model, "Mapper", lambda *_: Mapper(solutions))
    found = solve_again(Whole(), LENS, PosesConfig(), 1)
    assert found is not None
    assert len(found.views) == first + 2 * (len(tried) - 1)
    assert asked == list(tried)


def test_a_focal_length_that_ran_away_is_looked_for_from_other_starts(monkeypatch) -> None:
    def run(_: str, start: float, refine: bool) -> Solution:
        if start < 1:  # runs away, so that it is held where it started
            return Solution(start, observations=1010, focal_held=not refine, sane=not refine)
        return Solution(1.05)

    found = solved(monkeypatch, run)
    assert found.focal_ratio == 1.05
    assert not found.focal_held


def test_one_run_is_enough_where_the_focal_length_is_pinned_down(monkeypatch) -> None:
    runs = []

    def run(*asked) -> Solution:
        runs.append(asked)
        return Solution(0.9, distortion=0.02)

    assert solved(monkeypatch, run).focal_ratio == 0.9
    assert len(runs) == 1


@pytest.mark.parametrize(("error_px", "kept"), [(0.59, False), (0.4, True)])
def test_an_unusual_distortion_must_explain_clearly_more(monkeypatch, error_px: float, kept: bool) -> None:
    def run(name: str, start: float, refine: bool) -> Solution:
        return Solution(1.0, error_px=error_px, distortion=-0.45) if name == "SIMPLE_RADIAL" else Solution(0.95)

    assert (solved(monkeypatch, run).distortion != 0) == kept


def test_without_distortion_is_tried_where_it_ran_away(monkeypatch) -> None:
    def run(name: str, start: float, refine: bool) -> Solution:
        return Solution(0.95, sane=name != "SIMPLE_RADIAL", focal_held=not refine)

    assert not solved(monkeypatch, run).focal_held


def test_a_known_focal_length_that_ran_away_in_many_views_is_held_from_then_on(monkeypatch) -> None:
    monkeypatch.setattr(best_model, "keeps_to_exif", lambda model, lenses: model.focal_held)
    runs = []

    def run(name: str, start: float, refine: bool) -> Solution:
        runs.append((name, refine))
        return Solution(0.6 if refine else start, focal_held=not refine, views=list(range(VIEWS - 1)))

    known = Lenses([1] * VIEWS, [(640, 480)], [640.0])
    found = solved(monkeypatch, run, known)
    assert found.focal_held
    assert found.focal_ratio == 1.0
    assert runs == [("SIMPLE_RADIAL", True), *[("SIMPLE_PINHOLE", False)] * len(ATTEMPTS)]
    assert held_once_lost(PosesConfig(), found, known).hold_focal
    assert not held_once_lost(PosesConfig(), found, LENS).hold_focal
    assert not held_once_lost(PosesConfig(), Solution(1.0, focal_held=True, views=[0, 1]), known).hold_focal
    assert not held_once_lost(PosesConfig(), None, known).hold_focal


@pytest.mark.parametrize(("radial", "sane"), [(-0.3, True), (0.1, True), (0.36, False), (-0.6, False)])
def test_a_lens_whose_edges_shrink_much_is_none(radial: float, sane: bool) -> None:
    # A turntable came out so, at 0.6 of the true focal length, with cameras off by 11 degrees that were told as sure.
    reconstruction = pycolmap.synthesize_dataset(
        pycolmap.SyntheticDatasetOptions(
            num_rigs=1, num_cameras_per_rig=1, num_frames_per_rig=3, num_points3D=20,
            camera_model_id=pycolmap.CameraModelId.SIMPLE_RADIAL, camera_params=[1280.0, 512.0, 384.0, 0.0],
        )
    )  # fmt: skip
    for camera in reconstruction.cameras.values():
        camera.params = [*camera.params[:3], radial]
    assert Model(reconstruction, 1.25).is_sane() is sane
