"""A depth prior in the place of guesses: it helps where it is right, and is refused where it is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from fewview.recon.evidence import DepthMap, Stereo
from fewview.recon.evidence.depth_prior import BUNDLED, load_prior
from fewview.recon.evidence.hidden_pixels import MOST_HIDDEN, ErrorByDistance, distance_to, hidden_parts
from fewview.recon.evidence.learned_disparity import continued_disparity
from fewview.recon.evidence.monocular_depth import MonocularDepth, load_monocular, save_monocular
from fewview.recon.methods.instantsplat.contradiction import BEHIND, blurred, contradiction, smoothed_over
from fewview.recon.methods.instantsplat.untrusted_depth import (
    carried,
    continued,
    fitted_inverse,
    with_network_guesses,
)
from fewview.recon.optimise.dataset import Dataset
from support.few_views import few_views
from support.stereo_scenes import Plane, Sphere, row_of_cameras, stereo_scene
from torch import Tensor

WIDTH, HEIGHT = 120, 90
# A wall with three balls before it, which interpolation from around them does not know of.
SURFACES = [Plane((0.1, 0.05, 1.0), 4.5), *(Sphere((x, 0.1 * x, 3.4), 0.5) for x in (-1.2, 0.0, 1.2))]


def scene(seed: int = 0) -> tuple[Dataset, Stereo, list[Tensor]]:
    """Three photographs, stereo that trusts random patches and guesses one median depth elsewhere, and the truth."""
    exact = stereo_scene(SURFACES, row_of_cameras(3, WIDTH, HEIGHT, 0.5))
    dataset, stereo = few_views(exact)
    rng = np.random.default_rng(seed)
    maps = []
    for depth_map in stereo.maps:
        field = cv2.resize(rng.standard_normal((9, 12)).astype(np.float32), (WIDTH, HEIGHT))
        trusted = torch.from_numpy(field > 0.1)
        guess = torch.where(trusted, depth_map.depth, depth_map.depth[trusted].median())
        maps.append(replace(depth_map, depth=guess, confidence=torch.where(trusted, 6.0, 1.0)))
    return dataset, Stereo(stereo.cameras, tuple(maps)), exact.depths


def worst(stereo: Stereo, truth: list[Tensor]) -> float:
    """Mean relative error of the untrusted pixels."""
    errors = [((m.depth - t).abs() / t)[m.confidence <= 1].mean() for m, t in zip(stereo.maps, truth, strict=True)]
    return float(torch.stack(errors).mean())


def test_a_prior_that_knows_the_truth_replaces_most_guesses() -> None:
    dataset, stereo, truth = scene()
    # To a scale and an offset of inverse depth that differ from view to view.
    oracle = MonocularDepth(tuple((1 / t + 0.3 * v) * (v + 0.5) for v, t in enumerate(truth)))
    found = continued(dataset, stereo, oracle, 0)
    assert min(found.taken) > 0.8
    assert worst(found.stereo, truth) < 0.2 * worst(stereo, truth)
    for before, after in zip(stereo.maps, found.stereo.maps, strict=True):
        trusted = before.confidence > 1
        assert torch.equal(before.depth[trusted], after.depth[trusted])
        assert torch.equal(before.confidence, after.confidence)  # a guess stays one
    assert "hidden from it" in found.note


@pytest.mark.parametrize("kind", ["noise", "inverted", "even", "blobs"])
def test_a_prior_that_is_wrong_is_refused(kind: str) -> None:
    dataset, stereo, truth = scene()
    rng = np.random.default_rng(3)
    maps = {
        "noise": [torch.from_numpy(rng.random((HEIGHT, WIDTH)).astype(np.float32)) for _ in truth],
        "inverted": list(truth),  # larger is nearer is expected
        "even": [torch.full_like(t, 0.3) for t in truth],
        "blobs": [torch.from_numpy(cv2.resize(rng.random((8, 8)).astype(np.float32), (WIDTH, HEIGHT)))] * 3,
    }[kind]
    found = continued(dataset, stereo, MonocularDepth(tuple(maps)), 0)
    assert max(found.taken) < 0.1
    assert worst(found.stereo, truth) < 1.05 * worst(stereo, truth)


def test_an_expected_error_that_is_given_decides() -> None:
    dataset, stereo, truth = scene()
    oracle = tuple(1 / t for t in truth)
    sure, unsure = (tuple(torch.full_like(t, value) for t in truth) for value in (-9.0, 3.0))
    assert min(continued(dataset, stereo, MonocularDepth(oracle, sure), 0).taken) > 0.9
    assert max(continued(dataset, stereo, MonocularDepth(oracle, unsure), 0).taken) == 0


def test_of_two_guesses_the_farther_one_is_taken() -> None:
    dataset, stereo, truth = scene()
    network = MonocularDepth(tuple(1 / t for t in truth))
    found = with_network_guesses(dataset, stereo, network)
    for before, after, true in zip(stereo.maps, found.stereo.maps, truth, strict=True):
        guessed, is_farther = before.confidence <= 1, true > 1.001 * before.depth
        assert (guessed & is_farther).any()
        assert torch.allclose(after.depth[guessed & is_farther], true[guessed & is_farther], rtol=1e-3)
        assert torch.equal(after.depth[~guessed], before.depth[~guessed])
        assert torch.equal(before.confidence, after.confidence)
    assert "the depth network's guess was farther than interpolation" in found.note


def before_a_wall(guess: float, network: float) -> tuple[float, float]:
    """Depth in a hole of the first of two views of a wall at 4, by stereo's guess and the network's, and the share
    of it that is the network's."""
    exact = stereo_scene([Plane((0.0, 0.0, 1.0), 4.0)], row_of_cameras(2, WIDTH, HEIGHT, 0.3))
    dataset, stereo = few_views(exact)
    hole = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    hole[30:60, 40:80] = True
    first = DepthMap(torch.where(hole, guess, exact.depths[0]), torch.where(hole, 1.0, 6.0))
    stereo = Stereo(stereo.cameras, (first, stereo.maps[1]))
    disparity = 1 / torch.where(hole, network, exact.depths[0])
    found = with_network_guesses(dataset, stereo, MonocularDepth((disparity, 1 / exact.depths[1])))
    return float(found.stereo.maps[0].depth[45, 60]), found.taken[0]


