"""Analysis by synthesis on a generated object: what it finds, takes out, puts back, and leaves alone."""

from __future__ import annotations

import math
from dataclasses import replace

import fewview.recon.pipeline.synthesis.synthesise as synthesise_module
import pytest
import torch
from fewview.recon.pipeline.synthesis import correction
from fewview.recon.pipeline.synthesis.appearance_distance import appearance_distance
from fewview.recon.pipeline.synthesis.correction import Corrected, Correction
from fewview.recon.pipeline.synthesis.joint_fit import JointFitConfig, fit_jointly
from fewview.recon.pipeline.synthesis.look_at_frame import look_at_from_world
from fewview.recon.pipeline.synthesis.outlier_test import Inliers, OutlierConfig, find_inliers, most_removals
from fewview.recon.pipeline.synthesis.pose_rounds import (
    FoundPoses,
    Photograph,
    RoundsConfig,
    _survivors,
    follow_gradient,
    modes_of,
    ranked,
    refine_candidates,
)
from fewview.recon.pipeline.synthesis.pose_search import SearchConfig, coarse_candidates, distinct
from fewview.recon.pipeline.synthesis.synthesis_config import SynthesisConfig
from fewview.recon.pipeline.synthesis.synthesise import synthesise
from fewview.recon.poses import pair_errors
from fewview.scene import BadInputError
from fewview.scene.geometry import Similarity, rotation_angle, se3_exp, so3_exp
from support.lumpy_object import cameras_around, lumpy_object, photographed, small_views, turned
from support.threads import one_torch_thread as one_torch_thread
from torch import Tensor

FIT, TRIAL = (JointFitConfig(steps=steps, gaussians=400) for steps in (80, 50))
CONFIG = SynthesisConfig(side_px=32, fit=FIT, trial=TRIAL, search=SearchConfig(kept=12), left_out_scores=False)
VIEWS, BAD = 8, 3
GROSS = torch.tensor([0.3, 0.4, 2.0])  # 118 degrees


@pytest.fixture(scope="module")
def capture():
    return photographed(cameras_around(VIEWS), lumpy_object())


@pytest.fixture(scope="module")
def true(capture) -> Tensor:
    return capture.cameras.cam_from_world


def disturbed(true: Tensor, degrees: float, seed: int = 1) -> Tensor:
    turns = torch.randn(len(true), 3, generator=torch.Generator().manual_seed(seed)) * math.radians(degrees) / 3**0.5
    return turned(true, turns)


def turn_deg(a: Tensor, b: Tensor) -> Tensor:
    """Angles [...] between the rotations of poses [..., 4, 4]."""
    return torch.rad2deg(rotation_angle(a[..., :3, :3] @ b[..., :3, :3].transpose(-1, -2)))


# -- with the object known ----------------------------------------------------------------------------------------


def test_a_camera_that_is_a_little_off_comes_back(capture, true: Tensor) -> None:
    """Five degrees, and five percent of the distance, with the exact object."""
    views = small_views(capture, side_px=64)
    off = turned(true[:1], torch.tensor([[0.05, -0.05, 0.05]]))
    off[:, 2, 3] *= 1.05
    assert 4.9 < float(turn_deg(off, true[:1])) < 5.1
    photograph = Photograph(views, 0)
    found = follow_gradient(lumpy_object(), photograph, off, steps=60, rate=1e-2)
    assert float(turn_deg(found, true[:1])) < 0.5
    assert float((found[0, :3, 3] - true[0, :3, 3]).norm()) < 0.02 * 1.85


def test_a_lost_camera_is_found_whatever_its_roll(capture, true: Tensor) -> None:
    """The rolls of the search are those of the photograph: it is turned by 130 degrees, and found."""
    rolled = true.clone()
    rolled[2] = se3_exp(torch.tensor([0, 0, math.radians(130), 0, 0, 0.0])) @ true[2]
    cameras = capture.cameras
    taken = photographed(type(cameras)(rolled, cameras.K, cameras.width, cameras.height), lumpy_object())
    others = true[[v for v in range(VIEWS) if v != 2]]
    views = small_views(taken)
    starts = coarse_candidates(lumpy_object(), views, 2, others, CONFIG.search)
    # A grid of 15 degrees in three angles: the nearest of its members is within about 13.
    assert float(turn_deg(starts, rolled[2].expand_as(starts)).min()) < 15
    found = refine_candidates(lumpy_object(), Photograph(views, 2), starts, CONFIG.rounds)
    assert float(turn_deg(found.cam_from_world[0], rolled[2])) < 2
    assert float(found.squared_error[0]) == pytest.approx(float(found.squared_error.min()), rel=0.5)


