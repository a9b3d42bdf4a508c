"""Matches of places and the turn that they give, where the truth is known by construction."""

from __future__ import annotations

import math

import pytest
import torch
from fewview.recon.poses.networks.aden.hypothesis_losses import rotation_distance
from fewview.recon.poses.networks.aden.place_matching import (
    PlaceMatcher,
    Places,
    centres,
    match_losses,
    turn_of_matches,
)
from fewview.scene.geometry import quat_from_rotation, so3_exp
from support.threads import one_torch_thread as one_torch_thread
from torch import Tensor

GRID = 6
COUNT = GRID * GRID
AT = centres(GRID)


def told(points: Tensor, partner: Tensor, strength: float = 30.0) -> Places:
    """Places [1, 2, COUNT] whose matches are told: place i of the second photograph is `partner[i]`, -1 for none."""
    similar = torch.full((1, 1, COUNT, COUNT), -strength)
    for i, j in enumerate(partner.tolist()):
        if j >= 0:
            similar[0, 0, i, j] = strength
    nowhere = torch.tensor(0.0)
    there = torch.logaddexp(similar.logsumexp(-1, keepdim=True), nowhere)
    back = torch.logaddexp(similar.logsumexp(-2, keepdim=True), nowhere)
    return Places(points, torch.zeros(1, 2, COUNT), similar, there, back, nowhere)


def matched(matcher: PlaceMatcher, features: Tensor, at: Tensor) -> Places:
    return matcher(features, matcher.pairs(features), at)


def two_views(degrees: float, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Points [1, 2, COUNT, 3] of two cameras' axes, the turn [4] between them, and each place's partner."""
    g = torch.Generator().manual_seed(seed)
    first = torch.randn(COUNT, 3, generator=g) * 0.4
    axis = torch.nn.functional.normalize(torch.randn(3, generator=g), dim=0)
    turn = so3_exp(axis * math.radians(degrees))
    partner = torch.randperm(COUNT, generator=g)
    second = first[partner] @ turn.T + torch.tensor([0.1, -0.05, 0.02])  # the crop's middle is another point, too
    return torch.stack([first, second])[None], quat_from_rotation(turn), partner


@pytest.mark.parametrize("degrees", [0.0, 35.0, 120.0, 180.0])
def test_true_matches_give_the_turn_exactly(degrees: float) -> None:
    points, turn, partner = two_views(degrees)
    found = turn_of_matches(told(points, partner), AT)[0, 0]
    assert math.degrees(float(rotation_distance(found[:4], turn))) < 0.1
    assert float(found[0]) >= -1e-6
    assert float(found[5]) == pytest.approx(1.0)  # all agree
    assert float(found[6]) < 1e-2  # without residual


def test_a_third_of_false_matches_changes_little_and_is_told() -> None:
    points, turn, partner = two_views(50.0, seed=1)
    false = partner.clone()
    chosen = torch.arange(0, COUNT, 3)
    false[chosen] = partner[chosen.roll(1)]
    found = turn_of_matches(told(points, false), AT)[0, 0]
    assert math.degrees(float(rotation_distance(found[:4], turn))) < 5
    assert 0.5 < float(found[5]) < 0.9


def test_without_matches_the_weight_says_so() -> None:
    points, _, partner = two_views(50.0)
    few, many = (turn_of_matches(told(points, p), AT)[0, 0] for p in (torch.full_like(partner, -1), partner))
    assert float(few[4]) < float(many[4]) - 2
    assert bool(torch.isfinite(few).all())


def test_losses_vanish_for_what_is_true_and_fall_along_their_gradient() -> None:
    points, _, partner = two_views(40.0)
    world = torch.arange(COUNT).float()[:, None] * torch.tensor([1.0, 0, 0])  # far apart: one partner each
    surface = torch.stack([world, world[partner]])[None]
    surface[0, 1, 0] = torch.nan  # background
    told_partner = partner.clone()
    told_partner[0] = -1
    places = told(points, told_partner)
    found = match_losses(places, surface, points.nan_to_num())
    assert float(found["matches"]) < 1e-3
    assert float(found["points"]) == 0
    wrong = match_losses(told(points, partner.roll(1)), surface, points)
    assert float(wrong["matches"]) > 10


def test_a_matcher_learns_which_places_are_the_same() -> None:
    torch.manual_seed(0)
    matcher = PlaceMatcher(GRID, 8, 8, blocks=1)
    tokens = torch.randn(1, COUNT, 8)
    partner = torch.randperm(COUNT)
    x = torch.stack([tokens, tokens[:, partner]], 1)
    world = torch.arange(COUNT).float()[:, None] * torch.tensor([1.0, 0, 0])
    surface, points = torch.stack([world, world[partner]])[None], torch.zeros(1, 2, COUNT, 3)
    optimizer = torch.optim.Adam(matcher.parameters(), 1e-2)
    history = []
    for _ in range(60):
        loss = match_losses(matched(matcher, matcher.features(x), AT), surface, points)["matches"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(float(loss.detach()))
    assert history[-1] < 0.5 * history[0]
    assert (matched(matcher, matcher.features(x), AT).similar[0, 0].argmax(-1) == partner).float().mean() > 0.8


def test_other_photographs_do_not_change_a_pairs_matches() -> None:
    torch.manual_seed(0)
    matcher = PlaceMatcher(GRID, 8, 8, blocks=1)
    x = torch.randn(1, 3, COUNT, 8)
    both, alone = (matched(matcher, matcher.features(views), AT) for views in (x, x[:, :2]))
    assert torch.allclose(both.similar[:, :1], alone.similar, atol=1e-5)


def some_matcher() -> PlaceMatcher:
    """A matcher whose attention has learned something: by chance."""
    torch.manual_seed(4)
    matcher = PlaceMatcher(grid=3, channels=8, width=16, attention=2)
    for weights in matcher.parameters():
        torch.nn.init.normal_(weights, std=0.4)
    return matcher


def test_attention_changes_nothing_before_training() -> None:
    torch.manual_seed(5)
    plain, looking = (PlaceMatcher(grid=3, channels=8, width=16, attention=layers) for layers in (0, 2))
    looking.load_state_dict(plain.state_dict(), strict=False)
    tokens, at = torch.randn(2, 3, 9, 8), centres(3)
    without, with_it = (matched(matcher, matcher.features(tokens), at) for matcher in (plain, looking))
    assert torch.equal(without.similar, with_it.similar)
    assert torch.equal(without.points, with_it.points)


def test_matches_of_two_photographs_are_the_same_in_any_set_and_any_order() -> None:
    matcher, tokens, at = some_matcher(), torch.randn(1, 4, 9, 8), centres(3)
    features = matcher.features(tokens)
    among_others = matched(matcher, features, at)
    for other in (1, 2, 3):
        alone = matched(matcher, features[:, [0, other]], at)
        swapped = matched(matcher, features[:, [other, 0]], at)
        assert torch.allclose(among_others.similar[:, other - 1], alone.similar[:, 0], atol=1e-5)
        assert torch.allclose(alone.similar, swapped.similar.transpose(-1, -2), atol=1e-5)


def test_what_a_place_is_like_depends_on_what_the_other_photograph_shows() -> None:
    matcher, at = some_matcher(), centres(3)
    features = matcher.features(torch.randn(1, 2, 9, 8))
    before = matched(matcher, features, at).similar
    features[:, 1, 4] += torch.randn(16)
    after = matched(matcher, features, at).similar
    elsewhere = [place for place in range(9) if place != 4]
    assert float((after - before)[:, :, elsewhere].abs().max()) > 1e-3