def test_a_nearer_guess_is_taken_where_others_contradict_it_less() -> None:
    assert before_a_wall(8.0, 4.0) == pytest.approx((4.0, 1.0), rel=1e-3)  # the other view is sure of the wall
    assert before_a_wall(4.0, 2.0) == (4.0, 0.0)
    assert before_a_wall(8.0, 2.0) == (8.0, 0.0)  # hidden by the wall, which is rather believed than to hide it


def test_what_others_see_contradicts_a_depth() -> None:
    exact = stereo_scene([Plane((0.0, 0.0, 1.0), 4.0)], row_of_cameras(3, WIDTH, HEIGHT, 0.3))
    _, stereo = few_views(exact)
    photographs = [blurred(image.numpy()) for image in exact.images]

    def costs(depth: float) -> np.ndarray:
        return contradiction(stereo, photographs, 1, torch.full((HEIGHT, WIDTH), depth))[20:70, 30:90]

    assert np.median(costs(4.0)) < 0.1
    assert (costs(3.0) == 1).all()  # before what both others are sure to see
    assert (costs(6.0) == BEHIND).all()
    unsure = Stereo(stereo.cameras, tuple(replace(m, confidence=torch.ones(HEIGHT, WIDTH)) for m in stereo.maps))
    wrong = contradiction(unsure, photographs, 1, torch.full((HEIGHT, WIDTH), 3.0))[20:70, 30:90]
    assert np.median(wrong) > 2 * np.median(costs(4.0))  # by their colours alone
    assert (contradiction(stereo, photographs, 1, torch.full((HEIGHT, WIDTH), 0.1))[:, 60] == 0).all()  # beside both


def test_smoothed_values_are_means_of_what_counts() -> None:
    rng = np.random.default_rng(0)
    values, where = rng.random((21, 25)), rng.random((21, 25)) > 0.4
    found = smoothed_over(values, where, 2.0)
    y, x = np.mgrid[:21, :25]
    weight = np.exp(-0.5 * ((y - 10) ** 2 + (x - 12) ** 2) / 4) * where  # no border of the picture is near
    assert found[10, 12] == pytest.approx(float((weight * values).sum() / weight.sum()), rel=0.01)


def test_a_network_that_contradicts_what_is_known_changes_nothing() -> None:
    dataset, stereo, truth = scene()
    found = with_network_guesses(dataset, stereo, MonocularDepth(tuple(truth)))  # larger is nearer is expected
    assert found.taken == (0.0, 0.0, 0.0)
    assert all(torch.equal(a.depth, b.depth) for a, b in zip(stereo.maps, found.stereo.maps, strict=True))


def test_a_view_of_which_nothing_is_known_keeps_its_guesses() -> None:
    dataset, stereo, _ = scene()
    first = replace(stereo.maps[0], confidence=torch.ones(HEIGHT, WIDTH))
    stereo = Stereo(stereo.cameras, (first, *stereo.maps[1:]))
    continued_depth = continued_disparity(load_prior(BUNDLED), dataset, stereo)
    assert torch.allclose(continued_depth.disparity[0], 1 / first.depth)
    found = with_network_guesses(dataset, stereo, continued_depth)
    assert torch.equal(found.stereo.maps[0].depth, first.depth)
    assert found.taken[0] == 0
    assert max(found.taken[1:]) > 0.05