def test_candidates_are_ranked_by_both_errors() -> None:
    poses = torch.eye(4).repeat(4, 1, 1)
    poses[:, 0, 3] = torch.arange(4.0)
    found = ranked(poses, torch.tensor([0.4, 0.1, 0.2, 0.3]), torch.tensor([4.0, 3.0, 1.0, 2.0]))
    # Ranks 3 + 3, 0 + 2, 1 + 0, 2 + 1.
    assert found.cam_from_world[:, 0, 3].tolist() == [2, 1, 3, 0]


def test_distinct_poses_differ_by_the_angle() -> None:
    angles = torch.tensor([0.0, 5.0, 11.0, 25.0, 30.0])
    poses = torch.eye(4).repeat(5, 1, 1)
    poses[:, :3, :3] = so3_exp(torch.deg2rad(angles)[:, None] * torch.tensor([0.0, 0, 1]))
    assert distinct(poses, 10.0) == [0, 2, 3]


def test_the_distance_of_appearance_is_that_of_the_object_not_of_its_background() -> None:
    g = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 32, 32, 3, generator=g)
    assert float(appearance_distance(a, a)) == 0
    small, padded = appearance_distance(a, b), [torch.ones(64, 64, 3), torch.ones(64, 64, 3)]
    for picture, object_ in zip(padded, (a, b), strict=True):
        picture[16:48, 16:48] = object_
    large = appearance_distance(*padded, area_fraction=0.25)
    # Windows and coarser scales look over the object's border, where the two backgrounds agree.
    assert float(large) == pytest.approx(float(small), rel=0.15)
    pairs = appearance_distance(torch.stack([a, b]), a)
    assert pairs.shape == (2,)
    assert float(pairs[0]) < float(pairs[1])


# -- object and cameras together ----------------------------------------------------------------------------------


def test_cameras_that_are_a_little_off_agree_better_afterwards(capture, true: Tensor) -> None:
    start = disturbed(true, 5)
    fitted = fit_jointly(small_views(capture, start), range(VIEWS), FIT)
    before, after = pair_errors(start, true), pair_errors(fitted.cam_from_world, true)
    assert after.rotation_accuracy(5) >= before.rotation_accuracy(5) + 0.15
    assert after.rotation_accuracy(15) >= before.rotation_accuracy(15) - 0.02


def test_views_that_are_not_chosen_stay_where_they_are(capture, true: Tensor) -> None:
    start = disturbed(true, 5)
    fitted = fit_jointly(small_views(capture, start), [0, 1, 4, 5, 6], FIT)
    assert torch.equal(fitted.cam_from_world[[2, 3, 7]], start[[2, 3, 7]])
    assert not torch.equal(fitted.cam_from_world[0], start[0])


def test_removals_have_the_published_limits() -> None:
    assert [most_removals(n) for n in (3, 4, 5, 6, 7, 8, 10, 16)] == [0, 1, 1, 2, 3, 4, 4, 4]


def test_an_outlier_is_found_first_and_a_good_view_is_not_removed(capture, true: Tensor) -> None:
    start = disturbed(true, 5)
    start[BAD] = turned(true[BAD][None], GROSS[None])[0]
    inliers = find_inliers(
        small_views(capture, start),
        range(VIEWS),
        lambda views, chosen: fit_jointly(views, chosen, FIT),
    )
    assert inliers.removed == [BAD]
    outlier, *good = inliers.tried
    assert outlier.view == BAD
    assert len(good) == OutlierConfig().tries
    assert all(outlier.gain > 3 * abs(trial.gain) for trial in good)


def test_an_outlier_is_put_back_where_it_belongs(capture, true: Tensor) -> None:
    start = disturbed(true, 5)
    start[BAD] = turned(true[BAD][None], GROSS[None])[0]
    made = synthesise(small_views(capture, start), config=CONFIG)
    assert made.removed == [BAD]
    assert made.corrected == [BAD]
    assert float(pair_errors(made.cam_from_world, true).rotation_deg.max()) < 15
    assert made.views == list(range(VIEWS))


def test_trusted_cameras_win_where_good_ones_were_taken_for_outliers(
    capture, true: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The object without the wrong view shows every photograph better than one that was made around the wrong view."""
    start = disturbed(true, 3)
    start[BAD] = turned(true[BAD][None], GROSS[None])[0]
    good = [view for view in range(VIEWS) if view != BAD][:3]
    rest = [view for view in range(VIEWS) if view not in good]

    def misled(views, candidates, fit_views, config):
        return Inliers(rest, fit_views(views, rest), list(good), [])

    monkeypatch.setattr(synthesise_module, "find_inliers", misled)
    made = synthesise(
        small_views(capture, start), config=CONFIG, trusted=[view for view in range(VIEWS) if view != BAD]
    )
    assert made.removed == [BAD]
    assert made.corrected == [BAD]
    assert float(pair_errors(made.cam_from_world, true).rotation_deg.max()) < 15


def test_without_removals_the_result_is_that_of_one_fit(capture, true: Tensor) -> None:
    views = small_views(capture, disturbed(true, 3))
    once = synthesise(views, config=CONFIG)
    fitted = fit_jointly(views.transformed(look_at_from_world(views.cameras)), range(VIEWS), FIT)
    assert not once.removed
    assert torch.equal(once.cam_from_world, fitted.cam_from_world)
    assert torch.equal(once.gaussians.means, fitted.gaussians.means)


def test_a_view_without_a_camera_is_found_and_scored(capture, true: Tensor) -> None:
    start = disturbed(true, 3)
    start[5] = torch.eye(4)
    config = SynthesisConfig(side_px=32, fit=FIT, trial=TRIAL, search=SearchConfig(kept=12))
    made = synthesise(small_views(capture, start), [5], config)
    assert made.corrected == [5]
    assert float(pair_errors(made.cam_from_world, true).rotation_deg.max()) < 15
    assert made.left_out is not None
    # A view that the object was not made from fits it worse than one that it was made from.
    assert bool((made.left_out > made.distances).all())


def test_a_proposed_camera_is_looked_at_beside_those_of_the_search(
    capture, true: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search thinks of nothing but a camera that looks away; what is proposed, in the given world, is right."""
    there = Similarity(torch.tensor(2.0), so3_exp(torch.tensor([0.2, 0.9, -0.4])), torch.tensor([3.0, 1.0, -2.0]))
    start = disturbed(true, 3)
    start[5] = torch.eye(4)
    views = small_views(capture, start).transformed(there)
    proposed = replace(capture.cameras, times_s=None).transformed(there).cam_from_world[5]
    away = torch.eye(4)
    away[2, 3] = -5.0  # the object is behind it
    monkeypatch.setattr(correction, "coarse_candidates", lambda *_: away[None])
    nothing = synthesise(views, [5], CONFIG)
    made = synthesise(views, [5], CONFIG, proposed={5: turned(proposed[None], torch.tensor([[0.1, 0.0, 0.1]]))})
    assert made.corrected == [5]
    assert float(pair_errors(made.cam_from_world, true).rotation_deg.max()) < 15
    assert float(pair_errors(nothing.cam_from_world, true).rotation_deg.max()) > 30


def test_views_are_put_back_in_turn_around_an_object_that_grows(capture, true: Tensor) -> None:
    """Of two outliers and a good view the good one comes first, and each is looked for around all before it."""
    start, good, others = disturbed(true, 3), 6, [0, 2, 4, 5, 7]
    for view, twist in ((BAD, GROSS), (1, GROSS.flip(0))):
        start[view] = turned(true[view][None], twist[None])[0]
    views, known = small_views(capture, start), list(range(VIEWS))

    def fit_views(views, chosen):
        return fit_jointly(views, chosen, TRIAL)

    inliers = Inliers(others, fit_views(views, others), [BAD, good, 1], [])
    putting = Correction(views, fit_views, CONFIG)
    ways = putting._both_ways(inliers.fit, inliers.removed, others)
    made = putting._put_back_so(inliers, ways, in_turn=True)
    assert made.views == known
    assert made.corrected == [1, BAD]
    assert float(pair_errors(made.fit.cam_from_world, true).rotation_deg.max()) < 15
    assert made.trusted[good][0] == others
    first, last = sorted([BAD, 1], key=lambda view: len(made.trusted[view][0]))
    assert made.trusted[first][0] == sorted([*others, good])
    assert made.trusted[last][0] == sorted([*others, good, first])
    # What was found then, in the frame of the cameras of then, is right for each.
    for view, (trusted, then) in made.trusted.items():
        cameras = torch.cat([then, made.found[view].cam_from_world[:1]])
        assert float(pair_errors(cameras, true[[*trusted, view]]).rotation_deg.max()) < 20


@pytest.mark.parametrize(("in_turn_deg", "is_taken"), [(0.0, True), (6.0, False)])
def test_turns_are_taken_only_where_all_views_gain_clearly(
    capture, true: Tensor, monkeypatch: pytest.MonkeyPatch, in_turn_deg: float, is_taken: bool
) -> None:
    views, removed = small_views(capture, true), [1, BAD]
    others = [view for view in range(VIEWS) if view not in removed]

    def fit_views(views, chosen):
        return fit_jointly(views, chosen, replace(TRIAL, camera_lr=0.0, camera_lr_final=0.0))

    made = {
        in_turn: Corrected(fit_views(small_views(capture, disturbed(true, deg)), range(VIEWS)), list(range(VIEWS)), [])
        for in_turn, deg in ((False, 6.0), (True, in_turn_deg))
    }
    monkeypatch.setattr(Correction, "_both_ways", lambda *_: dict.fromkeys(removed))
    monkeypatch.setattr(Correction, "_put_back_so", lambda *_, in_turn: made[in_turn])
    kept = Correction(views, fit_views, CONFIG)._put_back(Inliers(others, fit_views(views, others), removed, []))
    assert kept is made[is_taken]


def test_the_other_side_is_taken_where_all_views_agree_better(capture, true: Tensor) -> None:
    """One picture alone was mistaken about the side; the object that all make together is not."""
    views = small_views(capture, true)
    wrong = true.clone()
    wrong[BAD] = turned(true[BAD][None], torch.tensor([[0.0, 0.0, math.pi]]))[0]
    config = replace(CONFIG, rival=1e6)

    def fit_views(views, chosen):
        return fit_jointly(views, chosen, TRIAL)

    others = [view for view in range(VIEWS) if view != BAD]
    both = torch.stack([wrong[BAD], true[BAD]])
    found = FoundPoses(both, torch.zeros(2), torch.zeros(2))
    fit = fit_views(small_views(capture, wrong), range(VIEWS))
    so_far = Corrected(fit, list(range(VIEWS)), [BAD], {BAD: found}, {BAD: (others, true[others])})
    Correction(views, fit_views, config)._other_sides(so_far, [BAD], fit_views(views, others), wrong)
    assert so_far.corrected == [BAD]
    assert float(pair_errors(so_far.fit.cam_from_world, true).rotation_deg.max()) < 15


def test_the_world_of_the_first_cameras_does_not_matter(capture, true: Tensor) -> None:
    views = small_views(capture, disturbed(true, 5))
    there = Similarity(torch.tensor(7.0), so3_exp(torch.tensor([0.5, -1.2, 0.8])), torch.tensor([9.0, 4.0, -6.0]))
    fits = [
        fit_jointly(v.transformed(look_at_from_world(v.cameras)), range(VIEWS), FIT)
        for v in (views, views.transformed(there))
    ]
    # Rounding grows along a fit; the gain is from 5 degrees to under one.
    apart = pair_errors(fits[0].cam_from_world, fits[1].cam_from_world).rotation_deg
    assert float(apart.max()) < 1.0


def test_no_mode_of_a_search_is_lost_to_many_candidates_of_another(true: Tensor) -> None:
    config = RoundsConfig()
    near = turned(true[:1].repeat(20, 1, 1), torch.randn(20, 3, generator=torch.Generator().manual_seed(0)) * 0.02)
    other = turned(true[:1], torch.tensor([[0.0, 0.0, math.pi]]))
    poses, error = torch.cat([near, other]), torch.cat([torch.linspace(0.1, 0.2, 20), torch.tensor([0.5])])
    chosen = _survivors(poses, error, config).tolist()
    assert len(chosen) == config.survivors
    assert 20 in chosen
    assert 0 in chosen
    assert modes_of(poses, config) == [0, 20]


def test_two_views_are_too_few(capture, true: Tensor) -> None:
    with pytest.raises(BadInputError, match="2 of 8 photographs have cameras"):
        synthesise(small_views(capture, true), range(2, VIEWS), CONFIG)


class _Towards:
    """A view prior that wants every new view to be of one colour, and remembers where it looked from."""

    def __init__(self, color: Tensor) -> None:
        self.color, self.distances = color, []

    def gradient(self, image, camera, photographs, cameras, progress) -> Tensor:
        assert image.shape == photographs.shape[1:]
        assert len(cameras) == len(photographs)
        assert 0 <= progress < 1
        self.distances.append(float(camera.centers.norm()))
        return 100 * (image - self.color) * (image < 0.99)


def test_a_view_prior_has_its_say_about_sides_that_no_photograph_shows(capture, true: Tensor) -> None:
    views = small_views(capture, true)
    prior = _Towards(torch.tensor([0.0, 0.0, 1.0]))
    alone, guided = (fit_jointly(views, range(VIEWS), FIT, view_prior=p) for p in (None, prior))
    blue = [float(fit.gaussians.base_colors.mean(0)[2]) for fit in (alone, guided)]
    assert blue[1] > blue[0]
    assert len(prior.distances) == FIT.steps
    assert all(1.5 < distance < 2.2 for distance in prior.distances)


def test_the_rounds_begin_without_noise() -> None:
    """Candidates of the grid are refined where they are; copies with noise come later."""
    assert RoundsConfig().rounds[0].noise == 0