def test_a_prior_does_not_stand_before_what_another_view_is_sure_of() -> None:
    exact = stereo_scene([Plane((0.0, 0.0, 1.0), 4.0)], row_of_cameras(2, WIDTH, HEIGHT, 0.3))
    dataset, stereo = few_views(exact)
    hole = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    hole[30:60, 40:80] = True  # of the first view; the second is sure of all
    first = replace(stereo.maps[0], confidence=torch.where(hole, 1.0, 6.0))
    stereo = Stereo(stereo.cameras, (first, stereo.maps[1]))
    nearer = 1 / torch.where(hole, 0.5 * exact.depths[0], exact.depths[0])
    sure = tuple(torch.full((HEIGHT, WIDTH), -9.0) for _ in range(2))
    found = continued(dataset, stereo, MonocularDepth((nearer, 1 / exact.depths[1]), sure), 0)
    assert found.taken == (0.0, 0.0)
    assert torch.equal(found.stereo.maps[0].depth, stereo.maps[0].depth)


def test_relative_depth_is_fitted_and_bent_to_what_is_known() -> None:
    y, x = np.mgrid[:40, :60].astype(np.float32)
    true = (0.2 + 0.01 * x + 0.1 * (y > 20)).astype(np.float32)
    weight = np.zeros_like(true)
    weight[::7, ::9] = 5
    found = fitted_inverse(3 * true + 7, true, weight)
    assert found is not None
    assert np.abs(found / true - 1).max() < 1e-2  # float32 of an offset that is twenty times the range
    assert fitted_inverse(1 - true, true, weight) is None
    bent = fitted_inverse(3 * true * (1 + 0.1 * np.sin(x / 20)), true, weight)
    assert bent is not None
    assert np.abs(bent / true - 1)[weight > 0].max() < 1e-4


def test_carried_values_stay_and_are_in_between_elsewhere() -> None:
    known = np.zeros((37, 53), bool)
    known[3, 4] = known[30, 50] = True
    values = np.where(known, np.float32(0), 0).astype(np.float32)
    values[30, 50] = 1
    found = carried(values, known)
    assert found[3, 4] == 0
    assert found[30, 50] == 1
    assert found.min() >= -1e-6
    assert found.max() <= 1 + 1e-6
    assert found[6, 8] < found[28, 46]


def test_hidden_pixels_are_known_ones_in_patches() -> None:
    weight = (np.random.default_rng(0).random((90, 120)) > 0.3).astype(np.float32)
    hidden = hidden_parts(weight, 1)
    assert not hidden[weight == 0].any()
    assert 0.05 < hidden.sum() / (weight > 0).sum() <= MOST_HIDDEN
    assert np.array_equal(hidden, hidden_parts(weight, 1))
    assert not np.array_equal(hidden, hidden_parts(weight, 2))
    assert distance_to((weight > 0) & ~hidden)[hidden].max() > 2
    assert not hidden_parts(np.eye(20, dtype=np.float32), 0).any()  # too few to spare any
    clustered = np.zeros((90, 120), np.float32)
    clustered[40:50, 40:52] = 1  # a large disc would hide all of it, so that smaller ones have to do
    assert all(hidden_parts(clustered, seed).any() for seed in range(10))


def test_errors_grow_with_distance_as_they_were_measured_to() -> None:
    rng = np.random.default_rng(5)
    distance = rng.uniform(0, 60, 4000)
    spread = 0.01 * (1 + distance) ** 0.7
    found = ErrorByDistance.measured(distance, np.abs(rng.standard_normal(4000)) * spread)
    assert found is not None
    assert found.power == pytest.approx(0.7, abs=0.1)
    # The median of a normal distribution's absolute value is 0.674 of its spread.
    assert found.at(np.array(20.0)) == pytest.approx(0.674 * 0.01 * 21**0.7, rel=0.15)
    assert ErrorByDistance.measured(distance[:5], spread[:5]) is None


def test_roundtrip_of_expected_errors(tmp_path: Path) -> None:
    dataset, _, truth = scene()
    depth = MonocularDepth(tuple(1 / t for t in truth), tuple(t.log() for t in truth))
    save_monocular(tmp_path / "m.safetensors", depth, list(dataset.names))
    again = load_monocular(tmp_path / "m.safetensors", dataset.cameras, list(dataset.names))
    assert all(torch.equal(a, b) for a, b in zip(depth.log_error, again.log_error, strict=True))
    with pytest.raises(ValueError, match="for each pixel of each map"):
        MonocularDepth(depth.disparity, depth.log_error[:2])
    with pytest.raises(ValueError, match="finite errors"):
        MonocularDepth(depth.disparity, tuple(e * torch.nan for e in depth.log_error))
